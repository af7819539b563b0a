//! The broker alone: real documents, sockets, accounts and PAM, and a session process and manager
//! that do what a test tells them.

#![allow(dead_code, reason = "each test program takes what it needs")]

use std::cell::RefCell;

use meshd_contract::address::MeshAddresses;
use meshd_contract::document::{Header, Version};
use meshd_contract::identity::{NodeId, Owner};
use meshd_contract::key::{PrivateKey, WireGuardKey};
use meshd_contract::peer_document::{Peer, PeerDocument};
use meshd_contract::ssh_rule::{Action, Logins, Rights, SshRule};
use meshd_contract::time::Timestamp;
use meshd_contract::trust::Trust;
use meshd_contract::{paths, signed};
use meshd_lab::{DEADLINE, Daemon, Lan, Running, wait_for};

const FAR: u64 = 4_000_000_000;

/// The real session process, kept while the puppet is in its place.
const REAL_SESSION: &str = "/usr/lib/meshd/real-session";

/// A host with a running broker, and another host that calls it.
pub(crate) struct Site {
    pub(crate) lan: Lan,
    pub(crate) control: PrivateKey,
    broker: Daemon,
    callers: RefCell<Vec<Running>>,
}

pub(crate) fn addresses(n: u8) -> MeshAddresses {
    MeshAddresses {
        v4: [100, 64, 0, n].into(),
        v6: [0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, u16::from(n)].into(),
    }
}

/// web1 (node 1) lets laptop (node 2) become alice.
pub(crate) fn document() -> PeerDocument {
    let header = Header {
        node: NodeId(1),
        version: Version(5),
        issued_at: Timestamp(1),
        expires_at: Timestamp(FAR),
    };
    PeerDocument {
        header,
        name: "web1".parse().expect("a name"),
        addresses: addresses(1),
        peers: vec![Peer {
            node: NodeId(2),
            name: "laptop".parse().expect("a name"),
            addresses: addresses(2),
            wireguard_key: WireGuardKey([2; 32]),
            owner: Owner::User("alice@example.com".to_owned()),
            key_expires_at: None,
            checks_after: Version(0),
        }],
        rules: vec![rule("alice")],
    }
}

pub(crate) fn rule(login: &str) -> SshRule {
    SshRule {
        origin: "ssh[0]".to_owned(),
        action: Action::Accept,
        principals: [NodeId(2)].into(),
        logins: Logins {
            named: [login.parse().expect("a login")].into(),
            ..Logins::default()
        },
        accept_env: Vec::new(),
        rights: Rights::default(),
    }
}

impl Site {
    pub(crate) fn start(script: &str) -> Self {
        let lan = Lan::start(&["web1", "laptop"]).expect("a lab");
        for (name, n) in [("web1", 1), ("laptop", 2)] {
            let MeshAddresses { v4, v6 } = addresses(n);
            let set = format!("ip addr add {v4}/10 dev eth0; ip addr add {v6}/48 dev eth0 nodad");
            lan.host(name).sh(&set).expect("addresses");
        }
        let web1 = lan.host("web1");
        web1.add_user("alice").expect("an account");
        web1.sh("mkdir -p /etc/meshd /var/lib/puppet; chown meshd-ssh /var/lib/puppet")
            .expect("a directory");
        web1.sh(&format!("cp {} {REAL_SESSION}", paths::SESSION_PROGRAM))
            .expect("a copy");
        web1.replace_program(paths::SESSION_PROGRAM, "/usr/lib/meshd/puppet")
            .expect("the puppet");
        web1.write("/var/lib/puppet/script", script)
            .expect("a script");
        web1.write(paths::SSH_CONFIG, "device = \"eth0\"\n")
            .expect("a configuration");
        let control = PrivateKey::from_seed(&[1; 32]);
        let trust = Trust {
            control_key: control.public(),
            node: NodeId(1),
        };
        let pin = format!(
            "{{\"control_key\":\"{}\",\"node\":{}}}",
            trust.control_key, trust.node
        );
        web1.write(paths::TRUST, pin).expect("a pin");
        let listen = web1.command("/usr/sbin/meshd-broker").arg("listen");
        let broker = Daemon::start(web1, "broker", listen, paths::BROKER_SOCKET).expect("a broker");
        let site = Self {
            lan,
            control,
            broker,
            callers: RefCell::default(),
        };
        site.bring(&document());
        site
    }

    /// Brings a document as the manager does, by rename.
    pub(crate) fn bring(&self, document: &PeerDocument) {
        self.bring_text(&signed::seal(document, &self.control).expect("seals"));
    }

    pub(crate) fn bring_text(&self, text: &str) {
        let web1 = self.lan.host("web1");
        let new = format!("{}.new", paths::PEER_DOCUMENT);
        web1.write(&new, text).expect("a file");
        web1.sh(&format!(
            "chown meshd {new}; mv {new} {}",
            paths::PEER_DOCUMENT
        ))
        .expect("a rename");
    }

