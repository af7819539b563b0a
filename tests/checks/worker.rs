//! The broker and the session process, with a manager that answers as a test says.

use std::time::Duration;

use meshd_contract::broker::{CheckOutcome, FromManager};
use meshd_contract::check::{CheckGrant, CheckRefusal, LoginClass, Prompt};
use meshd_contract::document::{Header, Version};
use meshd_contract::identity::NodeId;
use meshd_contract::key::{PrivateKey, WireGuardKey};
use meshd_contract::peer_document::PeerDocument;
use meshd_contract::ssh_rule::{Action, CheckPeriod};
use meshd_contract::time::Timestamp;
use meshd_contract::{paths, signed};
use meshd_lab::{Output, Running, unix_time};

use crate::site::{Site, document};

/// The same as without checks, but its rule wants one.
fn checked(period: CheckPeriod) -> PeerDocument {
    let mut document = document();
    document.header.version = Version(6);
    document.rules[0].action = Action::Check(period);
    document.peers[0].checks_after = Version(6);
    document
}

/// A host whose rule wants a check, with the real session process.
fn site(period: CheckPeriod) -> (Site, Running) {
    let site = Site::start("");
    site.put_in_place(true);
    site.bring(&checked(period));
    let manager = site.serve();
    (site, manager)
}

/// Control's word for laptop at web1, for accounts other than root.
fn grant() -> CheckGrant {
    CheckGrant {
        header: Header {
            node: NodeId(1),
            version: Version(7),
            issued_at: Timestamp(unix_time()),
            expires_at: Timestamp(unix_time() + 600),
        },
        source: NodeId(2),
        wireguard_key: WireGuardKey([2; 32]),
        owner: "alice@example.com".to_owned(),
        class: LoginClass::Nonroot,
        rule: "ssh[0]".to_owned(),
        approved_at: Timestamp(unix_time()),
        connection: None,
    }
}

fn prompt() -> FromManager {
    FromManager::Checking(Prompt {
        url: "https://control.example.com/check/x".to_owned(),
        number: 42,
    })
}

fn granted(text: String) -> FromManager {
    FromManager::Checked(CheckOutcome::Granted(text))
}

impl Site {
    fn seal(&self, grant: &CheckGrant) -> String {
        signed::seal(grant, &self.control).expect("seals")
    }

    fn answers(&self, file: &str, answers: &[FromManager]) {
        let lines = answers.iter().map(|answer| {
            let line = serde_json::to_string(answer).expect("writes");
            format!("{line}\n")
        });
        let web1 = self.lan.host("web1");
        web1.write(file, lines.collect::<String>()).expect("a file");
    }

    /// A login whose banners are shown.
    fn log_in(&self) -> Output {
        let ssh = self.ssh_as("alice", "LogLevel=INFO", &["id -un"]);
        ssh.output().expect("an end")
    }
}

#[test]
fn a_grant_lets_in_and_the_client_is_told_where_to_sign_in() {
    let (site, _manager) = site(CheckPeriod::Default);
    let text = site.seal(&grant());
    site.answers("/tmp/answers", &[prompt(), granted(text)]);
    let said = site.log_in();
    assert_eq!(said.stdout, "alice\n", "{}", said.stderr);
    let lines: Vec<&str> = said.stderr.lines().map(str::trim_end).collect();
    let first = lines
        .iter()
        .position(|line| *line == "# meshd requires an additional check.")
        .unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!(
        lines[first + 1..first + 4],
        [
            "# To authenticate, visit: https://control.example.com/check/x",
            "# The page asks for this number: 42",
            "# Authentication checked with meshd.",
        ]
    );
    site.wait_for_line("/var/log/broker.log", "waits for a check");
    site.wait_for_line("/var/log/broker.log", "checked_at=");
}

#[test]
fn a_grant_that_is_still_fresh_needs_no_word_to_the_client() {
    let (site, _manager) = site(CheckPeriod::Seconds(600));
    site.answers("/tmp/answers", &[granted(site.seal(&grant()))]);
    let said = site.log_in();
    assert_eq!(said.stdout, "alice\n", "{}", said.stderr);
    assert!(!said.stderr.contains("additional check"), "{}", said.stderr);
}

/// What makes a grant one for something else.
type Spoil = fn(&mut CheckGrant);

