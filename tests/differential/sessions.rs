//! Sessions.

use meshd_lab::{Host, Mesh};

use crate::differences::{Comparison, TABLE};
use crate::servers::{self, SERVER, Server};
use crate::sitting::{Facts, Kind, sit};

const SHELL: Kind = Kind::Shell { terminal: true };
const PIPED_SHELL: Kind = Kind::Shell { terminal: false };
const EXEC_ON_TERMINAL: Kind = Kind::Exec { terminal: true };
const EXEC: Kind = Kind::Exec { terminal: false };

const CASES: [(&str, Kind); 17] = [
    ("alice", SHELL),
    ("alice", PIPED_SHELL),
    ("alice", EXEC_ON_TERMINAL),
    ("alice", EXEC),
    ("root", SHELL),
    ("root", PIPED_SHELL),
    ("root", EXEC_ON_TERMINAL),
    ("root", EXEC),
    ("many", SHELL),
    ("many", EXEC),
    ("homeless", SHELL),
    ("homeless", EXEC),
    ("hushed", SHELL),
    ("limited", SHELL),
    ("limited", EXEC),
    ("varied", EXEC),
    ("masked", EXEC),
];

#[test]
fn a_session_is_sshds_but_for_the_table() {
    let mesh = servers::start();
    // So that there is a last login to be told of.
    for (account, _) in CASES.iter().filter(|(_, kind)| *kind == SHELL) {
        sit(&mesh, Server::Sshd, account, SHELL);
    }
    let mut comparison = Comparison::by(&TABLE);
    for (account, kind) in CASES {
        let theirs = sit(&mesh, Server::Sshd, account, kind);
        let ours = sit(&mesh, Server::Meshd, account, kind);
        assert_own_facts(&mesh, account, kind, &ours);
        comparison.compare(&format!("{account}, {kind:?}"), &theirs, &ours);
    }
    comparison.assert_explained();
}

/// What must be so and not only equal, or the comparison would be of nothing.
fn assert_own_facts(mesh: &Mesh, account: &str, kind: Kind, facts: &Facts) {
    let is = |name: &str, value: &str| {
        let own = facts.get(name).map(String::as_str);
        assert_eq!(own, Some(value), "{account}, {kind:?}: {name}");
    };
    is("exit status", "Some(0)");
    is("status NoNewPrivs", "0");
    is("oom_score_adj", "0");
    is("variable LC_TEST", "sent");
    is("variable FROM_ENVIRONMENT", "everybody");
    is("variable LC_PAPER", "from-the-system");
    is(
        "loginuid",
        facts["status Uid"].split(' ').next().expect("a uid"),
    );
    assert_host_namespaces(mesh.host(SERVER), facts);
    match account {
        "many" => assert_eq!(facts["status Groups"].split(' ').count(), 1001),
        "homeless" => is("working directory", "/"),
        "limited" => is("limit Max open files", "40 40"),
        "varied" => is("variable FROM_PAM", "/home/varied/of/varied"),
        "masked" => is("status Umask", "0027"),
        _ => {}
    }
}

/// A session is in the namespaces of the host's first process.
fn assert_host_namespaces(host: &Host, facts: &Facts) {
    let named = facts.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix("namespace ")?;
        Some((format!("/proc/1/ns/{name}"), value.as_str()))
    });
    let (links, values): (Vec<_>, Vec<_>) = named.unzip();
    assert!(!links.is_empty());
    let read = host.sh(&format!("readlink {}", links.join(" ")));
    let read = read.expect("links").stdout;
    assert_eq!(read.lines().collect::<Vec<_>>(), values);
}
