//! `mesh policy`: looks into a policy file without asking control.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use meshd_contract::filter::{FilterRule, Sources};
use meshd_contract::login::Login;
use meshd_contract::ssh_rule::{Account, CheckPeriod, Decision, decide};
use meshd_policy::{Compiled, Node, Policy, Topology};

use super::{CliError, print};

const SSH: u16 = 22;
const TCP: u8 = 6;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say whether a policy can be saved; if not, line and column of each fault.
    Check {
        /// The policy.
        file: PathBuf,
    },
    /// Run a policy's tests and sshTests on a mesh.
    Test(OnMesh),
    /// Say what a policy decides about one SSH login, and which rule decides it.
    Explain {
        #[command(flatten)]
        on: OnMesh,
        /// The node that connects: its name, number or address.
        #[arg(long)]
        from: String,
        /// The node that it connects to.
        #[arg(long)]
        to: String,
        /// The account.
        #[arg(long)]
        login: Login,
        /// The account's user id; 0 for every name of root.
        #[arg(long)]
        uid: Option<u32>,
    },
}

#[derive(Debug, Args)]
pub(super) struct OnMesh {
    /// The policy.
    file: PathBuf,
    /// The mesh: a JSON file with users, nodes and domains.
    #[arg(long)]
    topology: PathBuf,
}

