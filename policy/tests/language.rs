//! What single words of the language mean, by example; several devices per user throughout.

use std::collections::BTreeSet;
use std::net::IpAddr;

use meshd_contract::address::MeshAddresses;
use meshd_contract::filter::Sources;
use meshd_contract::identity::{NodeId, Owner};
use meshd_contract::ssh_rule::{
    Account, Action, CheckPeriod, Decision, Forwarding, Rights, SshRule, decide,
};
use meshd_policy::{Compiled, Node, Policy, Question, Role, Topology, User, explain, test};

const LAPTOP: u64 = 1;
const PHONE: u64 = 2;
const DESK: u64 = 3;
const WEB: u64 = 4;
const DB: u64 = 5;
const EXIT: u64 = 6;

fn node(id: u64, name: &str, owner: Owner, routes: &[&str]) -> Node {
    let low = u8::try_from(id).expect("a small number");
    Node {
        id: NodeId(id),
        name: name.parse().expect("a name"),
        addresses: MeshAddresses {
            v4: [100, 64, 0, low].into(),
            v6: [0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, u16::from(low)].into(),
        },
        owner,
        approved_routes: routes
            .iter()
            .map(|route| route.parse().expect("a prefix"))
            .collect(),
    }
}

fn topology() -> Topology {
    let user = |login: &str| Owner::User(login.to_owned());
    let tag = |tag: &str| Owner::Tags(vec![tag.to_owned()]);
    Topology {
        users: ["ada@x.com", "root@x.com", "bob@y.org"]
            .map(|login| User {
                login: login.to_owned(),
                role: Role::Member,
            })
            .to_vec(),
        nodes: vec![
            node(LAPTOP, "laptop", user("ada@x.com"), &[]),
            node(PHONE, "phone", user("ada@x.com"), &[]),
            node(DESK, "desk", user("root@x.com"), &[]),
            node(WEB, "web1", tag("tag:web"), &[]),
            node(DB, "db1", tag("tag:db"), &["10.1.0.0/16"]),
            node(EXIT, "exit1", tag("tag:exit"), &["0.0.0.0/0", "::/0"]),
        ],
        domains: vec!["x.com".to_owned()],
    }
}

fn text(sections: &str) -> String {
    format!(
        "{{\"groups\": {{\"group:dev\": [\"ada@x.com\", \"bob@y.org\"]}}, \"tagOwners\": \
         {{\"tag:web\": [], \"tag:db\": [], \"tag:exit\": [], \"tag:new\": []}}, {sections}}}"
    )
}

fn compiled(sections: &str) -> Compiled {
    let policy = Policy::parse(&text(sections)).unwrap_or_else(|errors| panic!("{errors}"));
    policy.compile(&topology())
}

fn rules(compiled: &Compiled, to: u64) -> Vec<SshRule> {
    compiled.node(NodeId(to)).ssh_rules
}

fn account(login: &str) -> Account {
    Account {
        login: login.parse().expect("a login"),
        uid: if login == "root" { 0 } else { 1000 },
    }
}

fn is_accepted(compiled: &Compiled, from: u64, to: u64, login: &str) -> bool {
    let rules = rules(compiled, to);
    matches!(
        decide(&rules, NodeId(from), Some(&account(login))),
        Decision::Accept(_)
    )
}

fn peers(compiled: &Compiled, of: u64) -> BTreeSet<u64> {
    let peers = compiled.node(NodeId(of)).peers;
    peers.into_iter().map(|id| id.0).collect()
}

