//! `tests` and `sshTests`: what the author of a policy claims of it.

mod network;
mod phantom;
mod ssh;

use std::fmt;
use std::net::IpAddr;

use meshd_contract::address::AddressRange;
use serde::Serialize;

use crate::compile::Compiled;
use crate::policy::Policy;
use crate::problem::{MAX_PROBLEMS, Position};
use crate::selector::Selector;
use crate::topology::Topology;

/// What came of a policy's `tests` and `sshTests`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TestReport {
    /// The number of assertions that hold.
    pub passed: usize,
    /// The number of assertions that do not hold.
    pub failed: usize,
    /// Those that do not hold, in the order of the file, [`MAX_PROBLEMS`] at most.
    pub failures: Vec<TestFailure>,
}

/// An assertion that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestFailure {
    /// Where it stands.
    pub position: Position,
    /// The path to it, such as `tests[0].accept[1]`.
    pub path: String,
    /// Why it does not hold.
    pub message: String,
}

impl TestReport {
    /// Whether every assertion holds; a policy may be saved only then.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.failed == 0
    }
}

impl fmt::Display for TestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_success() {
            return write!(f, "{} assertions hold", self.passed);
        }
        write!(
            f,
            "test(s) failed: {} of {} assertions do not hold",
            self.failed,
            self.failed + self.passed
        )?;
        for failure in &self.failures {
            write!(f, "\n{failure}")?;
        }
        Ok(())
    }
}

impl fmt::Display for TestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.position, self.path, self.message)
    }
}

impl Policy {
    /// Runs `tests` and `sshTests` on a mesh.
    ///
    /// A tag or a user that has no node yet gets one for the time of the run, so that a policy
    /// can be tested before its nodes have joined.
    #[must_use]
    pub fn run_tests(&self, topology: &Topology) -> TestReport {
        let document = self.document();
        if document.tests.is_empty() && document.ssh_tests.is_empty() {
            return TestReport::default();
        }
        let compiled = self.compile(&phantom::with_phantoms(document, topology));
        let mut run = Run {
            policy: self,
            compiled: &compiled,
            report: TestReport::default(),
        };
        for test in &document.tests {
            run.network_test(test);
        }
        for test in &document.ssh_tests {
            run.ssh_test(test);
        }
        let mut report = run.report;
        report.failures.sort_by_key(|failure| failure.position);
        report
    }
}

struct Run<'a> {
    policy: &'a Policy,
    compiled: &'a Compiled,
    report: TestReport,
}

/// One node, or one address that no node has.
struct Endpoint {
    name: String,
    slot: Option<u32>,
    addresses: Vec<IpAddr>,
}

impl Run<'_> {
    fn note(&mut self, at: usize, path: String, result: Result<(), String>) {
        let Err(message) = result else {
            self.report.passed += 1;
            return;
        };
        self.report.failed += 1;
        if self.report.failures.len() < MAX_PROBLEMS {
            self.report.failures.push(TestFailure {
                position: self.policy.position(at),
                path,
                message,
            });
        }
    }

    /// The nodes or the address that a word of a test names: a user, a group, a tag, a host with
    /// one address, or an address.
    fn endpoints(&self, word: &str) -> Result<Vec<Endpoint>, String> {
        let mesh = self.compiled.mesh();
        let document = self.compiled.document();
        let selector = Selector::parse(word).map_err(|error| error.message)?;
        let known = match &selector {
            Selector::User(login) => mesh.has_user(login),
            Selector::Group(name) => document.groups.contains_key(name),
            Selector::Tag(tag) => document.tag_owners.contains_key(tag),
            Selector::Host(name) => document.hosts.contains_key(name),
            Selector::Range(_) => !word.contains('/'),
            _ => return Err(format!("a test cannot name {word:?}")),
        };
        if !known {
            return Err(match selector {
                Selector::Range(_) => format!("{word:?} is no single address"),
                _ => format!("{word:?} is not known"),
            });
        }
        if let Some(range) = document.ranges(&selector).first() {
            return self.endpoint_at(word, range).map(|endpoint| vec![endpoint]);
        }
        let endpoints: Vec<Endpoint> = mesh
            .select(&selector, document)
            .into_iter()
            .filter_map(|slot| {
                let node = mesh.node(slot)?;
                Some(Endpoint {
                    name: node.name.to_string(),
                    slot: Some(slot),
                    addresses: node.addresses.both().to_vec(),
                })
            })
            .collect();
        if endpoints.is_empty() {
            return Err(format!("{word:?} names nobody"));
        }
        Ok(endpoints)
    }

    fn endpoint_at(&self, word: &str, range: &AddressRange) -> Result<Endpoint, String> {
        if range.first() != range.last() {
            return Err(format!("{word:?} is no single address"));
        }
        let slot = self.compiled.mesh().slot_at(range.first());
        Ok(Endpoint {
            name: range.to_string(),
            slot,
            addresses: vec![range.first()],
        })
    }
}
