//! What was approved is taken back before its time is over.

use std::io::Read;

use meshd_lab::{CONTROL, DEADLINE, Mesh, Owner, Person, Running};

use crate::waiting::{ALICE, Waiting, assert_not_asked, mesh, mesh_with};

/// Lets logins of this kind in until further notice, and has one stay.
fn stay(mesh: &Mesh, alice: &Person, from: &'static str, account: &str) -> Running {
    let place = format!("{account}@web1");
    let mut first = Waiting::begin(mesh, &format!("{from}-{account}"), from, &[&place, "true"]);
    first.approve(mesh, alice);
    first.assert_let_in(mesh);
    let there = format!("/tmp/there-{from}-{account}");
    let session = mesh.ssh(from, &[&place, &format!("touch {there}; sleep 1001")]);
    let session = session.spawn().expect("ssh");
    mesh.wait_for_file("web1", &there).expect("a session");
    session
}

fn assert_revoked(mut session: Running) {
    session.wait(DEADLINE).expect("the client is told");
    let mut said = String::new();
    let mut stderr = session.stderr.take().expect("its errors");
    stderr.read_to_string(&mut said).expect("text");
    assert!(said.contains("Access revoked."), "{said}");
}

#[test]
fn an_administrator_ends_what_was_approved_for_a_host_and_nothing_else() {
    let (mesh, alice) = mesh_with("", &[("tablet", Owner::User(ALICE))]);
    let laptop = stay(&mesh, &alice, "laptop", "alice");
    let root = stay(&mesh, &alice, "laptop", "root");
    let mut tablet = stay(&mesh, &alice, "tablet", "alice");
    let listed = mesh.meshd_control(&["checks", "list"]).expect("a list");
    let lines: Vec<&str> = listed.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{}", listed.stdout);
    for part in ["laptop", ALICE, "nonroot", "all"] {
        assert!(lines[1].contains(part), "{part}: {}", listed.stdout);
    }

    let revoked = mesh.meshd_control(&["checks", "revoke", "laptop"]);
    let revoked = revoked.expect("taken back").stdout;
    assert!(revoked.contains("took back 2 approvals"), "{revoked}");
    assert_revoked(laptop);
    assert_revoked(root);
    let listed = mesh.meshd_control(&["checks", "list"]).expect("a list");
    assert!(!listed.stdout.contains("laptop"), "{}", listed.stdout);
    assert_not_asked(&mesh, "tablet", &["alice@web1", "true"]);
    assert!(tablet.ended().is_none());
    let log = mesh.meshd_control(&["audit", "--action", "check"]);
    let log = log.expect("the log").stdout;
    assert!(log.contains("check.revoke"), "{log}");

    // web1's manager has a grant that has not expired, and offers it.
    let mut again = Waiting::begin(&mesh, "again", "laptop", &["alice@web1", "true"]);
    again.approve(&mesh, &alice);
    again.assert_let_in(&mesh);
    assert_not_asked(&mesh, "laptop", &["alice@web1", "true"]);

    let revoked = mesh.meshd_control(&["checks", "revoke", "--user", ALICE]);
    let revoked = revoked.expect("taken back").stdout;
    assert!(
        revoked.contains("laptop") && revoked.contains("tablet"),
        "{revoked}"
    );
    assert_revoked(tablet);
}

#[test]
fn a_host_gives_back_what_was_approved_for_it() {
    let (mesh, alice) = mesh("10m");
    let session = stay(&mesh, &alice, "laptop", "alice");
    let laptop = mesh.host("laptop");
    laptop.add_user("carol").expect("an account");
    let revoke = || laptop.command("mesh").args(["check", "revoke"]);
    let refused = revoke().user("carol").output().expect("an end");
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stdout);
    assert!(refused.stderr.contains("root"), "{}", refused.stderr);
    let said = revoke().succeed().expect("taken back").stdout;
    assert!(said.contains("was taken back"), "{said}");
    assert_revoked(session);
    let status = laptop.command("mesh").args(["check", "status"]).succeed();
    let status = status.expect("a list").stdout;
    assert!(status.contains("nothing is approved"), "{status}");
    Waiting::begin(&mesh, "again", "laptop", &["alice@web1", "true"]);
}

#[test]
fn the_owner_takes_back_on_a_page_what_is_theirs() {
    let (mesh, alice) = mesh("");
    let bob = Person::new(&mesh, "laptop", "bob@example.com").expect("an account");
    let mut session = stay(&mesh, &alice, "laptop", "alice");
    let page = format!("{}/checks", alice.origin);
    let shown = alice.open(&mesh, &page).expect("a page").page;
    for part in ["Logins from laptop", "to every machine, but not as root"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let others = bob.open(&mesh, &page).expect("a page").page;
    assert!(others.contains("nothing that still counts"), "{others}");
    let (_, number) = shown
        .split_once(r#"name="node" value=""#)
        .expect("a button");
    let (number, _) = number.split_once('"').expect("a number");
    let answer = bob.press(&mesh, &page, "node", number).expect("a page");
    assert_eq!(answer.status, 404, "{}", answer.page);
    assert_not_asked(&mesh, "laptop", &["alice@web1", "true"]);
    assert!(session.ended().is_none());
    let answer = alice.press(&mesh, &page, "node", number).expect("a page");
    assert_eq!(answer.status, 303, "{}", answer.page);
    assert_revoked(session);
    Waiting::begin(&mesh, "again", "laptop", &["alice@web1", "true"]);
}

#[test]
fn a_host_that_does_not_hear_control_goes_on_until_it_does() {
    let (mesh, alice) = mesh("");
    let mut session = stay(&mesh, &alice, "laptop", "alice");
    let web1 = mesh.host("web1").v4();
    let route = |what: &str| {
        let route = mesh.host(CONTROL);
        let route = route.sh(&format!("ip route {what} blackhole {web1}/32"));
        route.expect("a route");
    };
    route("add");
    mesh.meshd_control(&["checks", "revoke", "laptop"])
        .expect("taken back");
    assert_not_asked(&mesh, "laptop", &["alice@web1", "true"]);
    assert!(session.ended().is_none());
    route("delete");
    assert_revoked(session);
}