#[test]
fn a_localpart_names_only_its_own_user_and_never_root() {
    let compiled = compiled(
        "\"ssh\": [{\"action\": \"accept\", \"src\": [\"autogroup:member\"], \"dst\": \
         [\"tag:web\", \"autogroup:self\"], \"users\": [\"localpart:*@x.com\"]}]",
    );
    for from in [LAPTOP, PHONE] {
        assert!(is_accepted(&compiled, from, WEB, "ada"));
        assert!(is_accepted(&compiled, from, LAPTOP, "ada"));
        assert!(!is_accepted(&compiled, from, WEB, "bob"));
    }
    assert!(!is_accepted(&compiled, DESK, WEB, "ada"));
    // root@x.com is no way to become root.
    assert!(!is_accepted(&compiled, DESK, WEB, "root"));
    assert!(!is_accepted(&compiled, DESK, DESK, "root"));
}

#[test]
fn a_domain_that_is_not_the_meshs_names_nobody() {
    let policy = text(
        "\"ssh\": [{\"action\": \"accept\", \"src\": [\"user:*@x.com\"], \"dst\": [\"tag:web\"], \
         \"users\": [\"localpart:*@x.com\", \"deploy\"]}]",
    );
    let policy = Policy::parse(&policy).expect("a policy");
    let mut topology = topology();
    topology.domains.clear();
    assert!(rules(&policy.compile(&topology), WEB).is_empty());
}

#[test]
fn a_check_rule_decides_before_accept_rules_for_the_logins_it_lists() {
    let compiled = compiled(
        "\"ssh\": [\
         {\"action\": \"accept\", \"src\": [\"ada@x.com\"], \"dst\": [\"tag:web\"], \"users\": \
         [\"root\", \"deploy\"]},\
         {\"action\": \"check\", \"checkPeriod\": \"20m\", \"src\": [\"group:dev\"], \"dst\": \
         [\"tag:web\"], \"users\": [\"root\"]}]",
    );
    let rules = rules(&compiled, WEB);
    let decision = decide(&rules, NodeId(PHONE), Some(&account("root")));
    assert!(
        matches!(decision, Decision::Check(rule, CheckPeriod::Seconds(1200))
        if rule.origin == "ssh[1]")
    );
    assert!(is_accepted(&compiled, PHONE, WEB, "deploy"));
}

#[test]
fn check_periods_and_extensions_reach_the_rule() {
    let compiled = compiled(
        "\"ssh\": [{\"action\": \"check\", \"checkPeriod\": \"0s\", \"src\": [\"ada@x.com\"], \
         \"dst\": [\"tag:web\"], \"users\": [\"deploy\"], \"acceptEnv\": [\"GIT_*\"], \
         \"forwarding\": \"local\", \"permitOpen\": [\"db1:5432\", \"[fd00::1]:*\"], \"command\": \
         \"uptime\", \"sessionDuration\": \"8h\", \"recorder\": [\"tag:db\"], \
         \"enforceRecorder\": true}]",
    );
    let rule = rules(&compiled, WEB).remove(0);
    assert_eq!(rule.action, Action::Check(CheckPeriod::Always));
    assert_eq!(rule.accept_env, ["GIT_*"]);
    let rights = Rights {
        forwarding: Forwarding::Local,
        permit_open: vec!["db1:5432".to_owned(), "[fd00::1]:*".to_owned()],
        permit_listen: Vec::new(),
        command: Some("uptime".to_owned()),
        session_seconds: Some(8 * 3600),
        recorders: vec!["tag:db".to_owned()],
        enforce_recorder: true,
    };
    assert_eq!(rule.rights, rights);
}

#[test]
fn an_ssh_rule_opens_no_network_and_shows_no_peer() {
    let compiled = compiled(
        "\"acls\": [], \"ssh\": [{\"action\": \"accept\", \"src\": [\"ada@x.com\"], \"dst\": \
         [\"tag:web\"], \"users\": [\"root\"]}]",
    );
    let view = compiled.node(NodeId(WEB));
    assert!(view.peers.is_empty() && view.filter.is_empty());
    assert!(is_accepted(&compiled, LAPTOP, WEB, "root"));
}

