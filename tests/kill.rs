//! Each process of a connection killed by SIGKILL, in each state of the connection: nothing is
//! left of it, the client sees its end, and other logins work.
//!
//! | | before the key exchange, authenticating | asked PAM | idle shell | busy command | closing |
//! |---|---|---|---|---|---|
//! | manager, listener | goes on | goes on | goes on | goes on | goes on |
//! | worker | ends | ends | ends | ends | ends |
//! | session process | ends | ends | ends | ends | - |
//! | shell | - | - | its exit is told | its exit is told | - |
//!
//! "Closing" is a worker that closes PAM, which takes its time; shell and session process have
//! ended by then, and so has the client.

mod site;

use std::time::Duration;

use meshd_lab::{DEADLINE, Host, Process, Running, Terminal, wait_for};

use site::Site;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Manager,
    Listener,
    Worker,
    Session,
    Shell,
}

use Victim::{Listener, Manager, Session, Shell, Worker};

/// Where the connection stands then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Connected, and nothing sent.
    Silent,
    /// The keys are exchanged, and the client asks its user for a password.
    Authenticating,
    /// PAM is asked and does not answer.
    InPam,
    /// A shell on a terminal waits for input.
    Idle,
    /// A command sends and receives without end.
    Busy,
    /// The shell has ended, and PAM does not let its session be closed.
    Closing,
}

use State::{Authenticating, Busy, Closing, Idle, InPam, Silent};

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    GoesOn,
    Ends,
}

const STATES: [State; 6] = [Silent, Authenticating, InPam, Idle, Busy, Closing];

fn outcome(victim: Victim) -> Outcome {
    match victim {
        Manager | Listener => Outcome::GoesOn,
        Worker | Session | Shell => Outcome::Ends,
    }
}

impl Victim {
    fn is_in(self, process: &Process) -> bool {
        match self {
            Manager => process.command.contains("puppet serve"),
            Listener => process.command.ends_with("meshd-broker listen"),
            Worker => process.command.contains("meshd-broker worker"),
            Session => process.name == "meshd-session",
            Shell => process.user == "alice" && process.command.contains("bash"),
        }
    }
}

/// A connection in one of the states.
struct Connection {
    client: Running,
    terminal: Option<Terminal>,
}

#[test]
fn a_worker_that_is_killed_leaves_nothing() {
    kill_in_every_state(Worker);
}

#[test]
fn a_session_process_that_is_killed_leaves_nothing() {
    kill_in_every_state(Session);
}

#[test]
fn a_shell_that_is_killed_ends_its_connection() {
    kill_in_every_state(Shell);
}

#[test]
fn a_manager_that_is_killed_leaves_connections_as_they_are() {
    kill_in_every_state(Manager);
}

#[test]
fn a_listener_that_is_killed_leaves_connections_as_they_are() {
    kill_in_every_state(Listener);
}

fn kill_in_every_state(victim: Victim) {
    let mut site = Site::start("");
    site.put_in_place(true);
    prepare(site.lan.host("web1"));
    let mut manager = site.serve();
    for state in STATES {
        let is_there = match victim {
            Manager | Listener | Worker => true,
            Session => state != Closing,
            Shell => matches!(state, Idle | Busy),
        };
        if !is_there {
            continue;
        }
        let cell = format!("{victim:?} killed in {state:?}");
        let connection = begin(&site, state);
        let web1 = site.lan.host("web1");
        let found = find(web1, victim).unwrap_or_else(|| panic!("{cell}: nobody to kill"));
        web1.kill("KILL", found).expect("a kill");
        match victim {
            Manager => {
                web1.sh("rm /tmp/manager.log").expect("a fresh log");
                manager = site.serve();
            }
            Listener => site.start_broker(),
            Worker | Session | Shell => {}
        }
        match outcome(victim) {
            Outcome::GoesOn => assert_goes_on(&site, state, connection, &cell),
            Outcome::Ends => assert_ends(connection, state, &cell),
        }
        assert_nothing_left(&site, &cell);
        assert_login(&site, &cell);
    }
    drop(manager);
}

/// PAM asks a script, for the account and at the end of the session; it answers when it is let.
fn prepare(web1: &Host) {
    web1.write(
        "/root/wait",
        "#!/bin/sh\n\
         [ -e /tmp/hold-$PAM_TYPE ] || exit 0\n\
         touch /tmp/asked\n\
         while [ -e /tmp/hold-$PAM_TYPE ]; do sleep 0.05; done\n",
    )
    .expect("a script");
    web1.sh("chmod +x /root/wait; \
         echo 'account required pam_exec.so /root/wait' >>/etc/pam.d/meshd-ssh; \
         echo 'session optional pam_exec.so /root/wait' >>/etc/pam.d/meshd-ssh")
        .expect("a PAM module");
}

