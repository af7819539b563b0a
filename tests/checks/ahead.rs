//! `mesh check`: signing in before logins need it.

use meshd_lab::{DEADLINE, Mesh, Person, Running, wait_for};

use crate::waiting::{Waiting, assert_not_asked, mesh};

/// `mesh check` on laptop, and where it leads.
fn begin(mesh: &Mesh, arguments: &[&str]) -> (Running, String, String) {
    let laptop = mesh.host("laptop");
    let log = laptop.append("/tmp/check.log").expect("a log");
    let check = laptop.command("mesh").arg("check");
    let check = check.args(arguments.iter().copied()).spawn_into(&log);
    let shown = wait_for("where to sign in", DEADLINE, || {
        let said = laptop.read_text("/tmp/check.log").ok()?;
        let word = |after: &str| {
            let (_, rest) = said.split_once(after)?;
            rest.split_whitespace().next().map(str::to_owned)
        };
        Some((word("visit: ")?, word("number: ")?))
    });
    let (url, number) = shown.expect("an address");
    (check.expect("mesh check"), url, number)
}

fn pass(mesh: &Mesh, person: &Person, arguments: &[&str]) {
    let (mut check, url, number) = begin(mesh, arguments);
    let answer = person.press(mesh, &url, "choice", &number).expect("a page");
    assert!(answer.page.contains("Approved"), "{}", answer.page);
    assert!(check.wait(DEADLINE).expect("an end").success());
}

#[test]
fn whoever_is_checked_ahead_is_not_asked_by_the_logins() {
    let (mesh, alice) = mesh("10m");
    pass(&mesh, &alice, &["--for", "15m", "--to", "tag:web"]);
    assert_not_asked(&mesh, "laptop", &["alice@web1", "true"]);
    let status = mesh.host("laptop").command("mesh");
    let status = status.args(["check", "status"]).succeed().expect("a table");
    assert!(status.stdout.contains("tag:web"), "{}", status.stdout);
    assert!(status.stdout.contains("15 min"), "{}", status.stdout);
    Waiting::begin(&mesh, "a", "laptop", &["root@web1", "true"]);
}

#[test]
fn a_check_for_other_hosts_does_not_do() {
    let (mesh, alice) = mesh("10m");
    pass(&mesh, &alice, &["--to", "laptop"]);
    Waiting::begin(&mesh, "a", "laptop", &["alice@web1", "true"]);
}

#[test]
fn a_refusal_is_told() {
    let (mesh, alice) = mesh("");
    let (mut check, url, _) = begin(&mesh, &[]);
    alice
        .press(&mesh, &url, "choice", "refuse")
        .expect("a page");
    assert_eq!(check.wait(DEADLINE).expect("an end").code(), Some(1));
    let said = mesh.host("laptop").read_text("/tmp/check.log");
    let said = said.expect("its words");
    assert!(said.contains("was refused"), "{said}");
}
