//! The broker against a session process and a manager that do what a test tells them.

mod site;

use std::os::unix::process::ExitStatusExt;

use meshd_contract::document::Version;
use meshd_contract::identity::NodeId;
use meshd_contract::peer_document::PeerDocument;
use meshd_contract::ssh_rule::Forwarding;
use meshd_contract::time::Timestamp;
use meshd_contract::{paths, signed};
use meshd_lab::DEADLINE;

use site::{Site, addresses, document, rule};

#[test]
fn a_permitted_login_runs_a_command_as_the_account() {
    let site =
        Site::start("read\nsign 32\nread\nlogin alice\nread\nexec id -un; umask\nread\nread");
    let (answer, _manager) = site.call();
    assert!(answer.starts_with("Bound"), "{answer}");
    let said = site.session("Exited");
    assert!(said.contains("Signed"), "{said}");
    assert!(said.contains("Permitted { login: \"alice\" }"), "{said}");
    assert!(said.contains("output: alice\noutput: 0022"), "{said}");
    assert!(said.contains("Code(0)"), "{said}");
}

#[test]
fn the_worker_ends_with_its_session_process() {
    let site = Site::start("read\nlogin alice\nread\nexec echo up; sleep 1000\nread");
    let (_, mut manager) = site.call();
    site.wait_for_line("/var/log/broker.log", "channel=0 kind=exec");
    site.lan
        .host("web1")
        .sh("pkill -KILL meshd-session")
        .expect("a kill");
    let end = manager.wait(DEADLINE).expect("ends");
    assert_eq!(end.code(), Some(0), "{:?}", end.signal());
    site.wait_for_no_process("sleep");
    site.wait_for_no_process("meshd-broker worker");
}

#[test]
fn only_the_manager_may_connect() {
    let site = Site::start("");
    let address = addresses(1).v4.to_string();
    let said = site.offer("alice", ["offer", "connected", &address, "eth0"]);
    assert_eq!(said, "no connection: EACCES: Permission denied\n");
    site.lan
        .host("web1")
        .sh(&format!("chmod 666 {}", paths::BROKER_SOCKET))
        .expect("a mode");
    let said = site.offer("alice", ["offer", "connected", &address, "eth0"]);
    assert!(
        said.starts_with("no answer") || said.starts_with("not sent"),
        "{said}"
    );
    site.wait_for_line("/var/log/broker.log", "refused a connection from user");
}

#[test]
fn a_socket_that_was_not_accepted_is_refused() {
    let site = Site::start("");
    let address = addresses(1).v4.to_string();
    let said = site.offer("meshd", ["offer", "connected", &address, "eth0"]);
    assert!(said.starts_with("Refused"), "{said}");
    let said = site.offer("meshd", ["offer", "listening", &address, "eth0"]);
    assert!(said.contains("no connected TCP socket"), "{said}");
}

#[test]
fn documents_that_control_did_not_make_for_this_node_now_are_refused() {
    let site = Site::start("");
    let sealed = |change: &dyn Fn(&mut PeerDocument)| {
        let mut changed = document();
        change(&mut changed);
        signed::seal(&changed, &site.control).expect("seals")
    };
    let tampered = sealed(&|_| ()).replace("\"alice\"", "\"root1\"");
    let cases = [
        (tampered, "signature"),
        (
            sealed(&|document| document.header.expires_at = Timestamp(2)),
            "expired",
        ),
        (
            sealed(&|document| document.header.node = NodeId(2)),
            "for node 2",
        ),
        (
            sealed(&|document| document.header.version = Version(4)),
            "version 4",
        ),
    ];
    let (first, _) = site.call();
    assert!(first.starts_with("Bound"), "{first}");
    for (text, reason) in cases {
        site.bring_text(&text);
        site.lan
            .host("web1")
            .sh("rm /tmp/offer.log")
            .expect("a fresh log");
        let (answer, _) = site.call();
        assert!(
            answer.starts_with("Refused") && answer.contains(reason),
            "{reason}: {answer}"
        );
    }
}

#[test]
fn a_call_from_an_address_that_no_rule_names_is_told_so() {
    let site = Site::start("read\nlogin alice\nread");
    let laptop = site.lan.host("laptop");
    laptop
        .sh("ip addr flush dev eth0; ip addr add 100.64.0.9/10 dev eth0")
        .expect("an address");
    let (answer, _) = site.call();
    assert!(answer.contains("peer: 0"), "{answer}");
    assert!(site.session("Denied").contains("Denied(Node)"));
}

