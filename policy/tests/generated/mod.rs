//! Policies and topologies made from a seed, and a plain reading of them to compare with.

pub(crate) mod oracle;

use meshd_contract::address::MeshAddresses;
use meshd_contract::identity::{NodeId, Owner};
use meshd_policy::{Node, Role, Topology, User};
use serde_json::{Value, json};

/// How many cases to run: `MESHD_POLICY_GENERATED`, or a number that suits a debug build.
pub(crate) fn case_count(default: u64) -> u64 {
    std::env::var("MESHD_POLICY_GENERATED")
        .map_or(default, |text| text.parse().expect("a number of cases"))
}

/// Pseudo-random numbers (SplitMix64): the same for the same seed, on every machine.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).expect("below the limit")
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// One to `most` of the items, which may repeat.
    fn some(&mut self, items: &[&str], most: usize) -> Vec<String> {
        let count = 1 + self.below(most);
        (0..count).map(|_| (*self.pick(items)).to_owned()).collect()
    }
}

pub(crate) const USERS: [&str; 4] = ["ada@x.com", "bob@x.com", "cy@y.org", "root@x.com"];
pub(crate) const LOGINS: [&str; 6] = ["root", "ada", "bob", "ubuntu", "deploy", "cy"];
const TAGS: [&str; 3] = ["tag:web", "tag:db", "tag:ci"];
const ROUTES: [&str; 4] = ["10.1.0.0/16", "10.1.2.0/24", "192.168.7.0/24", "0.0.0.0/0"];

const SOURCES: [&str; 18] = [
    "*",
    "ada@x.com",
    "bob@x.com",
    "cy@y.org",
    "group:dev",
    "group:ops",
    "group:nobody",
    "tag:web",
    "tag:db",
    "tag:ci",
    "autogroup:member",
    "autogroup:tagged",
    "autogroup:admin",
    "user:*@x.com",
    "server",
    "100.64.0.2",
    "100.64.0.0/30",
    "10.1.2.0/23",
];

const DESTINATIONS: [&str; 15] = [
    "*",
    "ada@x.com",
    "cy@y.org",
    "group:dev",
    "tag:web",
    "tag:db",
    "autogroup:member",
    "autogroup:tagged",
    "autogroup:internet",
    "autogroup:auditor",
    "server",
    "office",
    "100.64.0.3",
    "10.1.2.0/24",
    "10.0.0.0/8",
];

const OWN_SOURCES: [&str; 6] = [
    "ada@x.com",
    "bob@x.com",
    "group:dev",
    "group:ops",
    "autogroup:member",
    "user:*@x.com",
];

const SSH_USERS: [&str; 8] = [
    "root",
    "autogroup:nonroot",
    "ubuntu",
    "deploy",
    "ada",
    "localpart:*@x.com",
    "bob",
    "ubuntu",
];

const ITEMS: [&str; 9] = [
    "*",
    "22",
    "80-443",
    "tcp:22",
    "udp:53",
    "tcp:20-25",
    "icmp:*",
    "sctp:100",
    "udp:*",
];

pub(crate) fn topology(dice: &mut Dice) -> Topology {
    let roles = [Role::Member, Role::Member, Role::Admin, Role::Auditor];
    let count = 3 + dice.below(5);
    Topology {
        users: USERS
            .map(|login| User {
                login: login.to_owned(),
                role: *dice.pick(&roles),
            })
            .to_vec(),
        nodes: (1..=count).map(|n| node(dice, n)).collect(),
        domains: vec!["x.com".to_owned()],
    }
}

pub(crate) fn node(dice: &mut Dice, n: usize) -> Node {
    let low = u8::try_from(n).expect("a small number");
    let owner = if dice.chance(55) {
        Owner::User((*dice.pick(&USERS)).to_owned())
    } else {
        let mut tags = dice.some(&TAGS, 2);
        tags.sort();
        tags.dedup();
        Owner::Tags(tags)
    };
    let mut routes = Vec::new();
    for route in ROUTES {
        if dice.chance(12) {
            routes.push(route.parse().expect("a prefix"));
        }
    }
    Node {
        id: NodeId(n as u64),
        name: format!("node{n}").parse().expect("a name"),
        addresses: MeshAddresses {
            v4: [100, 64, 0, low].into(),
            v6: [0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, u16::from(low)].into(),
        },
        owner,
        approved_routes: routes,
    }
}