    /// laptop calls; what the manager's part says first is returned, and the manager's part.
    pub(crate) fn call(&self) -> (String, Running) {
        let web1 = self.lan.host("web1");
        let log = web1.append("/tmp/offer.log").expect("a log");
        let address = addresses(1).v4.to_string();
        let words = ["offer", "accepted", &address, "eth0"];
        let manager = web1
            .command("/usr/lib/meshd/puppet")
            .args(words)
            .user("meshd");
        let manager = manager.spawn_into(&log).expect("a manager");
        self.wait_for_line("/tmp/offer.log", "listening");
        self.connect();
        let answer = wait_for("an answer", DEADLINE, || {
            let text = web1.read_text("/tmp/offer.log").ok()?;
            text.lines().nth(1).map(str::to_owned)
        });
        (answer.expect("an answer"), manager)
    }

    /// Whose program new connections get: the real one's, or the puppet's.
    pub(crate) fn put_in_place(&self, real: bool) {
        let program = if real {
            REAL_SESSION
        } else {
            "/usr/lib/meshd/puppet"
        };
        let place = paths::SESSION_PROGRAM;
        self.lan
            .host("web1")
            .sh(&format!(
                "cp {program} {place}.new && mv {place}.new {place}"
            ))
            .expect("a program");
    }

    /// Starts a manager that hands every connection to the broker.
    pub(crate) fn serve(&self) -> Running {
        let web1 = self.lan.host("web1");
        let log = web1.append("/tmp/manager.log").expect("a log");
        let address = addresses(1).v4.to_string();
        let manager = web1.command("/usr/lib/meshd/puppet");
        let manager = manager.args(["serve", &address, "eth0"]).user("meshd");
        let running = manager.spawn_into(&log).expect("a manager");
        self.wait_for_line("/tmp/manager.log", "listening");
        running
    }

    /// A connection of laptop's that says nothing.
    pub(crate) fn connect(&self) {
        let (address, port) = (addresses(1).v4, paths::SSH_PORT);
        let call = format!("exec 3<>/dev/tcp/{address}/{port}; exec cat <&3 >/dev/null");
        let caller = self.lan.host("laptop").command("bash").args(["-c", &call]);
        let caller = caller.spawn().expect("a call");
        self.callers.borrow_mut().push(caller);
    }

    /// The same, as a value of its own.
    pub(crate) fn call_silently(&self) -> Running {
        self.connect();
        self.callers.borrow_mut().pop().expect("the newest")
    }

    /// Starts the broker's listener anew.
    pub(crate) fn start_broker(&mut self) {
        let web1 = self.lan.host("web1");
        let listen = web1.command("/usr/sbin/meshd-broker").arg("listen");
        let broker = Daemon::start(web1, "broker", listen, paths::BROKER_SOCKET);
        self.broker = broker.expect("a broker");
    }

    /// `ssh` from laptop to the real session process.
    pub(crate) fn ssh(&self, arguments: &[&str]) -> meshd_lab::HostCommand {
        self.ssh_as("alice", "BatchMode=yes", arguments)
    }

    /// The same with a login and an option.
    pub(crate) fn ssh_as(
        &self,
        login: &str,
        option: &str,
        arguments: &[&str],
    ) -> meshd_lab::HostCommand {
        let port = paths::SSH_PORT.to_string();
        let options = [option, "StrictHostKeyChecking=no", "LogLevel=ERROR"];
        let options = options.iter().flat_map(|option| ["-o", option]);
        let laptop = self.lan.host("laptop").command("ssh").args(options);
        let to = format!("{login}@{}", addresses(1).v4);
        laptop
            .args(["-p", &port, &to])
            .args(arguments.iter().copied())
    }

    /// The number of the one process with this in its command line.
    pub(crate) fn pid_of(&self, text: &str) -> i32 {
        let processes = self.lan.host("web1").processes().expect("processes");
        let found = processes.iter().find(|p| p.command.contains(text));
        found
            .unwrap_or_else(|| panic!("{text} in {processes:?}"))
            .pid
    }

    /// What a manager's part that offers something else than an accepted socket is told.
    pub(crate) fn offer(&self, user: &str, words: [&str; 4]) -> String {
        let command = self
            .lan
            .host("web1")
            .command("/usr/lib/meshd/puppet")
            .args(words);
        command.user(user).succeed().expect("an answer").stdout
    }

    pub(crate) fn wait_for_line(&self, path: &str, line: &str) -> String {
        let web1 = self.lan.host("web1");
        let found = wait_for(&format!("{line:?} in {path}"), DEADLINE, || {
            let text = web1.read_text(path).ok()?;
            text.lines()
                .any(|found| found.contains(line))
                .then_some(text)
        });
        found.unwrap_or_else(|error| {
            let broker = web1.read_text("/var/log/broker.log").unwrap_or_default();
            let puppet = web1.read_text("/var/lib/puppet/log").unwrap_or_default();
            panic!("{error}\nbroker:\n{broker}\npuppet:\n{puppet}")
        })
    }

    /// Waits until no process with this in its command line is left.
    pub(crate) fn wait_for_no_process(&self, text: &str) {
        wait_for(&format!("the end of {text}"), DEADLINE, || {
            let processes = self.lan.host("web1").processes().ok()?;
            (!processes
                .iter()
                .any(|process| process.command.contains(text)))
            .then_some(())
        })
        .expect("it ends");
    }

    /// What the session process wrote, once a line with this text is there.
    pub(crate) fn session(&self, line: &str) -> String {
        self.wait_for_line("/var/lib/puppet/log", line)
    }
}
