//! What the real service was seen to decide, decision by decision.
//!
//! The cases are files of the folder that `MESHD_POLICY_CASES` names, one observation each; the
//! project's own few in `tests/cases` serve without it. Compared are decisions: SSH by source,
//! destination and login; the network by source, destination, protocol and port; peers.

#[path = "captured/case.rs"]
mod case;
#[path = "captured/filters.rs"]
mod filters;
#[path = "captured/ssh.rs"]
mod ssh;

use std::io::Write;

use std::collections::BTreeSet;

use case::{Case, Outcome};
use meshd_policy::{Errors, Policy, Topology};

/// The domains that the observed tailnet had.
const DOMAINS: [&str; 1] = ["example.com"];

#[test]
fn captured_ssh() {
    run("ssh");
}

#[test]
fn captured_sshtest() {
    run("sshtest");
}

#[test]
fn captured_policytest() {
    run("policytest");
}

#[test]
fn captured_acl() {
    run("acl");
}

#[test]
fn captured_grant() {
    run("grant");
}

/// What was compared in one case.
#[derive(Debug, Default)]
struct Tally {
    ssh: usize,
    ssh_quirks: usize,
    filters: usize,
    peers: usize,
}

fn run(kind: &str) {
    let (cases, place) = case::load(kind);
    let (mut agree, mut skipped, mut stricter, mut failures) = (0, 0, Vec::new(), Vec::new());
    let mut total = Tally::default();
    for case in &cases {
        if case.has_caveat {
            skipped += 1;
            continue;
        }
        if let Some(reason) = ssh::where_meshd_is_stricter(case) {
            match expect_stricter(case, &reason) {
                Ok(()) => stricter.push(format!("{} ({reason})", case.id)),
                Err(error) => failures.push(format!("{}: {error}", case.id)),
            }
            continue;
        }
        match check(case) {
            Ok(tally) => {
                agree += 1;
                total.ssh += tally.ssh;
                total.ssh_quirks += tally.ssh_quirks;
                total.filters += tally.filters;
                total.peers += tally.peers;
            }
            Err(error) => failures.push(format!("{}: {error}", case.id)),
        }
    }
    say(&format!(
        "{kind}: {} cases from {place}: {agree} agree, {} stricter by decision, {skipped} skipped \
         for a caveat, {} differ; compared {} SSH decisions ({} of them the service's own quirk), \
         {} node filters, {} peer sets",
        cases.len(),
        stricter.len(),
        failures.len(),
        total.ssh,
        total.ssh_quirks,
        total.filters,
        total.peers,
    ));
    for line in &stricter {
        say(&format!("  stricter: {line}"));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The counts are part of what the test shows, so they are not kept back when it passes, as what
/// `println` writes is.
fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("an output");
}

fn expect_stricter(case: &Case, value: &str) -> Result<(), String> {
    match Policy::parse(&case.text) {
        Ok(_) => Err(format!("{value} should have been refused")),
        Err(errors) if errors.to_string().contains(value) => Ok(()),
        Err(errors) => Err(format!("{value} should have been named: {errors}")),
    }
}

fn check(case: &Case) -> Result<Tally, String> {
    let read = read(&case.text, &case.topology);
    match &case.outcome {
        Outcome::Rejected { error, by_tests } => rejected(case, read, error, *by_tests),
        Outcome::Accepted { .. } => {
            let policy = read?;
            let report = policy.run_tests(&case.topology);
            if !report.is_success() {
                return Err(format!("its tests should pass: {report}"));
            }
            accepted(case, &policy)
        }
    }
}

fn read(text: &str, topology: &Topology) -> Result<Policy, String> {
    let policy = Policy::parse(text).map_err(|errors| messages(&errors))?;
    policy
        .check_domains(&topology.domains)
        .map_err(|errors| messages(&errors))?;
    Ok(policy)
}

/// What is wrong, without the help, whose examples must not pass for the fault.
fn messages(errors: &Errors) -> String {
    let messages: Vec<&str> = errors
        .problems()
        .iter()
        .map(|problem| problem.message.as_str())
        .collect();
    messages.join("\n")
}

fn rejected(
    case: &Case,
    read: Result<Policy, String>,
    error: &str,
    by_tests: bool,
) -> Result<Tally, String> {
    if by_tests {
        let policy = read?;
        return if policy.run_tests(&case.topology).is_success() {
            Err("its tests should fail".to_owned())
        } else {
            Ok(Tally::default())
        };
    }
    let Err(found) = read else {
        return Err(format!("should be rejected: {error}"));
    };
    let wanted = error.trim_start_matches("[ssh] ");
    let values = case::quoted(wanted);
    let names_them = values
        .iter()
        .all(|value| found.contains(&format!("\"{value}\"")));
    if found.contains(wanted) || (names_them && !values.is_empty()) {
        Ok(Tally::default())
    } else {
        Err(format!("rejected for {found:?} instead of {wanted:?}"))
    }
}

fn accepted(case: &Case, policy: &Policy) -> Result<Tally, String> {
    let Outcome::Accepted { ssh, filter, peers } = &case.outcome else {
        return Err("an accepted case".to_owned());
    };
    let compiled = policy.compile(&case.topology);
    let mut tally = Tally::default();
    for node in &case.topology.nodes {
        let name = node.name.as_str();
        let view = compiled.node(node.id);
        if let Some(expected) = ssh.get(name) {
            let (compared, quirks) = ssh::compare(case, node, expected, &view.ssh_rules)?;
            tally.ssh += compared;
            tally.ssh_quirks += quirks;
        }
        if let Some(expected) = filter.get(name) {
            filters::compare(expected, &view.filter).map_err(|e| format!("{name}: {e}"))?;
            tally.filters += 1;
        }
        if let Some(expected) = peers.get(name) {
            let found: BTreeSet<&str> = case
                .topology
                .nodes
                .iter()
                .filter(|peer| view.peers.contains(&peer.id))
                .map(|peer| peer.name.as_str())
                .collect();
            let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
            if found != expected {
                return Err(format!(
                    "peers of {name}: {found:?} instead of {expected:?}"
                ));
            }
            tally.peers += 1;
        }
    }
    Ok(tally)
}
