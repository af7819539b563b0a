//! What the session process has in its memory.

use meshd_lab::DEADLINE;

use crate::site::Site;

#[test]
fn the_session_process_never_has_the_host_key() {
    let site = Site::start("");
    let web1 = site.lan.host("web1");
    let key = "/etc/ssh/ssh_host_ed25519_key";
    web1.sh(&format!("ssh-keygen -q -N '' -t ed25519 -f {key}"))
        .expect("a host key");
    let _manager = site.serve();
    site.put_in_place(true);
    let terminal = site.lan.host("laptop").terminal().expect("a terminal");
    let ssh = site.ssh(&["-tt", "echo rea'dy'; sleep 1000"]);
    let _ssh = ssh.spawn_on(&terminal).expect("ssh");
    terminal.expect("ready", DEADLINE).expect("a session");
    let found_in = |pid: &str| {
        let search = web1.command("/usr/lib/meshd/puppet");
        let search = search.args(["search", pid, key]);
        search.succeed().expect("a search").stdout
    };
    let pid = site.pid_of("meshd-session").to_string();
    assert_eq!(found_in(&pid), "found 0\n");
    // Who searches has it, and finds it.
    assert_ne!(found_in("self"), "found 0\n");
}

#[test]
fn the_worker_has_no_environment_and_the_hosts_own_root() {
    let site = Site::start("read\nlogin alice\nread\nwait");
    site.call();
    site.session("Permitted");
    let worker = site.pid_of("meshd-broker worker");
    let look = format!("wc -c </proc/{worker}/environ; readlink /proc/{worker}/root");
    let seen = site.lan.host("web1").sh(&look).expect("a process").stdout;
    assert_eq!(seen, "0\n/\n");
}
