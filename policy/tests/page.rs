//! The examples of meshd-policy(5) are policies, and their tests hold.

use meshd_policy::{Policy, Topology, User};

const PAGE: &str = include_str!("../../man/meshd-policy.5");

/// What stands between `.Bd -literal` and `.Ed` and begins as a policy does.
fn policies() -> Vec<&'static str> {
    let displays = PAGE.split(".Bd -literal -offset indent\n").skip(1);
    displays
        .filter_map(|rest| Some(rest.split_once("\n.Ed")?.0))
        .filter(|text| text.starts_with('{'))
        .collect()
}

/// The people that the examples name.
fn mesh() -> Topology {
    let user = |name: &str| User {
        login: format!("{name}@example.com"),
        role: Default::default(),
    };
    Topology {
        users: vec![user("alice"), user("bob")],
        domains: vec!["example.com".to_owned()],
        ..Topology::default()
    }
}

#[test]
fn every_example_could_be_saved() {
    let policies = policies();
    assert!(policies.len() > 3, "{} examples", policies.len());
    for text in policies {
        let policy = Policy::parse(text).unwrap_or_else(|errors| panic!("{errors}:\n{text}"));
        policy.check_domains(&mesh().domains).expect("own domains");
        assert!(policy.warnings(&mesh()).is_empty(), "{text}");
        let report = policy.run_tests(&mesh());
        assert!(report.is_success(), "{report}:\n{text}");
    }
}

#[test]
fn the_default_policy_of_the_page_is_that_of_a_new_mesh() {
    let form = |text: &str| {
        let text = meshd_policy::format(text).expect("a policy");
        let lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let line: String = lines.collect();
        line.split_whitespace().collect::<String>()
    };
    assert_eq!(form(policies()[0]), form(Policy::default_text()));
}
