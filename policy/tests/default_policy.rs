//! The policy of a new mesh.

use meshd_contract::identity::{NodeId, Owner};
use meshd_contract::login::Login;
use meshd_contract::ssh_rule::{Account, Decision, decide};
use meshd_policy::{Node, Policy, Topology};

fn node(id: u64, owner: Owner) -> Node {
    let n = u8::try_from(id).expect("a small number");
    Node {
        id: NodeId(id),
        name: format!("node{id}").parse().expect("a name"),
        addresses: meshd_contract::address::MeshAddresses {
            v4: [100, 64, 0, n].into(),
            v6: [0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, u16::from(n)].into(),
        },
        owner,
        approved_routes: Vec::new(),
    }
}

#[test]
fn everybody_may_log_in_to_their_own_devices_after_a_check() {
    let user = |login: &str| Owner::User(login.to_owned());
    let topology = Topology {
        nodes: vec![
            node(1, user("alice@example.com")),
            node(2, user("alice@example.com")),
            node(3, user("bob@example.com")),
        ],
        ..Topology::default()
    };
    let policy = Policy::parse(Policy::default_text()).expect("the default policy is good");
    let compiled = policy.compile(&topology);
    let view = compiled.node(NodeId(2));
    assert_eq!(view.peers, [NodeId(1), NodeId(3)].into());
    let account = Account {
        login: "alice".parse::<Login>().expect("a login"),
        uid: 1000,
    };
    assert!(matches!(
        decide(&view.ssh_rules, NodeId(1), Some(&account)),
        Decision::Check(_, _)
    ));
    assert_eq!(
        decide(&view.ssh_rules, NodeId(3), Some(&account)),
        Decision::DenyNode
    );
    assert!(policy.run_tests(&topology).is_success());
}
