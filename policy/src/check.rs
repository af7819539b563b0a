//! All that is said of a policy before it is saved.

use std::fmt;

use serde::Serialize;

use crate::assertions::TestReport;
use crate::policy::Policy;
use crate::problem::{Errors, Problem};
use crate::topology::Topology;

/// All that is said of a policy before it is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// What is wrong with it; tests do not run then.
    pub errors: Vec<Problem>,
    /// What is legal but has no effect.
    pub warnings: Vec<Problem>,
    /// What its tests say.
    pub tests: TestReport,
}

impl CheckReport {
    /// Whether it may be saved.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.errors.is_empty() && self.tests.is_success()
    }
}

/// Checks a policy as control does before it saves one: its text, the domains that it names, its
/// tests.
#[must_use]
pub fn check(text: &str, topology: &Topology) -> CheckReport {
    match load(text, topology) {
        Err(errors) => CheckReport {
            errors: errors.problems().to_vec(),
            warnings: Vec::new(),
            tests: TestReport::default(),
        },
        Ok(policy) => CheckReport {
            errors: Vec::new(),
            warnings: policy.warnings(topology),
            tests: policy.run_tests(topology),
        },
    }
}

/// Runs a policy's `tests` and `sshTests` on a mesh.
///
/// # Errors
/// What is wrong with the policy itself.
pub fn test(text: &str, topology: &Topology) -> Result<TestReport, Errors> {
    Ok(load(text, topology)?.run_tests(topology))
}

fn load(text: &str, topology: &Topology) -> Result<Policy, Errors> {
    let policy = Policy::parse(text)?;
    policy.check_domains(&topology.domains)?;
    Ok(policy)
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            writeln!(f, "error: {error}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        if self.errors.is_empty() {
            write!(f, "{}", self.tests)
        } else {
            write!(f, "the policy has {} errors", self.errors.len())
        }
    }
}
