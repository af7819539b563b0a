//! meshd-policy(5) has every word of the language, and no other.

use std::collections::BTreeSet;

use super::{approvers, document, grants, network, ssh, ssh_extensions, tests};
use crate::selector;

const PAGE: &str = include_str!("../../../man/meshd-policy.5");

/// What the page lists under a heading, such as `.Ss grants`, with this macro.
fn listed(heading: &str, entry: &str) -> BTreeSet<&'static str> {
    let after = PAGE.split_once(&format!("\n{heading}\n"));
    let lines = after.expect("the heading").1.lines();
    let section = lines.take_while(|line| !line.starts_with(".Sh ") && !line.starts_with(".Ss "));
    let entries = section.filter_map(|line| line.strip_prefix(entry));
    let words = entries.flat_map(|words| words.split(" , "));
    words
        .map(|word| word.trim_end_matches([' ', ',', '.']))
        .collect()
}

fn set<'a>(words: &[&'a str]) -> BTreeSet<&'a str> {
    words.iter().copied().collect()
}

#[test]
fn every_key_is_under_its_heading() {
    for (heading, keys) in [
        (".Sh THE FILE", &document::SECTIONS[..]),
        (".Ss grants", &grants::FIELDS),
        (".Ss acls", &network::FIELDS),
        (".Ss ssh", &ssh::FIELDS),
        (".Ss tests", &tests::TEST_FIELDS),
        (".Ss sshTests", &tests::SSH_TEST_FIELDS),
        (".Ss autoApprovers", &approvers::FIELDS),
    ] {
        assert_eq!(listed(heading, ".It Ic "), set(keys), "{heading}");
    }
}

#[test]
fn every_autogroup_is_described() {
    let words = listed(".Sh WHO AND WHERE", ".It Ql ");
    let autogroups = words
        .into_iter()
        .filter(|word| word.starts_with("autogroup:"));
    assert_eq!(
        autogroups.collect::<BTreeSet<_>>(),
        set(&selector::AUTOGROUPS)
    );
}

#[test]
fn every_kind_of_forwarding_is_described() {
    let words = listed(".Ss ssh", ".Ql ");
    for (name, _) in ssh_extensions::FORWARDING {
        assert!(words.contains(name), "{name}");
    }
}
