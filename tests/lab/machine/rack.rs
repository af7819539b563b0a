//! The place where machines run: a host that is their network, and the way into them.

use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::thread;

use super::Machine;
use crate::error::{Doing, LabError, Result};
use crate::{Host, Kind, requirements};

/// What `tests/lab/machine/prepare` makes, and the kernel that it is made with.
const LAB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.lab");

/// Where the rack keeps what is each machine's, by name.
pub(super) const PLACE: &str = "/run/machines";

/// Machines on one network, `lan`, and on another by which the tests reach them. On that one they
/// do not reach each other, and its addresses are link-local, so that nothing takes it for a way
/// between them.
#[derive(Debug)]
pub struct Rack {
    machines: Vec<Machine>,
    host: Host,
}

impl Rack {
    /// Starts machines of these names, each with systemd running; `share` is a folder that they can
    /// mount, read-only: `mount -t 9p -o trans=virtio,version=9p2000.L share DIRECTORY`.
    ///
    /// # Errors
    /// [`LabError::Unfit`] if this machine cannot run them, else what failed, with the console of
    /// the machine that did.
    pub fn start(names: &[&str], share: &Path) -> Result<Self> {
        requirements::check()?;
        prepare()?;
        let nowhere = Ipv6Addr::UNSPECIFIED;
        let host = Host::start("rack", Kind::Plain, Ipv4Addr::UNSPECIFIED, nowhere)?;
        host.sh(&format!(
            "ip link set lo up; mkdir -p {PLACE}; ssh-keygen -q -t ed25519 -N '' -f {PLACE}/key
            for bridge in lan test; do
                ip link add $bridge type bridge mcast_snooping 0 && ip link set $bridge up || exit
            done"
        ))?;
        host.write(format!("{PLACE}/ssh_config"), ssh_config(names))?;
        let machines = thread::scope(|scope| {
            let starting: Vec<_> = (1..)
                .zip(names)
                .map(|(number, name)| {
                    let host = &host;
                    scope.spawn(move || Machine::start(host, name, number, files(share)?))
                })
                .collect();
            let started = starting.into_iter().map(|machine| {
                let panicked = |_| LabError::Failed("starting a machine panicked".to_owned());
                machine.join().map_err(panicked)?
            });
            started.collect::<Result<_>>()
        })?;
        Ok(Self { machines, host })
    }

    /// The machine of this name.
    ///
    /// # Panics
    /// If there is none: the test is wrong then.
    #[must_use]
    pub fn machine(&self, name: &str) -> &Machine {
        let found = self.machines.iter().find(|machine| machine.name() == name);
        found.unwrap_or_else(|| panic!("the rack has no machine {name}"))
    }

    /// The host in which the machines are processes, and their network is made of devices.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }
}

/// Kernel, initramfs, disk and shared folder: descriptors, as the rack may not see their paths.
fn files(share: &Path) -> Result<Vec<OwnedFd>> {
    let lab = Path::new(LAB);
    let made = ["vm/vmlinux", "machine/initramfs.cpio", "machine/disk"].map(|name| lab.join(name));
    let paths = made.iter().map(|path| path.as_path()).chain([share]);
    paths
        .map(|path| {
            let opened = File::open(path).doing(|| format!("open {}", path.display()))?;
            Ok(opened.into())
        })
        .collect()
}

fn prepare() -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/machine/prepare");
    let output = Command::new(script)
        .output()
        .doing(|| "prepare the disk of machines".to_owned())?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(LabError::Unfit(why.trim().to_owned()))
}

/// One connection to each machine carries all commands: under emulation a login takes a second.
fn ssh_config(names: &[&str]) -> String {
    let common = format!(
        "Host *\nUser root\nIdentityFile {PLACE}/key\nUserKnownHostsFile /dev/null\n\
         StrictHostKeyChecking no\nLogLevel ERROR\nBatchMode yes\nConnectTimeout 5\n\
         ControlMaster auto\nControlPersist yes\nControlPath {PLACE}/%n/line\n"
    );
    let hosts = (1_u8..).zip(names).map(|(number, name)| {
        let address = format!("fe80::5054:ff:fe00:1{number:02x}%%test");
        format!("Host {name}\nHostName {address}\n")
    });
    common + &hosts.collect::<String>()
}
