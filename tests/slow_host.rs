//! A host whose user database, PAM or logind is slow, frozen or failing: a clear word within the
//! deadline, and nobody else is held up.

use meshd_contract::paths;
use meshd_lab::{DEADLINE, Mesh, Output, policy_for_alice, wait_for};

const NSS: &str = include_str!("slow_host/nss_lab.c");
const LATE: &str = "the host did not answer in time; try again later";

/// Seconds that the host may take for an answer.
const ANSWER: u32 = 5;

fn restrain(mesh: &mut Mesh, accounts: &[&str]) {
    let web1 = mesh.host("web1");
    let limits = format!("[limits]\nanswer = {ANSWER}\n");
    web1.write(paths::SSH_CONFIG, limits).expect("limits");
    mesh.change_policy(&policy_for_alice(accounts))
        .expect("a policy");
}

/// web1 asks a database of ours after its files.
fn with_database() -> Mesh {
    let mut mesh = Mesh::of_two().expect("a mesh");
    let web1 = mesh.host("web1");
    web1.write("/root/nss_lab.c", NSS).expect("the source");
    let build = "cd $(dirname $(ldconfig -p | sed -n 's/.*libc.so.6 .*=> //p' | head -n 1)) &&
        cc -shared -fPIC -O1 -o libnss_lab.so.2 /root/nss_lab.c && ldconfig &&
        printf 'passwd: files lab\\ngroup: files lab\\nshadow: files\\n' >/etc/nsswitch.conf &&
        getent passwd dora";
    let dora = web1.sh(build).expect("a database").stdout;
    assert!(dora.starts_with("dora:x:2000:2000:"), "{dora}");
    web1.sh("echo 'dora:*:19000::::::' >>/etc/shadow")
        .expect("a shadow");
    let accounts = ["alice", "bob", "dora", "frozen", "unknowable"];
    restrain(&mut mesh, &accounts);
    mesh
}

fn log_in(mesh: &Mesh, login: &str) -> Output {
    let ssh = mesh.ssh("laptop", &["-l", login, "web1", "id -un"]);
    ssh.output().expect("an end")
}

fn assert_in(mesh: &Mesh, login: &str) {
    let output = log_in(mesh, login);
    assert_eq!(output.stdout, format!("{login}\n"), "{output:?}");
}

fn assert_told(output: &Output, sentence: &str) {
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    assert_eq!(output.stdout, "", "{output:?}");
    assert!(output.stderr.contains(sentence), "{output:?}");
}

/// No worker of a connection that is over stays.
fn wait_for_no_worker(mesh: &Mesh) {
    wait_for("end of all workers", DEADLINE, || {
        let all = mesh.host("web1").processes().ok()?;
        let serving = |command: &str| command.contains("meshd-broker worker");
        (!all.iter().any(|process| serving(&process.command))).then_some(())
    })
    .expect("workers end");
}

#[test]
fn a_frozen_user_database_is_told_and_holds_up_nobody_else() {
    let mesh = with_database();
    let frozen = mesh.ssh("laptop", &["-l", "frozen", "web1", "id -un"]);
    let mut frozen = frozen.spawn().expect("ssh");
    assert_in(&mesh, "alice");
    assert!(frozen.ended().is_none(), "it is frozen while alice gets in");
    let output = log_in(&mesh, "frozen");
    assert_told(&output, LATE);
    frozen.wait(DEADLINE).expect("an end");
    wait_for_no_worker(&mesh);
    let log = mesh.log("web1", "meshd-broker");
    assert!(log.contains("did not answer"), "{log}");
}

#[test]
fn a_slow_directory_delays_only_whom_it_is_asked_about() {
    let mesh = with_database();
    // Several look-ups of 3 s each make up one step: within the default time, not within this.
    assert_told(&log_in(&mesh, "bob"), LATE);
    mesh.host("web1")
        .sh(&format!("rm {}", paths::SSH_CONFIG))
        .expect("the default");
    let bob = mesh.ssh("laptop", &["bob@web1", "id -un"]);
    let mut bob = bob.spawn().expect("ssh");
    assert_in(&mesh, "alice");
    assert!(bob.ended().is_none(), "alice has not waited for bob");
    assert!(bob.wait(DEADLINE).expect("an end").success());
}