#[test]
fn the_internet_is_behind_exit_nodes_only() {
    let compiled = compiled(
        "\"grants\": [{\"src\": [\"ada@x.com\"], \"dst\": [\"autogroup:internet\"], \"ip\": \
         [\"tcp:443\"]}]",
    );
    assert_eq!(peers(&compiled, EXIT), [LAPTOP, PHONE].into());
    assert_eq!(peers(&compiled, WEB), BTreeSet::new());
    let filter = compiled.node(NodeId(EXIT)).filter;
    let ranges: Vec<String> = filter[0]
        .destinations
        .iter()
        .filter_map(|destination| Some(destination.addresses?.to_string()))
        .collect();
    assert_eq!(ranges.len(), 7);
    assert_eq!(
        (ranges[0].as_str(), ranges[6].as_str()),
        ("0.0.0.0-9.255.255.255", "2000::/3")
    );
}

#[test]
fn danger_all_means_any_address_and_everybody_sees_the_destination() {
    let compiled = compiled(
        "\"grants\": [{\"src\": [\"autogroup:danger-all\"], \"dst\": [\"tag:web\"], \"ip\": \
         [\"80\"]}]",
    );
    assert_eq!(compiled.node(NodeId(WEB)).filter[0].sources, Sources::Any);
    assert_eq!(
        peers(&compiled, WEB),
        [LAPTOP, PHONE, DESK, DB, EXIT].into()
    );
    assert_eq!(peers(&compiled, DB), [WEB].into());
}

#[test]
fn an_application_grant_permits_no_packet_but_shows_peers() {
    let sections = "\"grants\": [{\"src\": [\"ada@x.com\"], \"dst\": [\"tag:web\"], \"app\": \
                    {\"x.com/cap/print\": [{\"color\": true}]}}]";
    let compiled = compiled(sections);
    assert!(compiled.node(NodeId(WEB)).filter.is_empty());
    assert_eq!(peers(&compiled, WEB), [LAPTOP, PHONE].into());
    let policy = Policy::parse(&text(sections)).expect("a policy");
    let grants: Vec<_> = policy.app_grants().collect();
    assert_eq!(grants[0].0, "grants[0]");
    assert_eq!(grants[0].1["x.com/cap/print"][0]["color"], true);
}

#[test]
fn ip_sets_are_sums_and_differences() {
    let compiled = compiled(
        "\"hosts\": {\"web\": \"100.64.0.4\"}, \"ipsets\": {\"ipset:net\": [\"add 10.1.0.0/16\", \
         \"remove 10.1.2.0/24\", \"host:web\"], \"ipset:all\": [\"ipset:net\"]}, \"grants\": \
         [{\"src\": [\"ada@x.com\"], \"dst\": [\"ipset:all\"], \"ip\": [\"22\"]}]",
    );
    let permitted = |node: u64, address: IpAddr| {
        let filter = compiled.node(NodeId(node)).filter;
        filter
            .iter()
            .flat_map(|rule| &rule.destinations)
            .any(|destination| {
                destination
                    .addresses
                    .is_some_and(|range| range.contains(address))
            })
    };
    assert!(permitted(DB, [10, 1, 3, 1].into()));
    assert!(!permitted(DB, [10, 1, 2, 1].into()));
    assert!(permitted(WEB, [100, 64, 0, 4].into()));
}

#[test]
fn tests_run_before_their_nodes_have_joined() {
    let policy = text(
        "\"acls\": [{\"action\": \"accept\", \"src\": [\"group:dev\"], \"dst\": \
         [\"tag:new:443\"]}], \"ssh\": [{\"action\": \"check\", \"src\": [\"group:dev\"], \
         \"dst\": [\"tag:new\"], \"users\": [\"autogroup:nonroot\"]}], \"tests\": [{\"src\": \
         \"bob@y.org\", \"accept\": [\"tag:new:443\"], \"deny\": [\"tag:new:22\"]}], \
         \"sshTests\": [{\"src\": \"bob@y.org\", \"dst\": [\"tag:new\"], \"check\": \
         [\"alice\"], \"deny\": [\"root\"]}]",
    );
    let report = test(&policy, &topology()).expect("a policy");
    assert!(report.is_success() && report.passed == 4, "{report}");
}

