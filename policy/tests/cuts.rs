//! What counts as a cut of a user's access, by example.

use std::collections::BTreeSet;

use meshd_contract::address::MeshAddresses;
use meshd_contract::identity::{NodeId, Owner};
use meshd_policy::{Cut, Loss, Node, Policy, Topology};

const OPEN: &str = r#"{
    "tagOwners": { "tag:web": [], "tag:db": [] },
    "acls": [{ "action": "accept", "src": ["*"], "dst": ["*:*"] }],
    "ssh": [{ "action": "accept", "src": ["ada@x.com"], "dst": ["tag:web", "tag:db"], "users": ["root", "ada", "deploy"] }],
}"#;

fn node(id: u8, name: &str, owner: Owner) -> Node {
    Node {
        id: NodeId(id.into()),
        name: name.parse().expect("a name"),
        addresses: MeshAddresses {
            v4: [100, 64, 0, id].into(),
            v6: [0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, u16::from(id)].into(),
        },
        owner,
        approved_routes: Vec::new(),
    }
}

fn topology() -> Topology {
    let user = |login: &str| Owner::User(login.to_owned());
    let tag = |tag: &str| Owner::Tags(vec![tag.to_owned()]);
    Topology {
        users: Vec::new(),
        nodes: vec![
            node(1, "laptop", user("ada@x.com")),
            node(2, "phone", user("ada@x.com")),
            node(3, "desk", user("bob@y.org")),
            node(4, "web1", tag("tag:web")),
            node(5, "db1", tag("tag:db")),
        ],
        domains: Vec::new(),
    }
}

/// What each loses where when the second policy replaces the first.
fn cuts(old: &str, new: &str, users: &[&str]) -> Vec<(String, Loss, String)> {
    let parse = |text| Policy::parse(text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    let users: BTreeSet<&str> = users.iter().copied().collect();
    let cuts = Cut::between(&parse(old), &parse(new), &topology(), &users);
    let shown = |cut: Cut| (cut.user, cut.loss, cut.destination.name);
    cuts.into_iter().map(shown).collect()
}

fn of_ada(losses: &[(Loss, &str)]) -> Vec<(String, Loss, String)> {
    let one = |(loss, node): &(Loss, &str)| ("ada@x.com".to_owned(), *loss, (*node).to_owned());
    losses.iter().map(one).collect()
}

#[test]
fn an_equal_policy_and_a_wider_one_cut_nothing() {
    let wider = OPEN.replace("[\"ada@x.com\"]", "[\"ada@x.com\", \"bob@y.org\"]");
    assert_eq!(cuts(OPEN, OPEN, &["ada@x.com"]), []);
    assert_eq!(cuts(OPEN, &wider, &["ada@x.com", "bob@y.org"]), []);
}

#[test]
fn fewer_ports_and_fewer_accounts_are_no_cut_but_root_is_one() {
    let ports = OPEN.replace("*:*", "*:22");
    assert_eq!(cuts(OPEN, &ports, &["ada@x.com"]), []);
    let accounts = OPEN.replace(", \"deploy\"", "");
    assert_eq!(cuts(OPEN, &accounts, &["ada@x.com"]), []);
    let check = OPEN.replace(
        r#""ssh": [{ "action": "accept""#,
        r#""ssh": [{ "action": "check""#,
    );
    assert_eq!(cuts(OPEN, &check, &["ada@x.com"]), []);
    let no_root = OPEN.replace("\"root\", ", "");
    let lost = of_ada(&[(Loss::Root, "db1"), (Loss::Root, "web1")]);
    assert_eq!(cuts(OPEN, &no_root, &["ada@x.com"]), lost);
}

#[test]
fn a_login_needs_the_rule_and_the_port() {
    let no_rule = OPEN.replace("\"tag:web\", \"tag:db\"]", "\"tag:db\"]");
    let lost = of_ada(&[(Loss::Logins, "web1")]);
    assert_eq!(cuts(OPEN, &no_rule, &["ada@x.com"]), lost);
    let no_port = OPEN.replace("*:*", "*:443");
    let lost = of_ada(&[(Loss::Logins, "db1"), (Loss::Logins, "web1")]);
    assert_eq!(cuts(OPEN, &no_port, &["ada@x.com"]), lost);
    let udp_alone = OPEN.replace(
        "\"action\": \"accept\", \"src\": [\"*\"]",
        "\"action\": \"accept\", \"proto\": \"udp\", \"src\": [\"*\"]",
    );
    assert_eq!(cuts(OPEN, &udp_alone, &["ada@x.com"]), lost);
}

#[test]
fn a_node_that_no_packet_reaches_any_more_is_lost_as_a_whole() {
    let web_alone = OPEN.replace("\"*:*\"", "\"tag:web:*\"");
    let lost = of_ada(&[
        (Loss::Packets, "db1"),
        (Loss::Packets, "desk"),
        (Loss::Packets, "laptop"),
        (Loss::Packets, "phone"),
    ]);
    assert_eq!(cuts(OPEN, &web_alone, &["ada@x.com"]), lost);
}

#[test]
fn one_device_that_loses_is_a_loss_of_its_user() {
    let without_phone = OPEN.replace(
        "\"src\": [\"*\"]",
        "\"src\": [\"100.64.0.1\", \"100.64.0.3\"]",
    );
    let lost = cuts(OPEN, &without_phone, &["ada@x.com"]);
    assert!(
        lost.contains(&of_ada(&[(Loss::Packets, "web1")])[0]),
        "{lost:?}"
    );
}

#[test]
fn what_others_lose_is_not_asked_for() {
    let nobody = r#"{ "tagOwners": { "tag:web": [], "tag:db": [] }, "acls": [] }"#;
    assert_eq!(cuts(OPEN, nobody, &[]), []);
    let of_bob = cuts(OPEN, nobody, &["bob@y.org"]);
    assert_eq!(of_bob.len(), 4, "{of_bob:?}");
    assert!(of_bob.iter().all(|(user, ..)| user == "bob@y.org"));
}
