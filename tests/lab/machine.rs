//! Virtual machines: each a Debian with systemd, a kernel and a disk of its own.

#[path = "machine/rack.rs"]
mod rack;

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use rack::Rack;

use crate::error::{LabError, Result};
use crate::{Host, HostCommand, Output, Running, wait_for};
use rack::PLACE;

/// How long a machine may take to start: emulated, and beside others that start.
const START: Duration = Duration::from_secs(480);

/// What a machine writes to its console when sshd runs; `machine/give` says so too.
const UP: &str = "the machine is up";

/// A machine of a [`Rack`]: eth0 is on the network of the machines, eth1 for the tests alone.
#[derive(Debug)]
pub struct Machine {
    name: String,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    /// ssh(1) of the rack.
    ssh: HostCommand,
    /// Until sshd answered for the first time.
    took: Duration,
    /// Its folder of the rack, as seen from here.
    place: PathBuf,
    qemu: Running,
}

impl Machine {
    fn start(rack: &Host, name: &str, number: u8, files: Vec<OwnedFd>) -> Result<Self> {
        let began = Instant::now();
        let v4 = Ipv4Addr::new(192, 0, 2, number);
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into());
        rack.command("bash")
            .args(["-c", GIVE, "give", PLACE, name])
            .args([v4.to_string(), v6.to_string()])
            .succeed()?;
        for (bridge, isolated) in [("lan", "off"), ("test", "on")] {
            let port = format!("{bridge}{number}");
            rack.sh(&format!(
                "ip tuntap add {port} mode tap && ip link set {port} master {bridge} up \
                 && ip link set {port} type bridge_slave isolated {isolated}"
            ))?;
        }
        let log = rack.append(format!("{PLACE}/{name}/qemu"))?;
        let qemu = rack
            .command("bash")
            .args(["-c", BOOT, "boot", PLACE, name])
            .arg(number.to_string())
            .pass(files)
            .spawn_into(&log)?;
        let ssh = rack
            .command("ssh")
            .args(["-F", &format!("{PLACE}/ssh_config")]);
        let place = format!("/proc/{}/root{PLACE}/{name}", rack.pid()).into();
        let mut machine = Self {
            name: name.to_owned(),
            v4,
            v6,
            ssh,
            place,
            took: Duration::ZERO,
            qemu,
        };
        let mut ended = None;
        let up = wait_for(&format!("sshd on {name}"), START, || {
            ended = machine.qemu.ended();
            (machine.starts() > 0 || ended.is_some()).then_some(())
        });
        machine.took = began.elapsed();
        let up = match ended {
            Some(status) => Err(LabError::Failed(format!("QEMU ended ({status})"))),
            None => up.and_then(|()| machine.wait_until_booted()),
        };
        let read = |file| fs::read_to_string(machine.place.join(file)).unwrap_or_default();
        let said = read("qemu") + &read("console");
        up.map(|()| machine).map_err(|error| LabError::Start {
            host: name.to_owned(),
            why: format!("{error}\n{said}"),
        })
    }

    /// Nobody answers before D-Bus runs.
    fn wait_until_booted(&self) -> Result<()> {
        let what = format!("end of the start of {}", self.name);
        let state = wait_for(&what, START, || {
            let state = self.command("systemctl is-system-running --wait");
            let said = state.deadline(START).output().ok()?.stdout;
            let mut ends = ["running", "degraded"].into_iter();
            ends.find(|state| said.trim() == *state)
        })?;
        if state == "running" {
            return Ok(());
        }
        let failed = self.sh("systemctl --failed; journalctl --no-pager -b -p warning")?;
        Err(LabError::Failed(failed.stdout))
    }

    /// Its hostname.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the machines' network, beside the mesh.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        self.v4
    }

    /// Its IPv6 address on the machines' network, beside the mesh.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        self.v6
    }

    /// From the start of QEMU until its sshd took a command.
    #[must_use]
    pub fn start_took(&self) -> Duration {
        self.took
    }

    /// A shell script to run in it, as root, by way of its sshd. When the command is killed here,
    /// what it has started there goes on.
    pub fn command(&self, script: &str) -> HostCommand {
        self.ssh.clone().args([&self.name, script])
    }

    /// The same on a terminal of the machine.
    pub fn on_terminal(&self, script: &str) -> HostCommand {
        self.ssh.clone().args(["-tt", &self.name, script])
    }

    /// Runs a shell script in it, as root, and expects it to succeed.
    ///
    /// # Errors
    /// [`LabError::Failed`] if it fails, [`LabError::Late`] if it does not end.
    pub fn sh(&self, script: &str) -> Result<Output> {
        self.command(script).succeed()
    }

    /// Writes a file, root's and readable by all if it is new.
    ///
    /// # Errors
    /// [`LabError::Failed`] if it cannot be written.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let save = self.command(&format!("cat >{path}"));
        save.input(content.as_ref()).succeed().map(drop)
    }

    /// Starts it again, in order, and waits until systemd has started everything.
    ///
    /// # Errors
    /// [`LabError::Late`] if it does not come back.
    pub fn reboot(&self) -> Result<()> {
        let before = self.starts();
        self.command("systemctl reboot").output()?;
        wait_for(&format!("return of {}", self.name), START, || {
            (self.starts() > before).then_some(())
        })?;
        self.forget_connection()?;
        self.wait_until_booted()
    }

    /// How often it has come up.
    fn starts(&self) -> usize {
        let console = fs::read_to_string(self.place.join("console"));
        console.map_or(0, |text| text.matches(UP).count())
    }

    /// Ends the connection that carries the commands, which may have nobody at its other end.
    fn forget_connection(&self) -> Result<()> {
        let words = ["-O", "exit", &self.name];
        self.ssh.clone().args(words).output().map(drop)
    }
}

/// `PLACE NAME V4 V6`, and the initramfs as descriptor 4: adds to it what the machine has of its own.
const GIVE: &str = include_str!("machine/give");

/// `PLACE NAME NUMBER`, and as descriptors from 3 on kernel, initramfs, disk and shared folder.
const BOOT: &str = include_str!("machine/boot");