#[test]
fn each_failed_assertion_is_told() {
    let policy = text(
        "\"acls\": [{\"action\": \"accept\", \"src\": [\"ada@x.com\"], \"dst\": \
         [\"tag:web:443\"]}],\n\"ssh\": [{\"action\": \"check\", \"src\": [\"ada@x.com\"], \
         \"dst\": [\"tag:web\"], \"users\": [\"root\"]}],\n\"tests\": [{\"src\": \"ada@x.com\", \
         \"accept\": [\"tag:web:443\", \"tag:web:22\", \"tag:web:*\", \"autogroup:self:22\"], \
         \"deny\": [\"tag:web:443\"]}, {\"src\": \"\", \"accept\": [\"tag:web:1\"]}, {\"src\": \
         \"ada@x.com\"}, {\"src\": \"ada@x.com\", \"proto\": \"icmp\", \"accept\": \
         [\"tag:web:0\"]}],\n\"sshTests\": [{\"src\": \"ada@x.com\", \"dst\": [\"tag:web\"], \
         \"accept\": [\"root\", \"\"], \"check\": [\"root\"]}]",
    );
    let report = test(&policy, &topology()).expect("a policy");
    let told: Vec<(&str, &str)> = report
        .failures
        .iter()
        .map(|failure| (failure.path.as_str(), failure.message.as_str()))
        .collect();
    assert_eq!(report.passed, 2, "{report}");
    assert_eq!(
        told,
        [
            (
                "tests[0].accept[1]",
                "laptop (100.64.0.1) does not reach web1 (100.64.0.4) port 22"
            ),
            (
                "tests[0].accept[2]",
                "port \"*\": a test tries one port, from 1 to 65535"
            ),
            (
                "tests[0].accept[3]",
                "a test cannot name \"autogroup:self\""
            ),
            (
                "tests[0].deny[0]",
                "laptop (100.64.0.1) reaches web1 (100.64.0.4) port 443, by acls[0]"
            ),
            ("tests[1].accept[0]", "the test has no src"),
            ("tests[2]", "the test asserts nothing: write accept or deny"),
            (
                "tests[3].accept[0]",
                "laptop (100.64.0.1) does not reach web1 (100.64.0.4) port 0"
            ),
            (
                "sshTests[0].accept[0]",
                "laptop to web1 as root needs a check, by ssh[0]"
            ),
            (
                "sshTests[0].accept[1]",
                "\"\" is no account: a login name cannot be empty"
            ),
        ]
    );
}

