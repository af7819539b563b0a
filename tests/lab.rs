//! The lab itself: hosts reach one another, are apart from this machine, and leave nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use meshd_lab::{DEADLINE, Kind, Lan, wait_for};

#[test]
fn hosts_reach_one_another() {
    let lan = Lan::start(&["a", "b"]).expect("a lab");
    let b = lan.host("b");
    for address in [b.v4().to_string(), b.v6().to_string()] {
        lan.host("a")
            .command("ping")
            .args(["-c1", "-W5", &address])
            .succeed()
            .expect("an answer");
    }
}

#[test]
fn what_happens_in_a_host_stays_there() {
    let before = fs::read("/etc/passwd").expect("this machine's accounts");
    let lan = Lan::start(&["a", "b"]).expect("a lab");
    let (a, b) = (lan.host("a"), lan.host("b"));
    a.add_user("visitor").expect("an account");
    a.write("/tmp/note", "on a").expect("a file");
    assert!(
        a.read_text("/etc/passwd")
            .expect("a file")
            .contains("visitor:")
    );
    assert!(
        !b.read_text("/etc/passwd")
            .expect("a file")
            .contains("visitor:")
    );
    assert!(b.read("/tmp/note").is_err());
    assert_eq!(
        fs::read("/etc/passwd").expect("this machine's accounts"),
        before
    );
    let name = a.command("hostname").succeed().expect("a name").stdout;
    assert_eq!(name, "a\n");
}

#[test]
fn the_programs_of_a_host_cannot_be_written_to_but_replaced() {
    let lan = Lan::start(&["a", "b"]).expect("a lab");
    let (a, program) = (lan.host("a"), "/usr/sbin/meshd-broker");
    let before = lan.host("b").read(program).expect("a program");
    assert!(a.write(program, "changed").is_err());
    a.replace_program(program, "/bin/true").expect("replaced");
    a.command(program).succeed().expect("another program");
    assert_eq!(lan.host("b").read(program).expect("a program"), before);
}

#[test]
fn a_link_in_a_host_leads_nowhere_else() {
    let lan = Lan::start(&["a"]).expect("a lab");
    let host = lan.host("a");
    host.sh("ln -s /run/secret /tmp/link").expect("a link");
    host.write("/tmp/link", "in the host").expect("a file");
    assert_eq!(
        host.read_text("/run/secret").expect("a file"),
        "in the host"
    );
    assert!(!Path::new("/run/secret").exists());
}

#[test]
fn a_host_has_the_accounts_and_directories_of_the_packages() {
    let lan = Lan::start(&["a"]).expect("a lab");
    let listed = lan
        .host("a")
        .sh("stat -c '%n %U %a' /run/meshd /var/lib/meshd-ssh")
        .expect("directories");
    assert_eq!(
        listed.stdout,
        "/run/meshd meshd 755\n/var/lib/meshd-ssh root 700\n"
    );
}

#[test]
fn a_command_has_its_streams_status_and_account() {
    let lan = Lan::start(&["a"]).expect("a lab");
    let host = lan.host("a");
    host.add_user("alice").expect("an account");
    host.add_group("ops", &["alice"]).expect("a group");
    let output = host
        .command("sh")
        .args([
            "-c",
            "id -un; id -Gn; echo $HOME $WORD; cat; echo bad >&2; exit 7",
        ])
        .user("alice")
        .env("WORD", "two words")
        .input("given\n")
        .output()
        .expect("an end");
    assert_eq!(
        output.stdout,
        "alice\nalice ops\n/home/alice two words\ngiven\n"
    );
    assert_eq!(output.stderr, "bad\n");
    assert_eq!(output.status.code(), Some(7));
    let killed = host.sh("kill -9 $$").expect_err("death by a signal");
    assert!(killed.to_string().contains("signal: 9"), "{killed}");
}

#[test]
fn a_command_that_does_not_end_is_killed() {
    let lan = Lan::start(&["a"]).expect("a lab");
    let host = lan.host("a");
    host.add_user("alice").expect("an account");
    let late = host
        .command("sleep")
        .arg("3600")
        .user("alice")
        .deadline(Duration::from_millis(200))
        .output()
        .expect_err("no end");
    assert!(late.to_string().contains("sleep 3600"), "{late}");
    wait_for("end of sleep", DEADLINE, || {
        let processes = host.processes().ok()?;
        processes.iter().all(|p| p.name != "sleep").then_some(())
    })
    .expect("the command has ended");
}

