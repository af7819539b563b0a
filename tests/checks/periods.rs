//! How long an answer lasts, and for what.

use meshd_lab::{Owner, wait_for};

use crate::waiting::{ALICE, Waiting, assert_not_asked, mesh, mesh_with};

const WEB2: (&str, Owner<'static>) = ("web2", Owner::Tag("tag:web"));
const TABLET: (&str, Owner<'static>) = ("tablet", Owner::User(ALICE));

#[test]
fn by_default_an_answer_is_for_every_host_and_one_source_and_one_kind_of_account() {
    let (mesh, alice) = mesh_with("", &[WEB2, TABLET]);
    let mut first = Waiting::begin(&mesh, "a", "laptop", &["alice@web1", "true"]);
    let mut second = Waiting::begin(&mesh, "b", "laptop", &["alice@web2", "true"]);
    assert_ne!(first.url, second.url);
    first.approve(&mesh, &alice);
    first.assert_let_in(&mesh);
    second.assert_let_in(&mesh);
    assert_not_asked(&mesh, "laptop", &["alice@web1", "true"]);
    assert_not_asked(&mesh, "laptop", &["alice@web2", "true"]);
    let mut root = Waiting::begin(&mesh, "c", "laptop", &["root@web1", "id -un"]);
    Waiting::begin(&mesh, "d", "tablet", &["alice@web1", "true"]);
    root.approve(&mesh, &alice);
    root.assert_let_in(&mesh);
    assert_not_asked(&mesh, "laptop", &["root@web2", "true"]);
}

#[test]
fn a_period_is_for_this_host_and_ends() {
    let (mesh, alice) = mesh_with("30s", &[WEB2]);
    let mut first = Waiting::begin(&mesh, "a", "laptop", &["alice@web1", "true"]);
    first.approve(&mesh, &alice);
    first.assert_let_in(&mesh);
    assert_not_asked(&mesh, "laptop", &["alice@web1", "true"]);
    Waiting::begin(&mesh, "b", "laptop", &["alice@web2", "true"]);
    let mut turn = 0;
    let asked_again = wait_for("the end of the period", 2 * meshd_lab::DEADLINE, || {
        turn += 1;
        let (mut ssh, log) = crate::waiting::start(
            &mesh,
            &format!("c{turn}"),
            "laptop",
            &["alice@web1", "true"],
        );
        let ended = ssh.wait(std::time::Duration::from_secs(2));
        let said = mesh.host("laptop").read_text(&log).ok()?;
        (ended.is_err() && said.contains("additional check")).then_some(())
    });
    asked_again.expect("asks again");
}

#[test]
fn always_means_each_connection() {
    let (mesh, alice) = mesh("always");
    let mut first = Waiting::begin(&mesh, "a", "laptop", &["alice@web1", "true"]);
    let mut second = Waiting::begin(&mesh, "b", "laptop", &["alice@web1", "true"]);
    assert_ne!(first.url, second.url);
    first.approve(&mesh, &alice);
    first.assert_let_in(&mesh);
    let mut third = Waiting::begin(&mesh, "c", "laptop", &["alice@web1", "true"]);
    second.approve(&mesh, &alice);
    second.assert_let_in(&mesh);
    third.approve(&mesh, &alice);
    third.assert_let_in(&mesh);
}

#[test]
fn an_answer_is_remembered_over_a_restart_of_control_and_used_while_it_is_away() {
    let (mut mesh, alice) = mesh("");
    let mut first = Waiting::begin(&mesh, "a", "laptop", &["alice@web1", "true"]);
    first.approve(&mesh, &alice);
    first.assert_let_in(&mesh);
    mesh.take_control().crash().expect("a crash");
    assert_not_asked(&mesh, "laptop", &["alice@web1", "true"]);
    mesh.take_manager("web1").stop().expect("stopped");
    mesh.start_manager("web1").expect("started");
    mesh.wait_until_reachable("laptop", "web1").expect("SSH");
    assert_not_asked(&mesh, "laptop", &["alice@web1", "true"]);
    let denied = mesh.ssh("laptop", &["root@web1", "true"]).output();
    let denied = denied.expect("an end");
    assert_eq!(denied.status.code(), Some(255));
    assert!(
        denied.stderr.contains("control cannot be reached"),
        "{}",
        denied.stderr
    );
    mesh.start_control().expect("control");
    assert_not_asked(&mesh, "laptop", &["alice@web1", "true"]);
}
