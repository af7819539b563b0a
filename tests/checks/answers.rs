//! What becomes of a login that waits, by the answer that is given.

use meshd_lab::{DEADLINE, Person, wait_for};
use nix::sys::signal::Signal;

use crate::waiting::{Waiting, mesh, start};

#[test]
fn the_owner_who_chooses_the_number_lets_the_login_in() {
    let (mesh, alice) = mesh("");
    let mut waiting = Waiting::begin(&mesh, "a", "laptop", &["alice@web1", "id -un"]);
    let page = alice.open(&mesh, &waiting.url).expect("a page").page;
    for seen in ["laptop", "web1", "alice", &waiting.number] {
        assert!(page.contains(seen), "{seen}: {page}");
    }
    waiting.approve(&mesh, &alice);
    waiting.assert_let_in(&mesh);
    let again = alice.open(&mesh, &waiting.url).expect("a page").page;
    assert!(again.contains("was approved"), "{again}");
    let noted = mesh.meshd_control(&["audit"]).expect("the log").stdout;
    assert!(noted.contains("check.approve"), "{noted}");
}

#[test]
fn a_refusal_ends_the_login() {
    let (mesh, alice) = mesh("");
    let mut waiting = Waiting::begin(&mesh, "a", "laptop", &["alice@web1", "true"]);
    alice
        .press(&mesh, &waiting.url, "choice", "refuse")
        .expect("a page");
    waiting.assert_denied(&mesh, "meshd: the additional check was refused");
}

#[test]
fn another_number_ends_the_login() {
    let (mesh, alice) = mesh("");
    let mut waiting = Waiting::begin(&mesh, "a", "laptop", &["alice@web1", "true"]);
    let answer = alice
        .press(&mesh, &waiting.url, "choice", "9")
        .expect("a page");
    assert!(answer.page.contains("another number"), "{}", answer.page);
    waiting.assert_denied(&mesh, "another number was chosen");
}

#[test]
fn somebody_else_can_only_end_the_login() {
    let (mesh, alice) = mesh("");
    let bob = Person::new(&mesh, "laptop", "bob@example.com").expect("an account");
    let mut waiting = Waiting::begin(&mesh, "a", "laptop", &["alice@web1", "true"]);
    let page = bob.open(&mesh, &waiting.url).expect("a page").page;
    assert!(
        page.contains("is for") && !page.contains(&format!(">{}<", waiting.number)),
        "{page}"
    );
    let answer = bob
        .press(&mesh, &waiting.url, "choice", &waiting.number)
        .expect("a page");
    assert!(answer.page.contains("do not own"), "{}", answer.page);
    waiting.assert_denied(&mesh, "by another person than the owner");
    let late = alice.open(&mesh, &waiting.url).expect("a page").page;
    assert!(late.contains("was not passed"), "{late}");
}

#[test]
fn an_interrupt_ends_the_wait_everywhere() {
    let (mesh, alice) = mesh("");
    let mut waiting = Waiting::begin(&mesh, "a", "laptop", &["alice@web1", "true"]);
    waiting.ssh.signal(Signal::SIGINT).expect("runs");
    waiting.end(&mesh);
    let said = wait_for("control's knowledge of it", DEADLINE, || {
        let page = alice.open(&mesh, &waiting.url).expect("a page").page;
        page.contains("Nobody waits").then_some(())
    });
    said.expect("a page that says so");
    let again = Waiting::begin(&mesh, "b", "laptop", &["alice@web1", "true"]);
    assert_ne!(again.url, waiting.url);
}

#[test]
fn a_wait_goes_on_over_a_restart_of_control() {
    let (mut mesh, alice) = mesh("");
    let mut waiting = Waiting::begin(&mesh, "a", "laptop", &["alice@web1", "true"]);
    mesh.take_control().crash().expect("a crash");
    mesh.start_control().expect("control");
    // One that is stopped answers those who wait, and refuses.
    mesh.take_control().stop().expect("stopped");
    mesh.start_control().expect("control");
    waiting.approve(&mesh, &alice);
    waiting.assert_let_in(&mesh);
}

#[test]
fn a_wait_goes_on_over_a_restart_of_the_manager() {
    let (mut mesh, alice) = mesh("");
    let mut waiting = Waiting::begin(&mesh, "a", "laptop", &["alice@web1", "true"]);
    mesh.take_manager("web1").stop().expect("stopped");
    mesh.start_manager("web1").expect("started");
    waiting.approve(&mesh, &alice);
    let ended = waiting.end(&mesh);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let told = ended.said.matches("requires an additional check").count();
    assert_eq!(told, 1, "{}", ended.said);
}

#[test]
fn the_policy_of_the_end_of_the_wait_decides() {
    let (mesh, alice) = mesh("");
    let mut waiting = Waiting::begin(&mesh, "a", "laptop", &["alice@web1", "true"]);
    mesh.change_policy(&meshd_lab::policy_for_alice(&["bob"]))
        .expect("a policy");
    alice
        .press(&mesh, &waiting.url, "choice", &waiting.number)
        .expect("a page");
    let ended = waiting.end(&mesh);
    assert_eq!(ended.code, Some(255), "{}", ended.said);
}

#[test]
fn fifty_logins_at_once_wait_for_one_answer() {
    let (mesh, alice) = mesh("");
    let begun: Vec<_> = (0..50)
        .map(|n| start(&mesh, &n.to_string(), "laptop", &["alice@web1", "true"]))
        .collect();
    let mut all: Vec<Waiting> = begun
        .into_iter()
        .map(|(ssh, log)| Waiting::shown(&mesh, ssh, log, "laptop"))
        .collect();
    let first = all[0].url.clone();
    assert!(all.iter().all(|waiting| waiting.url == first));
    all[0].approve(&mesh, &alice);
    for waiting in &mut all {
        waiting.assert_let_in(&mesh);
    }
}