/// A policy that is valid by construction.
pub(crate) fn policy(dice: &mut Dice) -> Value {
    let mut policy = json!({
        "groups": {
            "group:dev": ["ada@x.com", "cy@y.org"],
            "group:ops": ["bob@x.com", "root@x.com"],
            "group:nobody": [],
        },
        "hosts": {"server": "100.64.0.1", "office": "192.168.0.0/16"},
        "tagOwners": {"tag:web": ["group:ops"], "tag:db": ["tag:web"], "tag:ci": []},
        "ssh": rules(dice, 5, ssh_rule),
    });
    if dice.chance(85) {
        policy["grants"] = rules(dice, 4, grant);
    }
    if dice.chance(60) {
        policy["acls"] = rules(dice, 4, acl);
    }
    policy
}

/// The policy with one thing changed: a rule more, a rule less, a group changed.
pub(crate) fn changed(dice: &mut Dice, policy: &Value) -> Value {
    let mut policy = policy.clone();
    match dice.below(6) {
        0 => policy["groups"]["group:dev"] = json!(["bob@x.com"]),
        1 => policy["ssh"] = rules(dice, 5, ssh_rule),
        2 => policy["grants"] = rules(dice, 4, grant),
        3 => policy["acls"] = rules(dice, 4, acl),
        4 => {
            let rule = ssh_rule(dice);
            if let Some(list) = policy["ssh"].as_array_mut() {
                list.push(rule);
            }
        }
        _ => {
            if let Some(list) = policy.get_mut("grants").and_then(Value::as_array_mut) {
                list.pop();
            }
        }
    }
    policy
}

fn rules(dice: &mut Dice, most: usize, rule: fn(&mut Dice) -> Value) -> Value {
    let count = dice.below(most + 1);
    (0..count).map(|_| rule(dice)).collect()
}

pub(crate) fn grant(dice: &mut Dice) -> Value {
    if dice.chance(15) {
        return json!({
            "src": dice.some(&OWN_SOURCES, 2),
            "dst": ["autogroup:self"],
            "ip": dice.some(&ITEMS, 2),
        });
    }
    let mut source = dice.some(&SOURCES, 3);
    if dice.chance(4) {
        source.push("autogroup:danger-all".to_owned());
    }
    json!({
        "src": source,
        "dst": dice.some(&DESTINATIONS, 3),
        "ip": dice.some(&ITEMS, 3),
    })
}

pub(crate) fn acl(dice: &mut Dice) -> Value {
    let ports = ["*", "22", "80-443", "22,53", "1-65535"];
    let with_ports = |dice: &mut Dice, names: Vec<String>| -> Vec<String> {
        let name = |name: String| format!("{name}:{}", dice.pick(&ports));
        names.into_iter().map(name).collect()
    };
    if dice.chance(15) {
        let source = if dice.chance(30) {
            vec!["*".to_owned()]
        } else {
            dice.some(&OWN_SOURCES, 2)
        };
        let destination = with_ports(dice, vec!["autogroup:self".to_owned()]);
        return json!({"action": "accept", "src": source, "dst": destination});
    }
    let source = dice.some(&SOURCES, 3);
    let names = dice.some(&DESTINATIONS, 3);
    let destination = with_ports(dice, names);
    let mut rule = json!({"action": "accept", "src": source, "dst": destination});
    if dice.chance(30) {
        rule["proto"] = json!(dice.pick(&["tcp", "17", "sctp"]));
    }
    rule
}

pub(crate) fn ssh_rule(dice: &mut Dice) -> Value {
    let check = dice.chance(35);
    let mut source = dice.some(
        &[
            "ada@x.com",
            "bob@x.com",
            "cy@y.org",
            "group:dev",
            "group:ops",
            "autogroup:member",
            "autogroup:admin",
            "user:*@x.com",
        ],
        2,
    );
    let destination = match dice.below(8) {
        0 | 1 => vec!["autogroup:self".to_owned()],
        2 => {
            source = vec!["ada@x.com".to_owned()];
            vec!["ada@x.com".to_owned()]
        }
        3 => vec!["autogroup:self".to_owned(), "tag:web".to_owned()],
        4 => vec!["autogroup:tagged".to_owned()],
        _ => {
            if !check && dice.chance(50) {
                source.extend(dice.some(&["tag:ci", "tag:web", "autogroup:tagged"], 1));
            }
            dice.some(&TAGS, 2)
        }
    };
    let mut rule = json!({
        "action": if check { "check" } else { "accept" },
        "src": source,
        "dst": destination,
        "users": dice.some(&SSH_USERS, 3),
    });
    if check && dice.chance(50) {
        rule["checkPeriod"] = json!(dice.pick(&["always", "1h", "20m"]));
    }
    if dice.chance(20) {
        rule["acceptEnv"] = json!(["GIT_*"]);
    }
    rule
}
