//! One session, looked at from inside and from outside while it is there.

use std::collections::BTreeMap;
use std::io::Write;

use meshd_lab::{DEADLINE, Host, Mesh, Running, Terminal, wait_for};

use crate::servers::{CLIENT, SERVER, Server};

/// What a session is, by name.
pub(crate) type Facts = BTreeMap<String, String>;

/// Where the program that looks writes; anybody may.
const FILE: &str = "/tmp/portrait";

/// The last commands: the shell's own words are what a program cannot see. The program takes the
/// shell's place, so that its parent is what the shell's was.
const LOOK: &str = r#"exec /usr/lib/meshd/portrait /tmp/portrait "$0" "$-""#;

/// In every prompt of Debian's.
const PROMPT: &str = "@web1:";

/// Of logind's properties, those that are moments, or numbers that are facts elsewhere.
const VOLATILE: [&str; 7] = [
    "Audit",
    "Id",
    "IdleSinceHint",
    "IdleSinceHintMonotonic",
    "Leader",
    "Timestamp",
    "TimestampMonotonic",
];

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Shell { terminal: bool },
    Exec { terminal: bool },
}

impl Kind {
    fn terminal(self) -> bool {
        match self {
            Self::Shell { terminal } | Self::Exec { terminal } => terminal,
        }
    }
}

/// A client with a session.
struct Client {
    ssh: Running,
    screen: Option<Terminal>,
}

/// Logs in, collects what the session is, and logs out.
pub(crate) fn sit(mesh: &Mesh, server: Server, account: &str, kind: Kind) -> Facts {
    let host = mesh.host(SERVER);
    host.sh(&format!("rm -f {FILE}")).expect("no file");
    let before = logins(host, account);
    let mut client = Client::start(mesh, server, account, kind);
    let what = format!("portrait of {account} by {server:?} as {kind:?}");
    let came = wait_for(&what, DEADLINE, || host.exists(FILE).then_some(()));
    came.unwrap_or_else(|late| panic!("{late}\n{}\n{}", client.shown(), journal(host)));
    let mut facts = portrait(host);
    let id = facts["variable XDG_SESSION_ID"].clone();
    // By sshd, logind never learns root's terminal.
    let with_tty = kind.terminal() && account != "root";
    facts.extend(logind(host, &id, with_tty));
    facts.extend(records(host, account));
    let added = logins(host, account) - before;
    facts.insert("logins written down".to_owned(), added.to_string());
    client.say("\n");
    facts.extend(client.end());
    wait_until_over(host, account, &id);
    facts
}

/// Nothing of a session may be left to disturb the next one.
fn wait_until_over(host: &Host, account: &str, id: &str) {
    let script = format!("! loginctl show-session {id} && ! last {account} | grep still");
    wait_for(&format!("end of session {id}"), DEADLINE, || {
        host.sh(&script).is_ok().then_some(())
    })
    .expect("an end");
}

impl Client {
    fn start(mesh: &Mesh, server: Server, account: &str, kind: Kind) -> Self {
        let options = [if kind.terminal() { "-tt" } else { "-T" }];
        let ssh = server.ssh(mesh, &options, account);
        let ssh = match kind {
            Kind::Exec { .. } => ssh.arg(LOOK),
            Kind::Shell { .. } => ssh,
        };
        let screen = kind.terminal().then(|| {
            let screen = mesh.host(CLIENT).terminal().expect("a terminal");
            screen.resize(101, 37).expect("a size");
            screen
        });
        let ssh = match &screen {
            Some(screen) => ssh.spawn_on(screen),
            None => ssh.spawn(),
        };
        let mut client = Self {
            ssh: ssh.expect("ssh"),
            screen,
        };
        if let Kind::Shell { .. } = kind {
            if let Some(screen) = &client.screen {
                screen.expect(PROMPT, DEADLINE).expect("a prompt");
            }
            client.say(&format!("{LOOK}\n"));
        }
        client
    }

    fn say(&mut self, text: &str) {
        match (&self.screen, &mut self.ssh.stdin) {
            (Some(screen), _) => screen.send(text).expect("typed"),
            (None, Some(input)) => input.write_all(text.as_bytes()).expect("written"),
            (None, None) => panic!("ssh has no input"),
        }
    }

    fn shown(&self) -> String {
        self.screen
            .as_ref()
            .map(Terminal::shown)
            .unwrap_or_default()
    }

    /// The exit status, and line by line what was shown.
    fn end(mut self) -> Facts {
        drop(self.ssh.stdin.take());
        let status = self.ssh.wait(DEADLINE).expect("an end");
        let mut facts = Facts::new();
        facts.insert("exit status".to_owned(), format!("{:?}", status.code()));
        for (number, line) in self.shown().lines().enumerate() {
            facts.insert(format!("screen {number:02}"), line.trim_end().to_owned());
        }
        facts
    }
}

fn journal(host: &Host) -> String {
    let said = host.sh("journalctl --no-pager --lines 40");
    said.expect("a journal").stdout
}

fn portrait(host: &Host) -> Facts {
    let text = host.read_text(FILE).expect("a portrait");
    let pairs = text.lines().filter_map(|line| line.split_once(": "));
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// What logind says; its reading of utmp may take a moment.
fn logind(host: &Host, id: &str, with_tty: bool) -> Facts {
    let words = ["--no-pager", "show-session", id];
    wait_for("session of logind's", DEADLINE, || {
        let shown = host.command("loginctl").args(words).succeed().ok()?.stdout;
        let pairs = shown.lines().filter_map(|line| line.split_once('='));
        let lasting = pairs.filter(|(name, _)| !VOLATILE.contains(name));
        let facts: Facts = lasting
            .map(|(name, value)| (format!("logind {name}"), value.to_owned()))
            .collect();
        (!with_tty || facts.contains_key("logind TTY")).then_some(facts)
    })
    .expect("a session")
}

/// What the host has written down of the login: last(1), lastlog(8), who(1). Times are left out.
fn records(host: &Host, account: &str) -> Facts {
    let said = |script: &str| host.sh(script).expect("records").stdout;
    let last = said(&format!(
        "last {account} | awk 'NR == 1 {{print $1, $2, $3}}'"
    ));
    let lastlog = said(&format!(
        "lastlog --user {account} | awk 'NR == 2 {{print $1, $2, $3}}'"
    ));
    let who = said(&format!(
        "who | awk '$1 == \"{account}\" {{print $1, $2, $5}}'"
    ));
    let facts = [("last", last), ("lastlog", lastlog), ("who", who)];
    facts
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .into()
}

/// How many logins of an account are in wtmp.
fn logins(host: &Host, account: &str) -> usize {
    let listed = host.sh(&format!("last {account}")).expect("logins").stdout;
    listed
        .lines()
        .filter(|line| line.starts_with(account))
        .count()
}
