//! Every way for a right to end, against everything that lives by it, on a broker whose documents
//! the test signs itself, so that the moment at which one counts is known.

use std::io::Read;
use std::time::{Duration, Instant};

use meshd_contract::document::Version;
use meshd_contract::identity::{NodeId, Owner};
use meshd_contract::paths;
use meshd_contract::peer_document::PeerDocument;
use meshd_contract::time::Timestamp;
use meshd_lab::{DEADLINE, Running, Terminal, unix_time, wait_for};

use crate::site::{Site, document, rule};

/// Seconds that a revoked session has to end gracefully: many at first, to see what does not need
/// them.
const GRACES: [u32; 2] = [12, 5];

/// How a right ends: from here on, these rules and peers.
struct Way {
    name: &'static str,
    end: fn(&Site, Version),
}

const WAYS: [Way; 6] = [
    Way {
        name: "rule removed",
        end: |site, version| change(site, version, |document| document.rules.clear()),
    },
    Way {
        name: "user removed from the group",
        end: |site, version| {
            change(site, version, |document| {
                document.rules[0].principals = [NodeId(3)].into();
            });
        },
    },
    Way {
        name: "node deleted",
        end: |site, version| {
            change(site, version, |document| {
                document.rules.clear();
                document.peers.clear();
            });
        },
    },
    Way {
        name: "node key expired",
        end: |site, version| {
            change(site, version, |document| {
                document.peers[0].key_expires_at = Some(Timestamp(unix_time() + 2));
            });
        },
    },
    Way {
        name: "tag changed",
        end: |site, version| {
            change(site, version, |document| {
                let tag = "tag:other".parse().expect("a tag");
                document.peers[0].owner = Owner::Tags([tag].into());
                document.rules = vec![rule("bob")];
            });
        },
    },
    Way {
        name: "mesh sessions kill",
        end: |site, _| {
            site.lan.host("web1").write("/tmp/end", "").expect("a sign");
        },
    },
];

/// What runs, each with a number of its own in its command line, and whether it ends by SIGHUP.
const PROGRAMS: [(&str, &str, bool); 4] = [
    ("exec", "sleep 2001", true),
    (
        "a child in a session of its own",
        "setsid sleep 2002 </dev/null >/dev/null 2>&1 & sleep 2002",
        true,
    ),
    (
        "a job in the background that SIGHUP is ignored by",
        "trap '' HUP TERM INT; setsid sleep 3001 & while :; do sleep 3002; done",
        false,
    ),
    (
        "a daemon",
        "(trap '' HUP; setsid sh -c 'sleep 3003; true' </dev/null >/dev/null 2>&1 &); sleep 2003",
        false,
    ),
];

