//! Beyond its socket.

use meshd_lab::DEADLINE;

use crate::site::Site;

/// What everybody on the host may do. The real session process cannot do these either: its
/// sandbox has no way to make a socket or to signal another process.
const DONE: [&str; 3] = ["other signal", "other prlimit", "reach /dev/log"];

#[test]
fn a_session_process_without_its_sandbox_gains_nothing() {
    let site = Site::start("");
    let web1 = site.lan.host("web1");
    web1.sh("umask 077; echo secret >/root/secret; ssh-keygen -q -N '' -t ed25519 -f /etc/ssh/ssh_host_ed25519_key")
        .expect("secrets");
    let _manager = site.serve();
    site.put_in_place(true);
    let terminal = site.lan.host("laptop").terminal().expect("a terminal");
    let ssh = site.ssh(&["-tt", "echo rea'dy'; read line; echo got $line"]);
    let mut ssh = ssh.spawn_on(&terminal).expect("ssh");
    terminal.expect("ready", DEADLINE).expect("a session");
    let other = site.pid_of("meshd-session");

    site.put_in_place(false);
    let script = format!("read\nlogin alice\nread\ntrespass {other}\nwait");
    web1.write("/var/lib/puppet/script", script)
        .expect("a script");
    site.connect();
    let said = site.session("trespassed");
    let done: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_suffix(": DONE"))
        .collect();
    assert_eq!(done, DONE, "{said}");
    for expected in [
        "CapEff:\t0000000000040000",
        "CapPrm:\t0000000000040000",
        "worker mem: refused EACCES",
        "worker ptrace: refused EPERM",
        "worker descriptors: refused EPERM",
        "worker signal: refused EPERM",
        "other mem: refused EACCES",
        "other fd: refused EACCES",
        "other ptrace: refused EPERM",
        "other descriptors: refused EPERM",
        "other process_vm_readv: refused EPERM",
        "open /etc/shadow: refused EACCES",
        "open /etc/ssh/ssh_host_ed25519_key: refused EACCES",
        "reach /dev/pts/0: refused EACCES",
        "reach /run/meshd-ssh/broker.sock: refused EACCES",
        "make a file in /run/meshd-ssh: refused EACCES",
        "write to /var/lib/meshd/peers.signed: refused EACCES",
        "setuid: refused EPERM",
        "su --command id -u root: refused EPERM",
    ] {
        assert!(
            said.lines().any(|line| line == expected),
            "{expected}\n{said}"
        );
    }
    terminal.send("on\r").expect("typed");
    terminal
        .expect("got on", DEADLINE)
        .expect("the other goes on");
    assert_eq!(ssh.wait(DEADLINE).expect("an end").code(), Some(0));
}