#[test]
fn a_call_from_outside_the_mesh_is_refused() {
    let site = Site::start("");
    let laptop = site.lan.host("laptop");
    let other = "ip addr flush dev eth0; ip addr add 192.0.2.9/24 dev eth0; \
                 ip route add 100.64.0.0/10 dev eth0";
    laptop.sh(other).expect("an address");
    let (answer, _) = site.call();
    assert!(
        answer.starts_with("Refused") && answer.contains("mesh address"),
        "{answer}"
    );
}

#[test]
fn a_session_process_that_breaks_the_rules_ends_its_connection() {
    for (script, why) in [
        ("read\nexec id\nread", "sent Open when it may not"),
        ("read\npty 0\nread", "sent AllocatePty when it may not"),
        (
            "read\nlogin alice\nread\nlogin root\nread",
            "sent Login when it may not",
        ),
        ("read\nsign 20\nread", "out of bounds"),
        ("read\ndescriptor alice\nread", "sent descriptors"),
        ("read\ngarbage x\nread", "speaks version 120"),
        (
            "read\ngarbage \u{1}\u{7f}\nread",
            "no message of the expected kind",
        ),
    ] {
        let site = Site::start(script);
        site.call();
        site.wait_for_line("/var/log/broker.log", why);
        let said = site
            .lan
            .host("web1")
            .read_text("/var/lib/puppet/log")
            .unwrap_or_default();
        assert!(!said.contains("output"), "{said}");
        site.wait_for_no_process("meshd-session");
    }
}

#[test]
fn a_newer_document_without_the_rule_ends_the_session() {
    let site = Site::start(
        "read\nlogin alice\nread\nexec trap '' HUP; exec sleep 1000 >&- 2>&-\nread\nread",
    );
    site.call();
    site.wait_for_line("/var/log/broker.log", "channel=0 kind=exec");
    let mut without = document();
    without.header.version = Version(6);
    without.rules = vec![rule("bob")];
    site.bring(&without);
    assert!(site.session("Revoked").contains("Revoked"));
    site.wait_for_no_process("sleep");
}

#[test]
fn a_session_process_that_keeps_a_forward_beyond_its_right_is_ended() {
    let site = Site::start("read\nlogin alice\nread\nconnect 127.0.0.1 8001\nread\nread\nwait");
    let web1 = site.lan.host("web1");
    let serve = ["-m", "http.server", "--bind", "127.0.0.1", "8001"];
    let server = web1.command("/usr/bin/python3").args(serve).spawn();
    let _server = server.expect("a server");
    meshd_lab::wait_for("the server", DEADLINE, || {
        let listening = web1.sh("ss -Htln 'sport = :8001'").ok()?.stdout;
        (!listening.is_empty()).then_some(())
    })
    .expect("it listens");
    site.call();
    assert!(site.session("Connected").contains("with 1 descriptors"));
    let mut without = document();
    without.header.version = Version(6);
    without.rules[0].rights.forwarding = Forwarding::None;
    site.bring(&without);
    assert!(site.session("NotForwarded").contains("Prohibited"));
    site.wait_for_line(
        "/var/log/broker.log",
        "keeps a forward that is not permitted",
    );
    site.wait_for_no_process("meshd-session");
}

#[test]
fn a_session_process_that_does_not_read_cannot_hold_the_worker() {
    let site =
        Site::start("read\nlogin alice\nread\nexec exec sleep 1000 >&- 2>&-\nread\nflood\nwait");
    site.call();
    site.wait_for_line("/var/log/broker.log", "does not listen");
    site.wait_for_no_process("meshd-session");
    site.wait_for_no_process("sleep");
}

#[test]
fn a_session_process_that_never_logs_in_is_ended() {
    let site = Site::start("wait");
    let config = "device = \"eth0\"\n[limits]\nlogin_grace = 1\n";
    site.lan
        .host("web1")
        .write(paths::SSH_CONFIG, config)
        .expect("a configuration");
    site.call();
    site.wait_for_line("/var/log/broker.log", "no login in time");
    site.wait_for_no_process("meshd-session");
}