/// Each is control's own word, but for another node, login, time or connection; or somebody
/// else's word.
#[test]
fn a_grant_for_something_else_lets_nobody_in() {
    let (site, _manager) = site(CheckPeriod::Default);
    let spoils: [(&str, Spoil); 10] = [
        ("node", |grant| grant.header.node = NodeId(3)),
        ("end", |grant| {
            grant.header.expires_at = Timestamp(unix_time())
        }),
        ("approval", |grant| grant.header.version = Version(6)),
        ("source", |grant| grant.source = NodeId(3)),
        ("key", |grant| grant.wireguard_key = WireGuardKey([3; 32])),
        ("owner", |grant| grant.owner = "bob@example.com".to_owned()),
        ("class", |grant| grant.class = LoginClass::Root),
        ("rule", |grant| grant.rule = "ssh[1]".to_owned()),
        ("time", |grant| {
            grant.approved_at = Timestamp(unix_time() - 43_201)
        }),
        ("connection", |grant| {
            grant.connection = Some("x".to_owned())
        }),
    ];
    let mut texts: Vec<(&str, String)> = Vec::new();
    for (what, spoil) in spoils {
        let mut spoiled = grant();
        spoil(&mut spoiled);
        texts.push((what, site.seal(&spoiled)));
    }
    let stranger = PrivateKey::from_seed(&[9; 32]);
    let forged = signed::seal(&grant(), &stranger).expect("seals");
    texts.push(("signer", forged));
    texts.push((
        "kind",
        signed::seal(&document(), &site.control).expect("seals"),
    ));
    texts.push(("text", "x".repeat(100_000)));
    for (what, text) in texts {
        let answers = [granted(text)];
        site.answers("/tmp/answers", &answers);
        site.answers("/tmp/fresh-answers", &answers);
        let said = site.log_in();
        assert_eq!(said.status.code(), Some(255), "{what}: {}", said.stderr);
        assert_eq!(said.stdout, "", "{what}");
        assert!(said.stderr.contains("try again"), "{what}: {}", said.stderr);
    }
    site.answers("/tmp/fresh-answers", &[granted(site.seal(&grant()))]);
    let said = site.log_in();
    assert_eq!(said.stdout, "alice\n", "asked anew: {}", said.stderr);
}

#[test]
fn each_refusal_has_its_own_words() {
    let (site, _manager) = site(CheckPeriod::Default);
    for refusal in [
        CheckRefusal::Refused,
        CheckRefusal::WrongPerson,
        CheckRefusal::WrongNumber,
        CheckRefusal::Expired,
        CheckRefusal::NoOwner,
        CheckRefusal::Unreachable,
    ] {
        let refused = FromManager::Checked(CheckOutcome::Refused(refusal));
        site.answers("/tmp/answers", &[prompt(), refused]);
        let said = site.log_in();
        assert_eq!(said.status.code(), Some(255), "{}", said.stderr);
        let words = format!("meshd: {refusal}");
        assert!(said.stderr.contains(&words), "{words}: {}", said.stderr);
    }
}

#[test]
fn a_prompt_that_would_change_the_terminal_is_not_shown() {
    let (site, _manager) = site(CheckPeriod::Default);
    let bad = FromManager::Checking(Prompt {
        url: "https://control/\u{1b}[2J".to_owned(),
        number: 42,
    });
    site.answers("/tmp/answers", &[bad]);
    let said = site.log_in();
    assert_eq!(said.status.code(), Some(255), "{}", said.stderr);
    assert!(!said.stderr.contains("control/"), "{}", said.stderr);
}

#[test]
fn a_client_that_leaves_ends_its_wait() {
    let (site, _manager) = site(CheckPeriod::Default);
    site.answers("/tmp/answers", &[prompt()]);
    let mut waiting = site.ssh(&["id -un"]).spawn().expect("ssh");
    site.wait_for_line("/tmp/manager.log", "fresh: false");
    waiting.kill().expect("a kill");
    site.wait_for_no_process("meshd-broker worker");
}

#[test]
fn a_manager_that_goes_ends_the_wait() {
    let (site, mut manager) = site(CheckPeriod::Default);
    site.answers("/tmp/answers", &[prompt()]);
    let ssh = site.ssh_as("alice", "LogLevel=INFO", &["id -un"]);
    let waiting = std::thread::spawn(|| ssh.output().expect("an end"));
    site.wait_for_line("/tmp/manager.log", "fresh: false");
    manager.kill().expect("a kill");
    let said = waiting.join().expect("no panic");
    assert_eq!(said.status.code(), Some(255));
    assert!(said.stderr.contains("cannot be reached"), "{}", said.stderr);
}

/// The time to log in is 1 second, and 5 that the worker adds for the session process.
#[test]
fn the_wait_for_a_person_is_not_cut_short_by_the_time_to_log_in() {
    let (site, _manager) = site(CheckPeriod::Default);
    let web1 = site.lan.host("web1");
    web1.write(
        paths::SSH_CONFIG,
        "device = \"eth0\"\n[limits]\nlogin_grace = 1\n",
    )
    .expect("a configuration");
    site.answers("/tmp/answers", &[prompt()]);
    let ssh = site.ssh(&["id -un"]).deadline(Duration::from_secs(8));
    let said = ssh.output().expect_err("nobody answers").to_string();
    assert!(said.contains("8"), "{said}");
}