fn begin(site: &Site, state: State) -> Connection {
    let (web1, laptop) = (site.lan.host("web1"), site.lan.host("laptop"));
    web1.sh("rm -f /tmp/asked /tmp/there /tmp/hold-*")
        .expect("removed");
    let there = |path: &str| {
        let host_has = || web1.exists(path).then_some(());
        wait_for(path, DEADLINE, host_has).expect("the connection's state");
    };
    let plain = |client| Connection {
        client,
        terminal: None,
    };
    match state {
        Silent => {
            let call = site.call_silently();
            wait_for("a session process", DEADLINE, || find(web1, Session)).expect("it runs");
            plain(call)
        }
        Authenticating => {
            let terminal = laptop.terminal().expect("a terminal");
            let ssh = site.ssh_as("alice+password", "PreferredAuthentications=password", &[]);
            let client = ssh.spawn_on(&terminal).expect("ssh");
            terminal.expect("password:", DEADLINE).expect("a question");
            Connection {
                client,
                terminal: Some(terminal),
            }
        }
        InPam => {
            web1.write("/tmp/hold-account", "").expect("a sign");
            let client = site.ssh(&["echo in"]).spawn().expect("ssh");
            there("/tmp/asked");
            plain(client)
        }
        Idle => {
            let terminal = laptop.terminal().expect("a terminal");
            let client = site.ssh(&["-tt"]).spawn_on(&terminal).expect("ssh");
            terminal.expect("alice@web1", DEADLINE).expect("a prompt");
            Connection {
                client,
                terminal: Some(terminal),
            }
        }
        Busy => {
            let command = "touch /tmp/there; while :; do head -c 65536 /dev/zero; done";
            let mut client = site.ssh(&[command]).spawn().expect("ssh");
            let mut output = client.stdout.take().expect("its output");
            std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
            there("/tmp/there");
            plain(client)
        }
        Closing => {
            web1.write("/tmp/hold-close_session", "").expect("a sign");
            let client = site.ssh(&["true"]).spawn().expect("ssh");
            there("/tmp/asked");
            plain(client)
        }
    }
}

fn find(web1: &Host, victim: Victim) -> Option<i32> {
    let processes = web1.processes().ok()?;
    let found = processes.iter().find(|process| victim.is_in(process));
    found.map(|process| process.pid)
}

fn assert_ends(mut connection: Connection, state: State, cell: &str) {
    if let (Authenticating, Some(terminal)) = (state, &connection.terminal) {
        // The client looks at the connection when its user has answered.
        terminal.send("x\n").expect("typed");
    }
    let end = connection.client.wait(DEADLINE);
    let end = end.unwrap_or_else(|error| panic!("{cell}: {error}"));
    if !matches!(state, Silent | Closing) {
        assert_eq!(end.code(), Some(255), "{cell}");
    }
}

/// The connection is still what it was, and ends when its client does.
fn assert_goes_on(site: &Site, state: State, mut connection: Connection, cell: &str) {
    site.lan
        .host("web1")
        .sh("rm -f /tmp/hold-*")
        .expect("removed");
    match state {
        InPam => {
            let end = connection.client.wait(DEADLINE).expect("an end");
            assert_eq!(end.code(), Some(0), "{cell}");
        }
        Silent | Authenticating | Idle | Busy => {
            assert_eq!(connection.client.ended(), None, "{cell}");
            connection.client.kill().expect("killed");
        }
        Closing => {}
    }
}

fn assert_nothing_left(site: &Site, cell: &str) {
    let web1 = site.lan.host("web1");
    web1.sh("rm -f /tmp/hold-*").expect("removed");
    let mut left = Vec::new();
    let ended = wait_for("the end of everything", DEADLINE, || {
        left = web1.processes().ok()?;
        left.retain(|p| Worker.is_in(p) || Session.is_in(p) || p.user == "alice");
        left.is_empty().then_some(())
    });
    assert!(ended.is_ok(), "{cell}: {left:?}");
    let terminals = web1.sh("ls /dev/pts").expect("terminals").stdout;
    assert_eq!(terminals, "ptmx\n", "{cell}");
}

fn assert_login(site: &Site, cell: &str) {
    let login = site.ssh(&["id -un"]).deadline(Duration::from_secs(60));
    let login = login.output().expect("an end");
    assert_eq!(login.stdout, "alice\n", "{cell}: {login:?}");
}