/// The client's side of everything that is to end.
struct Connections {
    clients: Vec<(&'static str, Running)>,
    _terminal: Terminal,
    shell: Running,
    master: Running,
    waiting: Running,
}

fn change(site: &Site, version: Version, end: impl FnOnce(&mut PeerDocument)) {
    let mut changed = document();
    changed.header.version = version;
    end(&mut changed);
    site.bring(&changed);
}

#[test]
fn whatever_way_a_right_ends_everything_ends_with_it() {
    let site = Site::start("");
    site.put_in_place(true);
    let _manager = site.serve();
    for (number, way) in (0..).zip(WAYS) {
        let grace = GRACES[usize::from(number > 0)];
        let config = format!("device = \"eth0\"\n[limits]\nkill_grace = {grace}\n");
        let web1 = site.lan.host("web1");
        web1.write(paths::SSH_CONFIG, config).expect("limits");
        change(&site, Version(10 + 2 * number), |_| ());
        let connections = Connections::begin(&site);
        let began = Instant::now();
        (way.end)(&site, Version(11 + 2 * number));
        let quick = wait_for_end_of(&site, "sleep 2");
        let quick_took = began.elapsed();
        if number == 0 {
            let left = left(&site, "sleep 3");
            assert!(left > 0, "{}: nothing needed the grace", way.name);
        }
        assert!(quick, "{}: still there: {:?}", way.name, connections);
        connections.assert_ended(&site, way.name);
        assert!(wait_for_end_of(&site, "sleep 3"), "{}", way.name);
        report(&format!(
            "{}: what SIGHUP ends after {quick_took:?}, all after {:?}",
            way.name,
            began.elapsed()
        ));
        wait_for_end_of(&site, "meshd-broker worker");
        site.lan.host("web1").sh("rm -f /tmp/end").expect("removed");
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the times are part of what the test shows"
)]
fn report(line: &str) {
    println!("{line}");
}

/// How many processes of the host have a command line that begins so.
fn left(site: &Site, text: &str) -> usize {
    let processes = site.lan.host("web1").processes().expect("processes");
    let found = processes.iter().filter(|p| p.command.starts_with(text));
    found.count()
}

fn wait_for_end_of(site: &Site, text: &str) -> bool {
    // Half a minute is half of the time after which a worker looks again in any case.
    const SOON: Duration = Duration::from_secs(30);
    let ended = || (left(site, text) == 0).then_some(());
    wait_for(&format!("the end of {text}"), SOON, ended).is_ok()
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.clients.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Connections {
    /// Everything runs when this returns.
    fn begin(site: &Site) -> Self {
        let laptop = site.lan.host("laptop");
        laptop.sh("rm -f /tmp/go /tmp/mux").expect("removed");
        let clients =
            PROGRAMS.map(|(name, command, _)| (name, site.ssh(&[command]).spawn().expect("ssh")));
        let terminal = laptop.terminal().expect("a terminal");
        let shell = site.ssh(&["-tt"]).spawn_on(&terminal).expect("ssh");
        terminal.expect("alice@web1", DEADLINE).expect("a prompt");
        terminal.send("sleep 2004 & sleep 2005\r").expect("typed");
        let master = site.ssh(&["-M", "-S", "/tmp/mux", "-N"]).spawn();
        let proxy = format!(
            "ProxyCommand=bash -c 'exec 3<>/dev/tcp/%h/{}; touch /tmp/connected; \
             until [ -e /tmp/go ]; do sleep 0.05; done; cat <&3 & exec cat >&3'",
            paths::SSH_PORT
        );
        let waiting = site.ssh(&["-o", &proxy, "touch /tmp/late"]).spawn();
        let connections = Self {
            clients: clients.into(),
            _terminal: terminal,
            shell,
            master: master.expect("ssh"),
            waiting: waiting.expect("ssh"),
        };
        for file in ["/tmp/mux", "/tmp/connected"] {
            let there = || laptop.exists(file).then_some(());
            wait_for(file, DEADLINE, there).expect("a connection");
        }
        for number in [2001, 2002, 2003, 2004, 2005, 3001, 3002, 3003] {
            let command = format!("sleep {number}");
            let runs = || (left(site, &command) > 0).then_some(());
            wait_for(&command, DEADLINE, runs).expect("it runs");
        }
        connections
    }

    /// Each client was told and has ended, and no new channel or login has begun since.
    fn assert_ended(mut self, site: &Site, way: &str) {
        let sneak = [
            "-S",
            "/tmp/mux",
            "-o",
            "ProxyCommand=false",
            "touch /tmp/sneaked",
        ];
        let sneaked = site.ssh(&sneak).output().expect("an end");
        assert!(!sneaked.status.success(), "{way}: {sneaked:?}");
        site.lan.host("laptop").sh("touch /tmp/go").expect("a sign");
        for (name, client) in &mut self.clients {
            assert_told(way, name, client);
        }
        assert_told(way, "an idle master", &mut self.master);
        let end = self.shell.wait(DEADLINE).expect("an end");
        assert_eq!(end.code(), Some(255), "{way}: a shell");
        if way != "mesh sessions kill" {
            let end = self.waiting.wait(DEADLINE).expect("an end");
            assert_eq!(end.code(), Some(255), "{way}: in authentication");
            let web1 = site.lan.host("web1");
            assert!(!web1.exists("/tmp/sneaked") && !web1.exists("/tmp/late"));
        }
    }
}

fn assert_told(way: &str, name: &str, client: &mut Running) {
    let end = client.wait(DEADLINE);
    let end = end.unwrap_or_else(|error| panic!("{way}, {name}: {error}"));
    let mut said = String::new();
    let mut errors = client.stderr.take().expect("its errors");
    errors.read_to_string(&mut said).expect("text");
    assert!(said.contains("Access revoked."), "{way}, {name}: {said}");
    assert_eq!(end.code(), Some(255), "{way}, {name}");
}
