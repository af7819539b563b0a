//! What is remembered of a connection: the journal's records and their catalogue.

use std::collections::BTreeMap;

use meshd_lab::{DEADLINE, Mesh, wait_for};

const CATALOGUE: &str = include_str!("../packaging/journal/meshd.catalog");

type Record = BTreeMap<String, String>;

/// The records of the first connection that has one of this event.
fn records(mesh: &Mesh, event: &str, login: Option<&str>) -> Vec<Record> {
    let show = "journalctl --no-pager --output=export SYSLOG_IDENTIFIER=meshd-ssh";
    let read = || {
        let shown = mesh.host("web1").sh(show).ok()?.stdout;
        let all = shown.split("\n\n").map(record);
        let numbered: Vec<Record> = all.filter(|r| r.contains_key("MESSAGE_ID")).collect();
        let meant = |record: &&Record| {
            let whose = record.get("MESHD_LOGIN").map(String::as_str);
            record["MESSAGE_ID"] == event && whose == login
        };
        let connection = numbered.iter().find(meant)?["MESHD_CONNECTION"].clone();
        let own = |record: &Record| record["MESHD_CONNECTION"] == connection;
        Some(numbered.into_iter().filter(own).collect())
    };
    wait_for("the record", DEADLINE, read).expect("records")
}

fn record(text: &str) -> Record {
    let fields = text.lines().filter_map(|line| line.split_once('='));
    fields
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The number under which the catalogue explains a subject that begins so.
fn number(subject: &str) -> &'static str {
    let (before, _) = CATALOGUE
        .split_once(&format!("Subject: {subject}"))
        .expect("a subject");
    let line = before.trim_end().lines().next_back().expect("a line");
    line.strip_prefix("-- ").expect("a number")
}

#[test]
fn the_journal_knows_who_came_what_ran_and_how_it_ended_but_no_command() {
    let mesh = Mesh::of_two_booted().expect("a mesh");
    let secret = "echo the-secret-word; exit 7";
    let ssh = mesh.ssh("laptop", &["alice@web1", secret]);
    assert_eq!(ssh.output().expect("an end").status.code(), Some(7));
    let records = records(&mesh, number("An SSH connection has ended"), Some("alice"));
    let of = |subject: &str| {
        let number = number(subject);
        let mut found = records
            .iter()
            .filter(|record| record["MESSAGE_ID"] == number);
        let first = found
            .next()
            .unwrap_or_else(|| panic!("{subject}: {records:#?}"));
        assert!(found.next().is_none(), "once: {subject}");
        first
    };
    let is = |record: &Record, name: &str, value: &str| {
        assert_eq!(record.get(name).map(String::as_str), Some(value), "{name}");
    };
    let accepted = of("@MESHD_LOGIN@ was permitted");
    for (name, value) in [
        ("MESHD_PEER", "laptop"),
        ("MESHD_USER", "alice@example.com"),
        ("MESHD_LOGIN", "alice"),
        ("MESHD_RULE", "ssh[0]"),
        ("PRIORITY", "6"),
        ("_UID", "0"),
    ] {
        is(accepted, name, value);
    }
    is(of("A program was started"), "MESHD_KIND", "exec");
    is(of("A program of"), "MESHD_EXIT", "7");
    let end = of("An SSH connection has ended");
    is(
        end,
        "MESHD_CONNECTION",
        &of("A peer has connected")["MESHD_CONNECTION"],
    );
    let all = mesh
        .host("web1")
        .sh("journalctl --no-pager --all")
        .expect("a journal");
    assert!(
        !all.stdout.contains("the-secret-word"),
        "a command is nobody's to read"
    );
}

#[test]
fn a_denial_and_a_revocation_are_explained_by_the_catalogue() {
    let mesh = Mesh::of_two_booted().expect("a mesh");
    let web1 = mesh.host("web1");
    web1.sh("mkdir -p /usr/lib/systemd/catalog")
        .expect("a directory");
    web1.write("/usr/lib/systemd/catalog/meshd.catalog", CATALOGUE)
        .expect("the catalogue");
    web1.sh("journalctl --update-catalog").expect("read");

    let denied = mesh.ssh("laptop", &["bob@web1", "true"]).output();
    assert_eq!(denied.expect("an end").status.code(), Some(255));
    let mut ssh = mesh
        .ssh("laptop", &["alice@web1", "touch /tmp/here; sleep 1000"])
        .spawn()
        .expect("ssh");
    mesh.wait_for_file("web1", "/tmp/here").expect("it runs");
    mesh.change_policy(&meshd_lab::policy_with(""))
        .expect("saved");
    ssh.wait(DEADLINE).expect("an end");

    let denial = number("A login was denied");
    let denial = records(&mesh, denial, None)
        .into_iter()
        .find(|r| r["MESSAGE_ID"] == denial);
    let reason = &denial.expect("a record")["MESHD_REASON"];
    assert!(reason.contains("as user \"bob\""), "{reason}");
    records(&mesh, number("The access of the node"), Some("alice"));
    let shown = web1
        .sh("journalctl --no-pager --catalog SYSLOG_IDENTIFIER=meshd-ssh")
        .expect("a journal")
        .stdout;
    for sentence in [
        "The client at fd7a:115c:a1e0::",
        "The access of the node laptop was revoked",
        "The right to be alice has ended: meshd: policy does not permit",
    ] {
        assert!(shown.contains(sentence), "{sentence}: {shown}");
    }
}