pub(super) fn run(command: &Command) -> Result<ExitCode, CliError> {
    match command {
        Command::Check { file } => {
            read_policy(file)?;
            print(&format!("{} is a policy\n", file.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Test(on) => {
            let (policy, topology) = on.read()?;
            let report = policy.run_tests(&topology);
            if !report.is_success() {
                return Err(CliError::Policy(report.to_string()));
            }
            print(&format!("{report}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Explain {
            on,
            from,
            to,
            login,
            uid,
        } => {
            let (policy, topology) = on.read()?;
            let is_root = login.as_str() == "root";
            let account = Account {
                login: login.clone(),
                uid: uid.unwrap_or(if is_root { 0 } else { 1000 }),
            };
            let (from, to) = (find(&topology, from)?, find(&topology, to)?);
            let (text, permitted) = explain(&policy.compile(&topology), from, to, &account);
            print(&text)?;
            Ok(ExitCode::from(u8::from(!permitted)))
        }
    }
}

impl OnMesh {
    fn read(&self) -> Result<(Policy, Topology), CliError> {
        let policy = read_policy(&self.file)?;
        let text = read(&self.topology)?;
        let topology: Topology = serde_json::from_str(&text)
            .map_err(|error| CliError::Policy(format!("{}: {error}", self.topology.display())))?;
        policy
            .check_domains(&topology.domains)
            .map_err(|errors| CliError::Policy(errors.to_string()))?;
        Ok((policy, topology))
    }
}

fn read_policy(path: &Path) -> Result<Policy, CliError> {
    let text = read(path)?;
    Policy::parse(&text).map_err(|errors| CliError::Policy(format!("{}: {errors}", path.display())))
}

fn read(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|error| CliError::File {
        path: path.to_owned(),
        verb: "read",
        reason: error.to_string(),
    })
}

fn find<'a>(topology: &'a Topology, who: &str) -> Result<&'a Node, CliError> {
    let address = who.parse::<IpAddr>().ok();
    let is_meant = |node: &&Node| {
        node.name.as_str() == who
            || node.id.to_string() == who
            || address.is_some_and(|address| node.addresses.contains(address))
    };
    let found = topology.nodes.iter().find(is_meant);
    found.ok_or_else(|| CliError::Policy(format!("the topology has no node {who:?}")))
}

/// What is decided, and whether a login gets through.
fn explain(compiled: &Compiled, from: &Node, to: &Node, account: &Account) -> (String, bool) {
    let view = compiled.node(to.id);
    let reaches = view.filter.iter().any(|rule| permits_ssh(rule, from, to));
    let mut text = format!(
        "{} ({}) to {} ({}) as {}\n",
        from.name, from.owner, to.name, to.owner, account.login
    );
    let network = if reaches {
        "network   open: a rule of acls or grants lets tcp/22 in"
    } else {
        "network   closed: no rule of acls or grants lets tcp/22 in, so that no rule of ssh counts"
    };
    let (ssh, permitted) = match decide(&view.ssh_rules, from.id, Some(account)) {
        Decision::Accept(rule) => (format!("ssh       accept by {}", rule.origin), true),
        Decision::Check(rule, period) => {
            let how = match period {
                CheckPeriod::Default => "12 hours".to_owned(),
                CheckPeriod::Always => "each time".to_owned(),
                CheckPeriod::Seconds(seconds) => format!("{seconds} s"),
            };
            (format!("ssh       check ({how}) by {}", rule.origin), true)
        }
        Decision::DenyLogin => (
            "ssh       deny: rules name this node, but none with this account".to_owned(),
            false,
        ),
        Decision::DenyNode => ("ssh       deny: no rule names this node".to_owned(), false),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{network}\n{ssh}");
    (text, reaches && permitted)
}

fn permits_ssh(rule: &FilterRule, from: &Node, to: &Node) -> bool {
    let from = from.addresses.both();
    let to = to.addresses.both();
    let source = match &rule.sources {
        Sources::Any => true,
        Sources::Ranges(ranges) => from
            .iter()
            .any(|address| ranges.iter().any(|range| range.contains(*address))),
    };
    let protocol = rule.protocols.is_empty() || rule.protocols.contains(&TCP);
    let destination = rule.destinations.iter().any(|destination| {
        let meant = destination
            .addresses
            .is_none_or(|range| to.iter().any(|address| range.contains(*address)));
        meant && destination.ports.contains(SSH)
    });
    source && protocol && destination
}

#[cfg(test)]
mod tests {
    use meshd_contract::identity::{NodeId, Owner};

    use super::*;
    use crate::manager::names::tests::addresses;

    const POLICY: &str = r#"{
        "groups": {"group:ops": ["alice@example.com"]},
        "tagOwners": {"tag:web": ["group:ops"]},
        "grants": [{"src": ["group:ops"], "dst": ["tag:web"], "ip": ["tcp:22"]}],
        "ssh": [{"action": "accept", "src": ["group:ops"], "dst": ["tag:web"],
                 "users": ["autogroup:nonroot"]}],
    }"#;

    fn node(id: u8, name: &str, owner: Owner) -> Node {
        Node {
            id: NodeId(id.into()),
            name: name.parse().expect("a name"),
            addresses: addresses(id),
            owner,
            approved_routes: Vec::new(),
        }
    }

    fn topology() -> Topology {
        Topology {
            nodes: vec![
                node(1, "laptop", Owner::User("alice@example.com".to_owned())),
                node(2, "web1", Owner::Tags(vec!["tag:web".to_owned()])),
                node(3, "phone", Owner::User("bob@example.com".to_owned())),
            ],
            ..Topology::default()
        }
    }

    fn explained(from: &str, login: &str, uid: u32) -> (String, bool) {
        let topology = topology();
        let policy = Policy::parse(POLICY).expect("a policy");
        let account = Account {
            login: login.parse().expect("a login"),
            uid,
        };
        let (from, to) = (find(&topology, from), find(&topology, "web1"));
        let compiled = policy.compile(&topology);
        explain(
            &compiled,
            from.expect("is there"),
            to.expect("is there"),
            &account,
        )
    }

    #[test]
    fn the_deciding_rule_is_named() {
        let (text, permitted) = explained("laptop", "alice", 1000);
        assert!(permitted, "{text}");
        assert!(text.contains("accept by ssh[0]"), "{text}");
        assert!(text.contains("network   open"), "{text}");
    }

    #[test]
    fn denials_say_why() {
        let (text, permitted) = explained("laptop", "root", 0);
        assert!(
            !permitted && text.contains("none with this account"),
            "{text}"
        );
        let (text, permitted) = explained("phone", "alice", 1000);
        assert!(
            !permitted && text.contains("no rule names this node"),
            "{text}"
        );
        assert!(text.contains("closed"), "{text}");
    }

    #[test]
    fn nodes_are_found_by_name_number_and_address() {
        let topology = topology();
        for who in ["web1", "2", "100.64.0.2", "fd7a:115c:a1e0::2"] {
            assert_eq!(
                find(&topology, who).expect("is there").id,
                NodeId(2),
                "{who}"
            );
        }
        assert!(find(&topology, "db1").is_err());
    }
}
