//! What is fuzzed, by cargo-fuzz and by `tests/fuzz.rs` alike. Each returns a word for what came
//! of the input, so that a runner without coverage can tell new behaviour from old.

#![allow(dead_code, reason = "each user takes one of the two")]

use meshd_contract::document::Version;
use meshd_contract::identity::NodeId;
use meshd_contract::key::PrivateKey;
use meshd_contract::peer_document::PeerDocument;
use meshd_contract::signed::{Expected, SignedError, open, seal_text};
use meshd_contract::ssh_rule::{Account, decide};
use meshd_contract::time::Timestamp;
use meshd_policy::{Policy, Topology};

/// Reads, formats, compiles and tests a policy. The format of what was read is read again, and
/// must be formatted already.
pub(crate) fn policy(input: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(input) else {
        return "no UTF-8".to_owned();
    };
    if let Ok(formatted) = meshd_policy::format(text) {
        let again = meshd_policy::format(&formatted).expect("the formatter writes HuJSON");
        assert_eq!(again, formatted, "formatting must settle");
        let sound = Policy::parse(text).is_ok();
        assert_eq!(
            sound,
            Policy::parse(&formatted).is_ok(),
            "formatting changed the meaning"
        );
    }
    let policy = match Policy::parse(text) {
        Ok(policy) => policy,
        Err(errors) => {
            let shape = |message: &str| -> String {
                message
                    .chars()
                    .filter(|c| c.is_ascii_lowercase())
                    .take(24)
                    .collect()
            };
            let shapes = errors
                .problems()
                .iter()
                .map(|problem| shape(&problem.message));
            return shapes.take(3).collect::<Vec<_>>().join(" ");
        }
    };
    let topology = topology();
    let _ = policy.check_domains(&topology.domains);
    let _ = policy.warnings(&topology).len();
    let report = policy.run_tests(&topology);
    let compiled = policy.compile(&topology);
    let views: Vec<_> = topology
        .nodes
        .iter()
        .map(|node| compiled.node(node.id))
        .collect();
    let rules: usize = views.iter().map(|view| view.ssh_rules.len()).sum();
    let lines: usize = views.iter().map(|view| view.filter.len()).sum();
    format!(
        "read {} {} {} {}",
        rules.min(20),
        lines.min(20),
        report.passed.min(5),
        report.failures.len().min(5)
    )
}

fn topology() -> Topology {
    serde_json::from_str(include_str!("topology.json")).expect("a topology")
}

/// Opens a signed document with this body, and decides a login by it; then opens the input as if
/// it were the whole signed text.
pub(crate) fn peer_document(input: &[u8]) -> String {
    let key = PrivateKey::from_seed(&[7; 32]);
    let expected = Expected {
        node: NodeId(1),
        now: Timestamp(100),
        at_least: Version(1),
    };
    let unsigned = open::<PeerDocument>(input, &key.public(), &expected);
    assert!(unsigned.is_err(), "nothing counts without a signature");
    let Ok(body) = std::str::from_utf8(input) else {
        return "no UTF-8".to_owned();
    };
    let text = seal_text("peers", body, &key);
    match open::<PeerDocument>(text.as_bytes(), &key.public(), &expected) {
        Ok(document) => {
            let account = Account {
                login: "alice".parse().expect("a login"),
                uid: 1000,
            };
            for peer in &document.peers {
                let _ = document.peer_at(peer.addresses.v4.into());
                let _ = decide(&document.rules, peer.node, Some(&account));
            }
            format!(
                "opened {} {}",
                document.peers.len().min(9),
                document.rules.len().min(9)
            )
        }
        Err(SignedError::Body(message)) => message
            .chars()
            .filter(|c| !c.is_ascii_digit())
            .take(60)
            .collect(),
        Err(error) => error
            .to_string()
            .chars()
            .filter(|c| !c.is_ascii_digit())
            .collect(),
    }
}
