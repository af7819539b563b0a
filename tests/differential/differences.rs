//! What may differ between a session of sshd's and one of meshd's, and why.

use std::collections::BTreeSet;
use std::fmt;

use crate::sitting::Facts;

/// How the values of a fact may differ.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Differ {
    /// They are the same but for numbers.
    InNumbers,
    /// sshd's and meshd's value; none where a session has no such fact, `*` for any text.
    As(Option<&'static str>, Option<&'static str>),
}

use Differ::{As, InNumbers};

/// One reason for differences of one kind.
#[derive(Debug)]
pub(crate) struct Reason {
    /// The fact's name; `*` for any text.
    pub(crate) fact: &'static str,
    /// How it may differ.
    pub(crate) differ: Differ,
    /// For the reader.
    pub(crate) why: &'static str,
}

/// Everything by which a session may be told from one through sshd.
pub(crate) const TABLE: [Reason; 14] = [
    Reason {
        fact: "cgroup",
        differ: InNumbers,
        why: "the session's number",
    },
    Reason {
        fact: "sessionid",
        differ: InNumbers,
        why: "the session's number",
    },
    Reason {
        fact: "variable XDG_SESSION_ID",
        differ: InNumbers,
        why: "the session's number",
    },
    Reason {
        fact: "logind Scope",
        differ: InNumbers,
        why: "the session's number",
    },
    Reason {
        fact: "variable SSH_C*",
        differ: InNumbers,
        why: "the ports of the connection: sshd listens on another one here",
    },
    Reason {
        fact: "variable MESH_PEER",
        differ: As(None, Some("laptop")),
        why: "tells scripts which node calls",
    },
    Reason {
        fact: "variable MESH_USER",
        differ: As(None, Some("alice@example.com")),
        why: "tells scripts which person calls",
    },
    Reason {
        fact: "logind Service",
        differ: As(Some("sshd"), Some("meshd-ssh")),
        why: "the PAM service",
    },
    Reason {
        fact: "logind TTY",
        differ: As(None, Some("pts/*")),
        why: "PAM is told the terminal; sshd opens its session before there is one, and logind finds \
              out by utmp, but not for root",
    },
    Reason {
        fact: "parent",
        differ: As(Some("sshd"), Some("meshd-broker")),
        why: "the server",
    },
    Reason {
        fact: "parent death signal",
        differ: As(Some("0"), Some("1")),
        why: "a shell is hung up when its worker dies, also without a terminal",
    },
    Reason {
        fact: "variable FROM_THE_USER",
        differ: As(Some("own"), None),
        why: "~/.pam_environment is not read: it has let users pretend to be at the console \
              (CVE-2025-6018)",
    },
    Reason {
        fact: "who",
        differ: As(Some("*"), Some("")),
        why: "nothing is written to utmp, which later releases do not have: logind knows",
    },
    Reason {
        fact: "screen *",
        differ: As(
            Some("Last login: * from *"),
            Some("Last login: * from * on pts/*"),
        ),
        why: "lastlog is shown by PAM, which also says the terminal",
    },
];

/// Facts of both servers, held against the reasons.
pub(crate) struct Comparison<'t> {
    table: &'t [Reason],
    used: BTreeSet<usize>,
    faults: Vec<String>,
}

impl<'t> Comparison<'t> {
    pub(crate) fn by(table: &'t [Reason]) -> Self {
        Self {
            table,
            used: BTreeSet::new(),
            faults: Vec::new(),
        }
    }

    /// Compares what was found in one place.
    pub(crate) fn compare(&mut self, place: &str, theirs: &Facts, ours: &Facts) {
        for difference in between(theirs, ours) {
            match difference.reason(self.table) {
                Some(reason) => drop(self.used.insert(reason)),
                None => self.faults.push(format!("{place}: {difference}")),
            }
        }
    }

    /// Every difference has its reason, and every reason its difference.
    pub(crate) fn assert_explained(self) {
        let faults = self.faults.join("\n");
        assert!(faults.is_empty(), "differences:\n{faults}");
        let all = self.table.iter().enumerate();
        let unused = all.filter(|(number, _)| !self.used.contains(number));
        let unused: Vec<_> = unused.map(|(_, reason)| reason.to_string()).collect();
        assert!(unused.is_empty(), "there is no such difference: {unused:?}");
    }
}

/// A fact that is not the same.
#[derive(Debug)]
struct Difference {
    fact: String,
    theirs: Option<String>,
    ours: Option<String>,
}

/// All facts that are not the same.
fn between(theirs: &Facts, ours: &Facts) -> Vec<Difference> {
    let only_ours = ours.keys().filter(|fact| !theirs.contains_key(*fact));
    let differences = theirs.keys().chain(only_ours).map(|fact| Difference {
        fact: fact.clone(),
        theirs: theirs.get(fact).cloned(),
        ours: ours.get(fact).cloned(),
    });
    differences.filter(|it| it.theirs != it.ours).collect()
}

impl Difference {
    /// Where the table has the reason of this.
    fn reason(&self, table: &[Reason]) -> Option<usize> {
        table.iter().position(|reason| {
            matches(reason.fact, &self.fact)
                && match reason.differ {
                    InNumbers => match (&self.theirs, &self.ours) {
                        (Some(theirs), Some(ours)) => {
                            without_numbers(theirs) == without_numbers(ours)
                        }
                        _ => false,
                    },
                    As(theirs, ours) => {
                        is_like(theirs, self.theirs.as_deref())
                            && is_like(ours, self.ours.as_deref())
                    }
                }
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
        write!(
            f,
            "{}\n    sshd   {}\n    meshd  {}",
            self.fact,
            shown(&self.theirs),
            shown(&self.ours)
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.fact, self.why)
    }
}

fn is_like(pattern: Option<&str>, value: Option<&str>) -> bool {
    match (pattern, value) {
        (Some(pattern), Some(value)) => matches(pattern, value),
        (None, None) => true,
        _ => false,
    }
}

/// `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches(after, &rest[at..]))
        }),
    }
}

fn without_numbers(text: &str) -> String {
    let mut words = text.split(|c: char| c.is_ascii_digit()).collect::<Vec<_>>();
    words.retain(|word| !word.is_empty());
    words.join("#")
}

#[test]
fn a_pattern_is_text_with_gaps() {
    assert!(matches("a*c", "abbc") && matches("a*", "a") && matches("", ""));
    assert!(!matches("a*c", "ab") && !matches("a", "ab"));
}

#[test]
fn only_numbers_may_differ_in_numbers() {
    assert_eq!(
        without_numbers("session-17.scope"),
        without_numbers("session-2.scope")
    );
    assert_ne!(
        without_numbers("session-17.scope"),
        without_numbers("session-17.slice")
    );
}