#[test]
fn a_user_database_that_fails_is_not_taken_for_no_account() {
    let mesh = with_database();
    let output = log_in(&mesh, "unknowable");
    assert_told(&output, "the user database does not answer");
    assert_in(&mesh, "alice");
}

#[test]
fn an_account_whose_groups_cannot_be_read_does_not_begin_with_fewer() {
    let mesh = with_database();
    let output = log_in(&mesh, "dora");
    assert_told(&output, "cannot read the groups of the account");
}

#[test]
fn an_account_in_a_thousand_groups_with_a_long_entry_gets_in_with_all_of_them() {
    let mesh = Mesh::of_two().expect("a mesh");
    let web1 = mesh.host("web1");
    let many = "long=$(head -c 5000 /dev/zero | tr '\\0' x)
        sed -i \"s|^alice:\\([^:]*\\):\\([^:]*\\):\\([^:]*\\):[^:]*:|alice:\\1:\\2:\\3:$long:|\" /etc/passwd
        for n in $(seq 1000); do echo \"many-$n:x:$((50000 + n)):alice\"; done >>/etc/group
        id -G alice | wc -w";
    let count = web1.sh(many).expect("groups").stdout;
    assert_eq!(count.trim(), "1001");
    let ssh = mesh.ssh("laptop", &["alice@web1", "id -G | wc -w"]);
    assert_eq!(ssh.succeed().expect("a login").stdout.trim(), "1001");
}

#[test]
fn pam_that_never_answers_is_told_at_login_and_at_the_session() {
    let mut mesh = Mesh::of_two().expect("a mesh");
    restrain(&mut mesh, &["alice", "bob", "root"]);
    let web1 = mesh.host("web1");
    let block = "printf '#!/bin/sh\\n[ \"$PAM_USER:$PAM_TYPE\" = \"$(cat /etc/blocked)\" ] && exec sleep 1000\\nexit 0\\n' >/etc/block &&
        chmod 755 /etc/block &&
        { echo 'account required pam_exec.so /etc/block'; echo 'session required pam_exec.so /etc/block'; } >>/etc/pam.d/meshd-ssh";
    web1.sh(block).expect("a module");
    for step in ["bob:account", "bob:open_session"] {
        web1.write("/etc/blocked", format!("{step}\n"))
            .expect("a name");
        let output = log_in(&mesh, "bob");
        assert_told(&output, LATE);
        assert_in(&mesh, "alice");
    }
    // At the end nobody is there to be told, and nothing may stay.
    web1.write("/etc/blocked", "bob:close_session\n")
        .expect("a name");
    assert_in(&mesh, "bob");
    wait_for_no_worker(&mesh);
}

#[test]
fn a_frozen_logind_is_told_and_thaws_without_a_trace() {
    let mut mesh = Mesh::of_two_booted().expect("a mesh");
    restrain(&mut mesh, &["alice", "bob"]);
    let web1 = mesh.host("web1");
    web1.sh("systemctl kill --signal=STOP systemd-logind")
        .expect("frozen");
    let output = log_in(&mesh, "alice");
    assert_told(&output, LATE);
    wait_for_no_worker(&mesh);
    web1.sh("systemctl kill --signal=CONT systemd-logind")
        .expect("thawed");
    assert_in(&mesh, "alice");
    let sessions = "loginctl --no-pager --no-legend list-sessions | wc -l";
    wait_for("end of all of logind's sessions", DEADLINE, || {
        let listed = mesh.host("web1").sh(sessions).ok()?.stdout;
        (listed.trim() == "0").then_some(())
    })
    .expect("no session stays");
}