#[test]
fn explanations_read_well() {
    let policy = text(
        "\n\"acls\": [{\"action\": \"accept\", \"src\": [\"ada@x.com\"], \"dst\": \
         [\"tag:web:22\"]}],\n\"ssh\": [{\"action\": \"check\", \"src\": [\"group:dev\"], \
         \"dst\": [\"tag:web\"], \"users\": [\"root\"]}]",
    );
    let ask = |source: &str, destination: &str, login: &str| {
        let question = Question {
            source: source.to_owned(),
            destination: destination.to_owned(),
            login: Some(login.parse().expect("a login")),
            port: None,
            protocol: None,
        };
        match explain(&policy, &topology(), &question) {
            Ok(explanation) => explanation.to_string(),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(
        ask("laptop", "100.64.0.4", "root"),
        "laptop (ada@x.com) to web1 (tag:web) as root, tcp port 22\n\
         network: permitted by acls[0] (line 2)\n\
         ssh: accepted after a check, by ssh[0] (line 3)"
    );
    assert_eq!(
        ask("desk", "web1", "root"),
        "desk (root@x.com) to web1 (tag:web) as root, tcp port 22\n\
         network, 100.64.0.3 to 100.64.0.4: denied: no rule permits it; nearest:\n  \
         acls[0] (line 2): src does not name 100.64.0.3\n\
         network, fd7a:115c:a1e0::3 to fd7a:115c:a1e0::4: denied: no rule permits it; nearest:\n  \
         acls[0] (line 2): src does not name fd7a:115c:a1e0::3\n\
         ssh: denied: no rule permits it; nearest:\n  \
         ssh[0] (line 3): src does not name desk (root@x.com)"
    );
    assert!(ask("laptop", "web1", "bob").ends_with("ssh[0] (line 3): users does not list \"bob\""));
    assert_eq!(
        ask("ada@x.com", "web1", "root"),
        "ada@x.com has several nodes: write one of laptop, phone"
    );
    assert!(ask("laptop", "web2", "root").starts_with("\"web2\" is no node of this mesh"));
}

#[test]
fn differences_read_well() {
    let old = text(
        "\"acls\": [{\"action\": \"accept\", \"src\": [\"ada@x.com\"], \"dst\": \
         [\"tag:web:22,80\"]}], \"ssh\": [{\"action\": \"accept\", \"src\": [\"ada@x.com\"], \
         \"dst\": [\"tag:web\", \"tag:db\"], \"users\": [\"root\", \"deploy\"]}]",
    );
    let new = text(
        "\"acls\": [{\"action\": \"accept\", \"src\": [\"ada@x.com\"], \"dst\": \
         [\"tag:web:22\", \"tag:db:*\"]}], \"ssh\": [{\"action\": \"check\", \"src\": \
         [\"ada@x.com\"], \"dst\": [\"tag:web\"], \"users\": [\"root\", \
         \"autogroup:nonroot\"]}]",
    );
    let difference = meshd_policy::diff(&old, &new, &topology()).expect("two policies");
    assert_eq!(
        difference.to_string(),
        "ssh: laptop (ada@x.com) and phone (ada@x.com) gain every other account on web1 (tag:web) \
         (check)\n\
         ssh: laptop (ada@x.com) and phone (ada@x.com) lose root and deploy on db1 (tag:db) (it \
         was accept)\n\
         ssh: laptop (ada@x.com) and phone (ada@x.com) now need a check for root and deploy on \
         web1 (tag:web) (check instead of accept)\n\
         network: laptop (ada@x.com) and phone (ada@x.com) gain all traffic to db1 (tag:db)\n\
         network: laptop (ada@x.com) and phone (ada@x.com) lose port 80 to web1 (tag:web)"
    );
    let json = serde_json::to_value(&difference).expect("JSON");
    assert_eq!(json["network"][0]["kind"], "gains");
    let same = meshd_policy::diff(&old, &old, &topology()).expect("two policies");
    assert_eq!(same.to_string(), "No decision changes.");
}

#[test]
fn topology_files_are_json() {
    let file = r#"{"users": [{"login": "ada@x.com", "role": "network-admin"}],
        "nodes": [{"id": 1, "name": "laptop", "addresses": {"v4": "100.64.0.1",
        "v6": "fd7a:115c:a1e0::1"}, "owner": {"user": "ada@x.com"}},
        {"id": 2, "name": "db1", "addresses": {"v4": "100.64.0.2", "v6": "fd7a:115c:a1e0::2"},
        "owner": {"tags": ["tag:db"]}, "approved_routes": ["10.0.0.0/8"]}],
        "domains": ["x.com"]}"#;
    let topology: Topology = serde_json::from_str(file).expect("a topology");
    assert_eq!(topology.users[0].role, Role::NetworkAdmin);
    assert_eq!(topology.nodes[1].tags(), ["tag:db"]);
    let again: Topology =
        serde_json::from_str(&serde_json::to_string(&topology).expect("JSON")).expect("a topology");
    assert_eq!(again, topology);
}