#[test]
fn a_terminal_is_the_hosts_and_has_a_size() {
    let lan = Lan::start(&["a"]).expect("a lab");
    let terminal = lan.host("a").terminal().expect("a terminal");
    let mut shell = lan
        .host("a")
        .command("sh")
        .env("PS1", "prompt> ")
        .spawn_on(&terminal)
        .expect("a shell");
    terminal.expect("prompt> ", DEADLINE).expect("a prompt");
    terminal.resize(101, 37).expect("a size");
    terminal.send("tty; stty size; exit 3\n").expect("typed");
    let shown = terminal.expect("37 101", DEADLINE).expect("a size");
    assert!(shown.contains("/dev/pts/0"), "{shown}");
    assert_eq!(shell.wait(DEADLINE).expect("an end").code(), Some(3));
}

#[test]
fn what_programs_log_is_in_the_hosts_log() {
    let lan = Lan::start(&["a"]).expect("a lab");
    let host = lan.host("a");
    host.sh("logger -t test noted").expect("logged");
    wait_for("line in the log", DEADLINE, || {
        let log = host.read_text("/var/log/syslog").ok()?;
        log.contains("test: noted").then_some(())
    })
    .expect("a line");
}

const HOLD: &str = "MESHD_LAB_HOLD";

/// The killed run is this very test, started again with [`HOLD`].
#[test]
fn a_killed_run_leaves_nothing() {
    if std::env::var_os(HOLD).is_some() {
        return hold_a_lab();
    }
    let before = traces();
    let own_name = "a_killed_run_leaves_nothing";
    let mut run = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", own_name, "--nocapture"])
        .env(HOLD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a run");
    let mut lines = BufReader::new(run.stdout.take().expect("its output")).lines();
    let pids = lines
        .find_map(|line| Some(line.ok()?.strip_prefix("holding ")?.to_owned()))
        .expect("the run holds a lab");
    let held: Vec<String> = pids.split(' ').map(str::to_owned).collect();
    assert!(held.iter().all(|pid| is_running(pid)), "{held:?}");
    let cgroup = cgroup_of(&held[2]);
    assert!(cgroup.exists(), "{}", cgroup.display());
    run.kill().expect("a kill");
    assert_eq!(run.wait().expect("an end").signal(), Some(9));
    wait_for("end of the hosts", DEADLINE, || {
        held.iter().all(|pid| !is_running(pid)).then_some(())
    })
    .expect("the hosts end");
    wait_for("end of the booted host's cgroup", DEADLINE, || {
        (!cgroup.exists()).then_some(())
    })
    .expect("the cgroup is removed");
    assert_eq!(traces(), before);
}

fn hold_a_lab() {
    let kinds = [("a", Kind::Plain), ("b", Kind::Plain), ("c", Kind::Booted)];
    let lan = Lan::start_with(&kinds).expect("a lab");
    let mut pids = Vec::new();
    for (name, _) in kinds {
        let host = lan.host(name);
        host.sh("ip tuntap add dev left0 mode tun; mount -t tmpfs left /mnt; setsid sleep 3600 >/dev/null 2>&1 &")
            .expect("things to leave behind");
        pids.push(host.pid().to_string());
    }
    let line = format!("holding {}\n", pids.join(" "));
    std::io::stdout().write_all(line.as_bytes()).expect("told");
    let _ = std::io::stdin().read(&mut [0]);
}

fn is_running(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// The cgroup that a booted host has to itself.
fn cgroup_of(first_process: &str) -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    let tree = mounts.lines().find(|line| line.contains(" cgroup2 "));
    let tree = tree
        .and_then(|line| line.split(' ').nth(1))
        .expect("a tree");
    let own = fs::read_to_string(format!("/proc/{first_process}/cgroup")).expect("a cgroup");
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let own = own
        .expect("a cgroup of version 2")
        .trim_end_matches("/init.scope");
    Path::new(tree).join(own)
}

/// This machine's mounts and network devices.
fn traces() -> (String, BTreeSet<String>) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let devices = fs::read_dir("/sys/class/net").expect("devices");
    let names = devices.map(|d| {
        d.expect("a device")
            .file_name()
            .to_string_lossy()
            .into_owned()
    });
    (mounts, names.collect())
}
