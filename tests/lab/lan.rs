//! The network between the hosts.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::thread;

use crate::error::{Doing, LabError, Result};
use crate::held::Held;
use crate::{Host, Kind, programs, requirements};

/// A switch with hosts on it. Addresses are from the ranges for documentation: 192.0.2.0/24
/// (RFC 5737) and 2001:db8::/64 (RFC 3849).
#[derive(Debug)]
pub struct Lan {
    hosts: Vec<Host>,
    switch: Held,
}

impl Lan {
    /// Starts a switch and plain hosts of these names.
    ///
    /// # Errors
    /// [`LabError::Unfit`] if this machine cannot run the lab, else what failed.
    pub fn start(names: &[&str]) -> Result<Self> {
        let plain: Vec<_> = names.iter().map(|name| (*name, Kind::Plain)).collect();
        Self::start_with(&plain)
    }

    /// Starts a switch and hosts of these names and kinds.
    ///
    /// # Errors
    /// As [`Lan::start`].
    pub fn start_with(hosts: &[(&str, Kind)]) -> Result<Self> {
        requirements::check()?;
        if hosts.iter().any(|(_, kind)| *kind != Kind::Plain) {
            requirements::prepare_debian()?;
        }
        let switch = Held::start("switch", Command::new(programs::lab_init()?).arg("switch"))?;
        in_network(switch.pid, "link add br0 type bridge\nlink set br0 up\n")?;
        let mut lan = Self {
            hosts: Vec::new(),
            switch,
        };
        let started: Vec<_> = thread::scope(|scope| {
            let starting: Vec<_> = (1..)
                .zip(hosts)
                .map(|(number, (name, kind))| scope.spawn(move || start_host(name, *kind, number)))
                .collect();
            let joined = starting.into_iter().map(|host| host.join());
            joined.collect::<std::result::Result<_, _>>()
        })
        .map_err(|_| LabError::Failed("starting a host panicked".to_owned()))?;
        for host in started {
            lan.plug(host?)?;
        }
        Ok(lan)
    }

    /// Adds one more plain host.
    ///
    /// # Errors
    /// What failed.
    pub fn add(&mut self, name: &str) -> Result<&Host> {
        let number = u8::try_from(self.hosts.len() + 1)
            .map_err(|_| LabError::Unfit("a lab has at most 255 hosts".to_owned()))?;
        let host = start_host(name, Kind::Plain, number)?;
        self.plug(host)?;
        Ok(&self.hosts[self.hosts.len() - 1])
    }

    /// The host of this name.
    ///
    /// # Panics
    /// If there is none: the test is wrong then.
    #[must_use]
    pub fn host(&self, name: &str) -> &Host {
        let found = self.hosts.iter().find(|host| host.name() == name);
        found.unwrap_or_else(|| panic!("the lab has no host {name}"))
    }

    fn plug(&mut self, host: Host) -> Result<()> {
        let port = format!("port{}", self.hosts.len() + 1);
        in_network(
            self.switch.pid,
            &format!(
                "link add {port} type veth peer name eth0 netns {}\nlink set {port} master br0 up\n",
                host.pid()
            ),
        )?;
        in_network(
            host.pid(),
            &format!(
                "link set lo up\nlink set eth0 up\naddr add {}/24 dev eth0\naddr add {}/64 dev eth0 nodad\n",
                host.v4(),
                host.v6()
            ),
        )?;
        self.hosts.push(host);
        Ok(())
    }
}

fn start_host(name: &str, kind: Kind, number: u8) -> Result<Host> {
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into());
    Host::start(name, kind, Ipv4Addr::new(192, 0, 2, number), v6)
}

/// Runs ip(8) commands, one a line, in the network of a process. Only the network is that
/// process's, so a process number in a command is this machine's.
fn in_network(pid: u32, commands: &str) -> Result<()> {
    let mut ip = Command::new("nsenter")
        .arg(format!("--net=/proc/{pid}/ns/net"))
        .args(["ip", "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .doing(|| "run ip".to_owned())?;
    let mut stdin = ip.stdin.take();
    stdin
        .as_mut()
        .map_or(Ok(()), |pipe| {
            std::io::Write::write_all(pipe, commands.as_bytes())
        })
        .doing(|| "write to ip".to_owned())?;
    drop(stdin);
    let output = ip.wait_with_output().doing(|| "run ip".to_owned())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(LabError::Failed(format!("ip failed: {said}\n{commands}")))
}
