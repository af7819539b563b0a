//! Joining by a page: `mesh up` without an auth key, and a person with a browser.

use meshd_lab::{DEADLINE, Mesh, Person, Running, Terminal, wait_for};
use nix::sys::signal::Signal;

const ALICE: &str = "alice@example.com";

/// `mesh up` on a terminal of laptop's, and the address that it shows.
struct Waiting {
    terminal: Terminal,
    up: Running,
    url: String,
}

impl Waiting {
    fn begin(mesh: &Mesh, arguments: &[&str]) -> Self {
        Self::begin_on(mesh, "laptop", arguments)
    }

    fn begin_on(mesh: &Mesh, host: &str, arguments: &[&str]) -> Self {
        let host = mesh.host(host);
        let terminal = host.terminal().expect("a terminal");
        terminal.resize(100, 50).expect("a size");
        let key = mesh.control_key().expect("a key");
        let up = host.command("mesh");
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
        let shown = self.terminal.shown_at_the_end();
        (status.success(), shown.expect("its words"))
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
    let alice = Person::new(&mesh, "laptop", ALICE).expect("an account");
    let mut waiting = Waiting::begin(&mesh, &[]);
    let shown = waiting.terminal.shown();
    assert!(shown.contains("\u{1b}[30;107m"), "a QR code: {shown}");
    let key = shown
        .split_whitespace()
        .find(|word| word.starts_with("SHA256:"));
    let key = key.expect("a fingerprint").trim_end_matches('.');
    let page = alice.open(&mesh, &waiting.url).expect("a page").page;
    for seen in ["laptop", key, &mesh.host("laptop").v4().to_string()] {
        assert!(page.contains(seen), "{seen}: {page}");
    }
    let answer = alice
        .press(&mesh, &waiting.url, "decision", "approve")
        .expect("a page");
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
    let alice = Person::new(&mesh, "laptop", ALICE).expect("an account");
    let mut waiting = Waiting::begin(&mesh, &[]);
    mesh.take_control().crash().expect("a crash");
    mesh.start_control().expect("control");
    let answer = alice
        .press(&mesh, &waiting.url, "decision", "approve")
        .expect("a page");
    assert_eq!(answer.status, 200, "{}", answer.page);
    let (ended_well, shown) = waiting.end();
    assert!(ended_well && shown.contains("laptop is up"), "{shown}");
}

#[test]
fn who_is_turned_away_is_told_so() {
    let mesh = mesh();
    let alice = Person::new(&mesh, "laptop", ALICE).expect("an account");
    let mut waiting = Waiting::begin(&mesh, &[]);
    let answer = alice
        .press(&mesh, &waiting.url, "decision", "refuse")
        .expect("a page");
    assert_eq!(answer.status, 200, "{}", answer.page);
    let (ended_well, shown) = waiting.end();
    assert!(
        !ended_well && shown.contains("has refused this host"),
        "{shown}"
    );
    assert!(!nodes(&mesh).contains("laptop"), "{}", nodes(&mesh));
    let mut waiting = Waiting::begin(&mesh, &[]);
    alice
        .press(&mesh, &waiting.url, "decision", "approve")
        .expect("a page");
    assert!(waiting.end().0, "a refusal is not for ever");
}

#[test]
fn an_interrupt_takes_the_request_back() {
    let mesh = mesh();
    let alice = Person::new(&mesh, "laptop", ALICE).expect("an account");
    let mut waiting = Waiting::begin(&mesh, &[]);
    waiting.up.signal(Signal::SIGINT).expect("runs");
    assert!(!waiting.end().0);
    let said = wait_for("control's knowledge of it", DEADLINE, || {
        let answer = alice.open(&mesh, &waiting.url).expect("a page");
        (answer.status == 409).then_some(answer.page)
    });
    let said = said.expect("a page that says so");
    assert!(said.contains("does not wait any more"), "{said}");
    let mut again = Waiting::begin(&mesh, &[]);
    assert_ne!(again.url, waiting.url);
    alice
        .press(&mesh, &again.url, "decision", "approve")
        .expect("a page");
    assert!(again.end().0);
}

#[test]
fn a_tag_is_given_by_its_owner() {
    let mesh = mesh();
    mesh.set_policy(r#"{ "tagOwners": { "tag:web": ["alice@example.com"] }, "acls": [] }"#)
        .expect("a policy");
    let alice = Person::new(&mesh, "laptop", ALICE).expect("an account");
    let mut waiting = Waiting::begin(&mesh, &["--tag", "web"]);
    alice
        .press(&mesh, &waiting.url, "decision", "approve")
        .expect("a page");
    assert!(waiting.end().0);
    assert!(nodes(&mesh).contains("tag:web"), "{}", nodes(&mesh));
}

fn wireguard_key(mesh: &Mesh, host: &str) -> String {
    let status = mesh.host(host).command("mesh").args(["status", "--json"]);
    let status = status.succeed().expect("a status").stdout;
    let (_, rest) = status.split_once("\"public_key\"").expect("a key");
    rest.split('"').nth(1).expect("its value").to_owned()
}

/// Into the renewed host: its tunnels get other keys, and what runs in them goes on.
#[test]
fn a_new_sign_in_gives_new_keys_and_cuts_no_session_of_others() {
    let mesh = Mesh::of_two().expect("a mesh");
    let alice = Person::new(&mesh, "web1", ALICE).expect("an account");
    let bob = Person::new(&mesh, "web1", "bob@example.com").expect("an account");
    let before = wireguard_key(&mesh, "web1");
    let mut talk = mesh.talk();
    talk.assert_alive("before");
    let mut waiting = Waiting::begin_on(&mesh, "web1", &["--force-reauth"]);
    let refused = bob
        .press(&mesh, &waiting.url, "decision", "approve")
        .expect("a page");
    assert_eq!(refused.status, 403, "{}", refused.page);
    let answer = alice
        .press(&mesh, &waiting.url, "decision", "approve")
        .expect("a page");
    assert_eq!(answer.status, 200, "{}", answer.page);
    assert!(waiting.end().0, "{}", waiting.terminal.shown());
    assert_ne!(wireguard_key(&mesh, "web1"), before);
    talk.assert_alive("after");
    let login = mesh.ssh("laptop", &["alice@web1", "id -un"]).succeed();
    assert_eq!(login.expect("a login").stdout, "alice\n");
}

#[test]
fn an_expired_host_comes_back_by_a_new_sign_in() {
    let mesh = Mesh::of_two().expect("a mesh");
    let alice = Person::new(&mesh, "laptop", ALICE).expect("an account");
    mesh.meshd_control(&["nodes", "expiry", "laptop", "now"])
        .expect("expired");
    let mut waiting = Waiting::begin_on(&mesh, "laptop", &["--force-reauth"]);
    alice
        .press(&mesh, &waiting.url, "decision", "approve")
        .expect("a page");
    assert!(waiting.end().0, "{}", waiting.terminal.shown());
    mesh.wait_until_reachable("laptop", "web1").expect("SSH");
    let login = mesh.ssh("laptop", &["alice@web1", "id -un"]).succeed();
    assert_eq!(login.expect("a login").stdout, "alice\n");
}

/// Control has taken the new keys, and the manager was not there to hear of it.
#[test]
fn a_crash_between_approval_and_answer_loses_no_host() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    let alice = Person::new(&mesh, "laptop", ALICE).expect("an account");
    let waiting = Waiting::begin_on(&mesh, "laptop", &["--force-reauth"]);
    mesh.take_manager("laptop").crash().expect("a crash");
    alice
        .press(&mesh, &waiting.url, "decision", "approve")
        .expect("a page");
    mesh.start_manager("laptop").expect("a manager");
    mesh.wait_until_reachable("laptop", "web1").expect("SSH");
    wait_for("a login with the new keys", DEADLINE, || {
        let login = mesh
            .ssh("laptop", &["alice@web1", "id -un"])
            .output()
            .ok()?;
        (login.stdout == "alice\n").then_some(())
    })
    .expect("a login");
}
