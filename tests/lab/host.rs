//! One host.

use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use nix::fcntl::OFlag;

use crate::error::{Doing, LabError, Result};
use crate::files::Root;
use crate::held::Held;
use crate::inside::PROGRAMS;
use crate::{DEADLINE, HostCommand, Output, Terminal, programs, wait_for};

/// What a host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// This machine's programs, and only what the test starts.
    Plain,
    /// A Debian 12 of its own, with systemd as its first process, logind and pam_systemd; the
    /// project's units are installed there, none is started.
    Booted,
    /// The same Debian 12 with nothing of the project, for a test to install.
    Bare,
}

/// A host: its own root directory, accounts, network, processes, hostname.
#[derive(Debug)]
pub struct Host {
    name: String,
    kind: Kind,
    held: Held,
    root: Root,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

/// A process of a host, as `ps` there shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number in the host.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// The account that it runs as.
    pub user: String,
    /// Its name, without directory.
    pub name: String,
    /// Its arguments, its own name first.
    pub command: String,
}

impl Host {
    pub(crate) fn start(name: &str, kind: Kind, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<Self> {
        let mut lab_init = Command::new(programs::lab_init()?);
        lab_init.arg(match kind {
            Kind::Plain => "host",
            Kind::Booted | Kind::Bare => "booted",
        });
        lab_init.arg(name);
        let programs = match kind {
            Kind::Plain | Kind::Booted => programs::built()?,
            Kind::Bare => Vec::new(),
        };
        lab_init.env(PROGRAMS, programs::encode(&programs));
        let held = Held::start(name, &mut lab_init)?;
        let root = Root::of(held.pid).doing(|| format!("open the root of {name}"))?;
        let host = Self {
            name: name.to_owned(),
            kind,
            held,
            root,
            v4,
            v6,
        };
        if kind != Kind::Plain {
            host.wait_until_booted()?;
        }
        Ok(host)
    }

    fn wait_until_booted(&self) -> Result<()> {
        let state = wait_for(
            &format!("end of the start of {}", self.name),
            DEADLINE,
            || {
                let asked = self
                    .command("systemctl")
                    .args(["is-system-running", "--wait"]);
                let said = asked.output().ok()?.stdout;
                ["running", "degraded"]
                    .into_iter()
                    .find(|state| said.trim() == *state)
            },
        )?;
        if state == "running" {
            return Ok(());
        }
        let failed = self.sh("systemctl --failed; journalctl --no-pager -b -p warning")?;
        Err(LabError::Start {
            host: self.name.clone(),
            why: failed.stdout,
        })
    }

    /// What it runs.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its hostname.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the lab's network, beside the mesh.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        self.v4
    }

    /// Its IPv6 address on the lab's network, beside the mesh.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        self.v6
    }

    /// Its first process, as this machine counts.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.held.pid
    }

    /// A command to run in it, as root unless told otherwise.
    pub fn command(&self, program: &str) -> HostCommand {
        HostCommand::new(&self.name, self.held.pid, program)
    }

    /// Runs a shell script in it, as root, and expects it to succeed.
    ///
    /// # Errors
    /// [`crate::LabError::Failed`] if it fails, [`crate::LabError::Late`] if it does not end.
    pub fn sh(&self, script: &str) -> Result<Output> {
        self.command("sh").args(["-c", script]).succeed()
    }

    /// A file's content.
    ///
    /// # Errors
    /// [`crate::LabError::System`] if it cannot be read.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        let path = path.as_ref();
        self.root
            .read(path)
            .doing(|| format!("read {} on {}", path.display(), self.name))
    }

    /// Whether there is such a file.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.root.open(path.as_ref(), OFlag::O_PATH).is_ok()
    }

    /// What tells a file from its successor of the same name; none if there is no file.
    pub(crate) fn inode(&self, path: &str) -> Option<u64> {
        let file = self.root.open(path.as_ref(), OFlag::O_PATH).ok()?;
        Some(file.metadata().ok()?.ino())
    }

    /// A file's content as text; bytes that are none are replaced.
    ///
    /// # Errors
    /// [`crate::LabError::System`] if it cannot be read.
    pub fn read_text(&self, path: impl AsRef<Path>) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.read(path)?).into_owned())
    }

    /// Writes a file, root's and readable by all if it is new.
    ///
    /// # Errors
    /// [`crate::LabError::System`] if it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Result<()> {
        let path = path.as_ref();
        self.root
            .write(path, content.as_ref())
            .doing(|| format!("write {} on {}", path.display(), self.name))
    }

    /// Opens a file to append to, for what a command says.
    ///
    /// # Errors
    /// [`crate::LabError::System`] if it cannot be opened.
    pub fn append(&self, path: impl AsRef<Path>) -> Result<File> {
        let path = path.as_ref();
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND;
        self.root
            .open(path, flags)
            .doing(|| format!("open {} on {}", path.display(), self.name))
    }

    /// Puts another program in the place of one of the project's.
    ///
    /// # Errors
    /// [`crate::LabError::Failed`] with what failed.
    pub fn replace_program(&self, place: &str, program: &str) -> Result<()> {
        self.sh(&format!(
            "umount --lazy {place}; cp {program} {place} && chmod 755 {place}"
        ))
        .map(drop)
    }

    /// Adds an account with a home and bash.
    ///
    /// # Errors
    /// [`crate::LabError::Failed`] with what useradd(8) said.
    pub fn add_user(&self, name: &str) -> Result<()> {
        self.command("useradd")
            .args([
                "--create-home",
                "--user-group",
                "--shell",
                "/bin/bash",
                name,
            ])
            .succeed()
            .map(drop)
    }

    /// Adds a group with these members.
    ///
    /// # Errors
    /// [`crate::LabError::Failed`] with what groupadd(8) or gpasswd(1) said.
    pub fn add_group(&self, name: &str, members: &[&str]) -> Result<()> {
        self.command("groupadd").arg(name).succeed()?;
        self.command("gpasswd")
            .args(["--members", &members.join(","), name])
            .succeed()
            .map(drop)
    }

    /// Everything that runs in it, except what asks.
    ///
    /// # Errors
    /// [`crate::LabError::Failed`] with what ps(1) said.
    pub fn processes(&self) -> Result<Vec<Process>> {
        let listed = self
            .command("ps")
            .args(["-ww", "-eo", "pid=,ppid=,user:32=,comm=,args="])
            .succeed()?;
        let all = listed.stdout.lines().filter_map(Process::parse);
        Ok(all.filter(|p| p.name != "ps").collect())
    }

    /// Sends a signal (by name, without `SIG`) to a process by its number in the host.
    ///
    /// # Errors
    /// [`crate::LabError::Failed`] with what kill(1) said.
    pub fn kill(&self, signal: &str, pid: i32) -> Result<()> {
        self.sh(&format!("kill -s {signal} -- {pid}")).map(drop)
    }

    /// A new terminal of the host.
    ///
    /// # Errors
    /// [`crate::LabError::System`] if the host has no more.
    pub fn terminal(&self) -> Result<Terminal> {
        let master = self
            .root
            .open(Path::new("/dev/ptmx"), OFlag::O_RDWR | OFlag::O_NOCTTY)
            .doing(|| format!("open a terminal on {}", self.name))?;
        Terminal::new(master)
    }
}

impl Process {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (pid, parent) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let (user, name) = (words.next()?, words.next()?);
        Some(Self {
            pid,
            parent,
            user: user.to_owned(),
            name: name.to_owned(),
            command: words.collect::<Vec<_>>().join(" "),
        })
    }
}
