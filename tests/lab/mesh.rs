//! A mesh: control, and hosts that have joined.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use meshd_contract::paths;

use crate::daemon::{journal, log_of};
use crate::error::{LabError, Result};
use crate::fd_store::FdStore;
use crate::{DEADLINE, Daemon, Host, HostCommand, Kind, Lan, Output, Talk, wait_for};

/// The host that control runs on.
pub const CONTROL: &str = "control";
/// Where control's socket is.
pub const CONTROL_SOCKET: &str = "/run/meshd-control/admin.sock";

const CONTROL_PORT: u16 = 8443;

const BROKER: &str = "meshd-broker";

/// The units of a booted host.
const MANAGER_UNIT: &str = "meshd";
const BROKER_UNIT: &str = "meshd-ssh";

/// Under which node names are resolved, unless control is told otherwise.
const DOMAIN: &str = "mesh.internal";
const AUTH_KEY: &str = "/run/auth-key";

/// What the ssh_config.d file of the packages makes plain `ssh` do, and never a prompt.
const SSH_CONFIG: &str = include_str!("../../packaging/ssh_config.d/50-meshd.conf");

/// Whose a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner<'a> {
    /// A user's, by login.
    User(&'a str),
    /// Nobody's: it carries this tag.
    Tag(&'a str),
}

/// Control and hosts, each a node once it has joined.
#[derive(Debug)]
pub struct Mesh {
    control: Option<Daemon>,
    nodes: BTreeMap<String, Node>,
    lan: Lan,
}

#[derive(Debug, Default)]
struct Node {
    manager: Option<Daemon>,
    broker: Option<Daemon>,
    /// What the manager has left for its next start, where no systemd keeps it.
    store: Option<Arc<FdStore>>,
    address: Option<Ipv4Addr>,
}

impl Mesh {
    /// Starts control and plain hosts of these names; none of them has joined.
    ///
    /// # Errors
    /// [`LabError::Unfit`] if this machine cannot run the lab, else what failed.
    pub fn start(hosts: &[&str]) -> Result<Self> {
        let plain: Vec<_> = hosts.iter().map(|name| (*name, Kind::Plain)).collect();
        Self::start_with(&plain)
    }

    /// Starts control and hosts of these names and kinds; none of them has joined.
    ///
    /// # Errors
    /// As [`Mesh::start`].
    pub fn start_with(hosts: &[(&str, Kind)]) -> Result<Self> {
        let all = [&[(CONTROL, Kind::Plain)], hosts].concat();
        let mut mesh = Self {
            control: None,
            nodes: BTreeMap::new(),
            lan: Lan::start_with(&all)?,
        };
        mesh.start_control()?;
        Ok(mesh)
    }

    /// Starts the mesh that most tests want: `laptop`, a node of alice@example.com, and `web1`,
    /// which carries tag:web, serves SSH and has the accounts alice and bob. Alice may become
    /// alice there, and every packet may pass.
    ///
    /// # Errors
    /// As [`Mesh::start`].
    pub fn of_two() -> Result<Self> {
        Self::of_two_with(Kind::Plain)
    }

    /// The mesh of [`Mesh::of_two`], but `web1` is booted: its daemons are the units `meshd` and
    /// `meshd-ssh`, and a session there is logind's too.
    ///
    /// # Errors
    /// As [`Mesh::start`].
    pub fn of_two_booted() -> Result<Self> {
        Self::of_two_with(Kind::Booted)
    }

    fn of_two_with(kind: Kind) -> Result<Self> {
        let mut mesh = Self::start_with(&[("laptop", Kind::Plain), ("web1", kind)])?;
        mesh.meshd_control(&["users", "create", "alice@example.com"])?;
        mesh.set_policy(&policy_for_alice(&["alice"]))?;
        for account in ["alice", "bob"] {
            mesh.host("web1").add_user(account)?;
        }
        mesh.join("laptop", Owner::User("alice@example.com"))?;
        mesh.start_broker("web1")?;
        mesh.join("web1", Owner::Tag("tag:web"))?;
        mesh.wait_until_reachable("laptop", "web1")?;
        Ok(mesh)
    }

    /// The host of this name, or [`CONTROL`].
    #[must_use]
    pub fn host(&self, name: &str) -> &Host {
        self.lan.host(name)
    }

    /// The network that the hosts are on.
    pub fn lan(&mut self) -> &mut Lan {
        &mut self.lan
    }

    /// Control's URL.
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("https://{}:{CONTROL_PORT}", self.host(CONTROL).v4())
    }

    /// Runs `meshd-control` with these arguments, as its admin, and expects it to succeed.
    ///
    /// # Errors
    /// [`LabError::Failed`] with what it said.
    pub fn meshd_control(&self, arguments: &[&str]) -> Result<Output> {
        self.control_command(arguments).succeed()
    }

    /// `meshd-control` with these arguments.
    pub fn control_command(&self, arguments: &[&str]) -> HostCommand {
        self.host(CONTROL)
            .command("meshd-control")
            .args(arguments.iter().copied())
    }

    /// Saves a policy.
    ///
    /// # Errors
    /// [`LabError::Failed`] with what is wrong with it.
    pub fn set_policy(&self, policy: &str) -> Result<()> {
        self.host(CONTROL).write("/tmp/policy.hujson", policy)?;
        self.meshd_control(&["policy", "set", "/tmp/policy.hujson"])
            .map(drop)
    }

    /// Saves a policy that means something else for the hosts with SSH, and waits until they
    /// know.
    ///
    /// # Errors
    /// As [`Mesh::set_policy`], or [`LabError::Late`].
    pub fn change_policy(&self, policy: &str) -> Result<()> {
        let serving = self.nodes.iter().filter(|(_, node)| node.broker.is_some());
        let before: Vec<_> = serving
            .map(|(name, _)| (name, self.host(name).read(paths::PEER_DOCUMENT).ok()))
            .collect();
        self.set_policy(policy)?;
        before.into_iter().try_for_each(|(name, old)| {
            wait_for(&format!("new document of {name}"), DEADLINE, || {
                let new = self.host(name).read(paths::PEER_DOCUMENT).ok()?;
                (Some(new) != old).then_some(())
            })
        })
    }

    /// Waits until a host has a file.
    ///
    /// # Errors
    /// [`LabError::Late`] if it does not come.
    pub fn wait_for_file(&self, host: &str, path: &str) -> Result<()> {
        wait_for(&format!("{path} on {host}"), DEADLINE, || {
            self.host(host).exists(path).then_some(())
        })
    }

    /// Waits until nothing runs as this account any more.
    ///
    /// # Errors
    /// [`LabError::Failed`] with what still runs.
    pub fn wait_until_empty(&self, host: &str, account: &str) -> Result<()> {
        let left = || -> Option<Vec<_>> {
            let all = self.host(host).processes().ok()?.into_iter();
            Some(all.filter(|process| process.user == account).collect())
        };
        wait_for("end of the account's processes", DEADLINE, || {
            left()?.is_empty().then_some(())
        })
        .map_err(|late| LabError::Failed(format!("{late}: {:?}", left())))
    }

    /// A fresh auth key for such a node.
    ///
    /// # Errors
    /// [`LabError::Failed`] with what control said.
    pub fn auth_key(&self, owner: Owner<'_>) -> Result<String> {
        let (option, value) = match owner {
            Owner::User(user) => ("--user", user),
            Owner::Tag(tag) => ("--tag", tag),
        };
        let output = self.meshd_control(&["authkeys", "create", option, value])?;
        Ok(output.stdout.trim().to_owned())
    }

    /// Starts the manager of a host and brings the host into the mesh; with SSH if its broker
    /// runs.
    ///
    /// # Errors
    /// What failed.
    pub fn join(&mut self, host: &str, owner: Owner<'_>) -> Result<()> {
        let up = self.prepare_join(host, owner)?;
        up.succeed()
            .map_err(|error| self.with_log(error, host, "meshd"))?;
        self.finish_join(host)
    }

    /// All of [`Self::join`] before `mesh up`, which is returned.
    ///
    /// # Errors
    /// What failed.
    pub fn prepare_join(&mut self, host: &str, owner: Owner<'_>) -> Result<HostCommand> {
        let key = self.auth_key(owner)?;
        let control_key = self.control_key()?;
        self.host(host).write(AUTH_KEY, format!("{key}\n"))?;
        if self.node(host).manager.is_none() {
            self.start_manager(host)?;
        }
        let up = self
            .host(host)
            .command("mesh")
            .args(["up", "--control", &self.control_url()])
            .args(["--control-key", &control_key])
            .args(["--auth-key-file", AUTH_KEY]);
        Ok(if self.node(host).broker.is_some() {
            up.arg("--ssh")
        } else {
            up
        })
    }

    /// All of [`Self::join`] after `mesh up`: the host asks the mesh for names and host keys.
    ///
    /// # Errors
    /// What failed.
    pub fn finish_join(&mut self, host: &str) -> Result<()> {
        let address = self.ask_address(host)?;
        let place = self.host(host);
        place.write(
            "/etc/resolv.conf",
            format!("nameserver {address}\nsearch {DOMAIN}\noptions timeout:2 attempts:2\n"),
        )?;
        if place.kind() != Kind::Bare {
            place.write("/etc/ssh/ssh_config.d/50-meshd.conf", SSH_CONFIG)?;
        }
        self.node(host).address = Some(address);
        Ok(())
    }

    /// Control's public key, as `mesh up --control-key` takes it.
    ///
    /// # Errors
    /// [`LabError::Failed`] with what control said.
    pub fn control_key(&self) -> Result<String> {
        let output = self.meshd_control(&["key"])?;
        let key = output.stdout.split_whitespace().next();
        key.map(str::to_owned)
            .ok_or_else(|| LabError::Failed("meshd-control key said nothing".to_owned()))
    }

    /// The mesh address of a host that has joined.
    ///
    /// # Panics
    /// If it has not: the test is wrong then.
    #[must_use]
    pub fn address(&self, host: &str) -> Ipv4Addr {
        let address = self.nodes.get(host).and_then(|node| node.address);
        address.unwrap_or_else(|| panic!("{host} has not joined"))
    }

    /// Waits until SSH on `to` answers a connection from `from`.
    ///
    /// # Errors
    /// [`LabError::Late`] if it does not.
    pub fn wait_until_reachable(&self, from: &str, to: &str) -> Result<()> {
        let script = format!("exec 3<>/dev/tcp/{to}/22; head -c 4 <&3");
        wait_for(&format!("SSH of {to} from {from}"), DEADLINE, || {
            let asked = self.host(from).command("bash").args(["-c", &script]);
            let answer = asked.deadline(Duration::from_secs(5)).output().ok()?;
            (answer.stdout == "SSH-").then_some(())
        })
        .map_err(|error| self.with_log(error, to, "meshd"))
        .map_err(|error| self.with_log(error, to, "meshd-broker"))
    }

    /// `ssh` from one host, as a person there would type it, but never waiting for an answer.
    pub fn ssh(&self, from: &str, arguments: &[&str]) -> HostCommand {
        self.host(from)
            .command("ssh")
            .args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=20"])
            .args(arguments.iter().copied())
    }

    /// A session of alice's on `web1` that answers.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn talk(&self) -> Talk {
        Talk::begin(self.ssh("laptop", &["alice@web1", Talk::SCRIPT]))
    }

    /// Starts control.
    ///
    /// # Errors
    /// [`LabError::Failed`] with its log.
    pub fn start_control(&mut self) -> Result<()> {
        let host = self.host(CONTROL);
        let command = host
            .command("/usr/sbin/meshd-control")
            .arg("serve")
            .user("meshd-control");
        self.control = Some(Daemon::start(
            host,
            "meshd-control",
            command,
            CONTROL_SOCKET,
        )?);
        Ok(())
    }

    /// Takes control, to stop it or to crash it.
    ///
    /// # Panics
    /// If it does not run: the test is wrong then.
    #[must_use]
    pub fn take_control(&mut self) -> Daemon {
        self.control.take().expect("control runs")
    }

    /// Starts the manager of a host; of a booted one, its unit.
    ///
    /// # Errors
    /// [`LabError::Failed`] with its log.
    pub fn start_manager(&mut self, host: &str) -> Result<()> {
        let (place, command) = (self.host(host), self.manager_command(host));
        let store = self.nodes.get(host).and_then(|node| node.store.clone());
        let store = match (place.kind(), store) {
            (Kind::Plain, None) => Some(Arc::new(FdStore::start(place)?)),
            (_, store) => store,
        };
        let command = match &store {
            Some(store) => store.supervise(command)?,
            None => command,
        };
        let daemon = match place.kind() {
            Kind::Plain => Daemon::start(place, "meshd", command, paths::MANAGER_SOCKET)?,
            Kind::Booted | Kind::Bare => {
                Daemon::start_unit(place, MANAGER_UNIT, paths::MANAGER_SOCKET)?
            }
        };
        let node = self.node(host);
        (node.manager, node.store) = (Some(daemon), store);
        Ok(())
    }

    /// The manager of a host, with the privilege that its unit gives it.
    pub fn manager_command(&self, host: &str) -> HostCommand {
        let only_net_admin = "-all,+net_admin";
        self.host(host)
            .command("setpriv")
            .args(["--reuid", paths::MANAGER_USER])
            .args(["--regid", paths::MANAGER_USER, "--init-groups"])
            .args(["--inh-caps", only_net_admin])
            .args(["--ambient-caps", only_net_admin])
            .args(["--bounding-set", only_net_admin, "--no-new-privs"])
            .args(["/usr/sbin/meshd", "--wireguard", &wireguard()])
    }

    /// Takes the manager of a host, to stop it or to crash it.
    ///
    /// # Panics
    /// If it does not run: the test is wrong then.
    #[must_use]
    pub fn take_manager(&mut self, host: &str) -> Daemon {
        self.node(host).manager.take().expect("the manager runs")
    }

    /// Turns SSH on: starts the broker's listener of a host; of a booted one, its unit.
    ///
    /// # Errors
    /// [`LabError::Failed`] with its log.
    pub fn start_broker(&mut self, host: &str) -> Result<()> {
        let place = self.host(host);
        let command = place.command("/usr/sbin/meshd-broker").arg("listen");
        let daemon = match place.kind() {
            Kind::Plain => Daemon::start(place, BROKER, command, paths::BROKER_SOCKET)?,
            Kind::Booted | Kind::Bare => {
                Daemon::start_unit(place, BROKER_UNIT, paths::BROKER_SOCKET)?
            }
        };
        self.node(host).broker = Some(daemon);
        Ok(())
    }

    /// Takes the broker's listener of a host, to stop it or to crash it.
    ///
    /// # Panics
    /// If it does not run: the test is wrong then.
    #[must_use]
    pub fn take_broker(&mut self, host: &str) -> Daemon {
        self.node(host).broker.take().expect("the broker runs")
    }

    /// What a daemon of a host has said: meshd, meshd-broker or meshd-control.
    #[must_use]
    pub fn log(&self, host: &str, daemon: &str) -> String {
        let place = self.host(host);
        match (place.kind(), daemon) {
            (Kind::Plain, _) => place.read_text(log_of(daemon)).unwrap_or_default(),
            (Kind::Booted | Kind::Bare, BROKER) => journal(place, BROKER_UNIT),
            (Kind::Booted | Kind::Bare, _) => journal(place, daemon),
        }
    }

    fn node(&mut self, host: &str) -> &mut Node {
        self.nodes.entry(host.to_owned()).or_default()
    }

    fn ask_address(&self, host: &str) -> Result<Ipv4Addr> {
        let output = self.host(host).command("mesh").arg("ip").succeed()?;
        let address = output
            .stdout
            .split_whitespace()
            .find_map(|w| w.parse().ok());
        address.ok_or_else(|| LabError::Failed(format!("mesh ip said {:?}", output.stdout)))
    }

    fn with_log(&self, error: LabError, host: &str, daemon: &str) -> LabError {
        let log = self.log(host, daemon);
        LabError::Failed(format!("{error}\n--- {daemon} on {host}:\n{log}"))
    }
}

/// A policy by which alice@example.com may become these accounts on tag:web.
#[must_use]
pub fn policy_for_alice(accounts: &[&str]) -> String {
    let users = accounts.iter().map(|account| format!("{account:?}"));
    let rule = format!(
        r#"{{"action": "accept", "src": ["alice@example.com"], "dst": ["tag:web"], "users": [{}]}}"#,
        users.collect::<Vec<_>>().join(", ")
    );
    policy_with(if accounts.is_empty() { "" } else { &rule })
}

/// A policy with these SSH rules, under which every packet may pass.
#[must_use]
pub fn policy_with(ssh_rules: &str) -> String {
    format!(
        r#"{{
    "tagOwners": {{"tag:web": ["alice@example.com"]}},
    "grants": [{{"src": ["*"], "dst": ["*"], "ip": ["*"]}}],
    "ssh": [{ssh_rules}],
}}
"#
    )
}

/// The environment variable that says which WireGuard the managers use, else the userspace one,
/// which needs nothing of the kernel but TUN.
pub const WIREGUARD_VARIABLE: &str = "MESHD_LAB_WIREGUARD";

fn wireguard() -> String {
    std::env::var(WIREGUARD_VARIABLE).unwrap_or_else(|_| "userspace".to_owned())
}
