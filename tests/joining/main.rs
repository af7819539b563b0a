//! Joining by a page: `mesh up` without an auth key, and a person with a browser.

#[path = "../person.rs"]
mod person;

use meshd_lab::{DEADLINE, Mesh, Running, Terminal, wait_for};
use nix::sys::signal::Signal;

use person::Person;

const ALICE: &str = "alice@example.com";

/// `mesh up` on a terminal of laptop's, and the address that it shows.
struct Waiting {
    terminal: Terminal,
    up: Running,
    url: String,
}

impl Waiting {
    fn begin(mesh: &Mesh, arguments: &[&str]) -> Self {
        let laptop = mesh.host("laptop");
        let terminal = laptop.terminal().expect("a terminal");
        terminal.resize(100, 50).expect("a size");
        let key = mesh.control_key().expect("a key");
        let up = laptop.command("mesh");
        let up = up.args([
            "up",
            "--control",
            &mesh.control_url(),
            "--control-key",
            &key,
        ]);
        let up = up.args(arguments.iter().copied()).spawn_on(&terminal);
        let up = up.expect("mesh up");
        let shown = terminal.expect("Ctrl-C ends it", DEADLINE).expect("a page");
        let url = shown
            .split_whitespace()
            .find(|word| word.contains("/join/"));
        Self {
            url: url.expect("an address").to_owned(),
            terminal,
            up,
        }
    }

    fn end(&mut self) -> (bool, String) {
        let status = self.up.wait(DEADLINE).expect("an end");
        (status.success(), self.terminal.shown())
    }
}

fn mesh() -> Mesh {
    let mut mesh = Mesh::start(&["laptop"]).expect("a mesh");
    mesh.start_manager("laptop").expect("a manager");
    mesh
}

fn nodes(mesh: &Mesh) -> String {
    mesh.meshd_control(&["nodes", "list"])
        .expect("nodes")
        .stdout
}

#[test]
fn a_person_lets_a_host_in() {
    let mut mesh = mesh();
    let alice = Person::new(&mesh, "laptop", ALICE);
    let mut waiting = Waiting::begin(&mesh, &[]);
    let shown = waiting.terminal.shown();
    assert!(shown.contains("\u{1b}[30;107m"), "a QR code: {shown}");
    let key = shown
        .split_whitespace()
        .find(|word| word.starts_with("SHA256:"));
    let key = key.expect("a fingerprint").trim_end_matches('.');
    let page = alice.open(&mesh, &waiting.url).page;
    for seen in ["laptop", key, &mesh.host("laptop").v4().to_string()] {
        assert!(page.contains(seen), "{seen}: {page}");
    }
    let answer = alice.press(&mesh, &waiting.url, "decision", "approve");
    assert_eq!(answer.status, 200, "{}", answer.page);
    let (ended_well, shown) = waiting.end();
    assert!(ended_well && shown.contains("laptop is up"), "{shown}");
    assert!(nodes(&mesh).contains(ALICE), "{}", nodes(&mesh));
    mesh.finish_join("laptop").expect("an address");

    let again = mesh.host("laptop").command("mesh").arg("up").succeed();
    again.expect("nobody is asked again");
}

#[test]
fn a_host_waits_while_control_is_away() {
    let mut mesh = mesh();
    let alice = Person::new(&mesh, "laptop", ALICE);
    let mut waiting = Waiting::begin(&mesh, &[]);
    mesh.take_control().crash().expect("a crash");
    mesh.start_control().expect("control");
    let answer = alice.press(&mesh, &waiting.url, "decision", "approve");
    assert_eq!(answer.status, 200, "{}", answer.page);
    let (ended_well, shown) = waiting.end();
    assert!(ended_well && shown.contains("laptop is up"), "{shown}");
}

#[test]
fn who_is_turned_away_is_told_so() {
    let mesh = mesh();
    let alice = Person::new(&mesh, "laptop", ALICE);
    let mut waiting = Waiting::begin(&mesh, &[]);
    let answer = alice.press(&mesh, &waiting.url, "decision", "refuse");
    assert_eq!(answer.status, 200, "{}", answer.page);
    let (ended_well, shown) = waiting.end();
    assert!(
        !ended_well && shown.contains("has refused this host"),
        "{shown}"
    );
    assert!(!nodes(&mesh).contains("laptop"), "{}", nodes(&mesh));
    let mut waiting = Waiting::begin(&mesh, &[]);
    alice.press(&mesh, &waiting.url, "decision", "approve");
    assert!(waiting.end().0, "a refusal is not for ever");
}

#[test]
fn an_interrupt_takes_the_request_back() {
    let mesh = mesh();
    let alice = Person::new(&mesh, "laptop", ALICE);
    let mut waiting = Waiting::begin(&mesh, &[]);
    waiting.up.signal(Signal::SIGINT).expect("runs");
    assert!(!waiting.end().0);
    let said = wait_for("control's knowledge of it", DEADLINE, || {
        let answer = alice.open(&mesh, &waiting.url);
        (answer.status == 409).then_some(answer.page)
    });
    let said = said.expect("a page that says so");
    assert!(said.contains("does not wait any more"), "{said}");
    let mut again = Waiting::begin(&mesh, &[]);
    assert_ne!(again.url, waiting.url);
    alice.press(&mesh, &again.url, "decision", "approve");
    assert!(again.end().0);
}

#[test]
fn a_tag_is_given_by_its_owner() {
    let mesh = mesh();
    mesh.set_policy(r#"{ "tagOwners": { "tag:web": ["alice@example.com"] }, "acls": [] }"#)
        .expect("a policy");
    let alice = Person::new(&mesh, "laptop", ALICE);
    let mut waiting = Waiting::begin(&mesh, &["--tag", "web"]);
    alice.press(&mesh, &waiting.url, "decision", "approve");
    assert!(waiting.end().0);
    assert!(nodes(&mesh).contains("tag:web"), "{}", nodes(&mesh));
}
