//! What a session is: an account's own, as sshd would make it.

use std::io::{Read, Write};

use meshd_lab::{DEADLINE, Mesh, Process, wait_for};

fn said(mesh: &Mesh, command: &str) -> String {
    let output = mesh.ssh("laptop", &["alice@web1", command]).succeed();
    output.expect("a session").stdout
}

#[test]
fn a_session_has_the_accounts_groups_home_shell_and_umask() {
    let mesh = Mesh::of_two().expect("a mesh");
    mesh.host("web1")
        .add_group("ops", &["alice"])
        .expect("a group");
    assert_eq!(said(&mesh, "id -Gn"), "alice ops\n");
    assert_eq!(said(&mesh, "pwd; umask"), "/home/alice\n0022\n");
    assert_eq!(said(&mesh, "echo $0 $SHELL"), "bash /bin/bash\n");
    assert_eq!(
        said(&mesh, "echo $HOME $USER $LOGNAME"),
        "/home/alice alice alice\n"
    );
    assert_eq!(said(&mesh, "ls /proc/self/fd"), "0\n1\n2\n3\n");
}

#[test]
fn no_limit_of_the_daemons_reaches_a_session() {
    let mesh = Mesh::of_two().expect("a mesh");
    let show = "grep -E '^(NoNewPrivs|Seccomp|CapBnd|CapInh|CapAmb|SigBlk|SigIgn):' /proc/self/status; \
                readlink /proc/self/ns/mnt /proc/self/ns/net /proc/self/ns/pid /proc/self/ns/user; \
                cat /proc/self/oom_score_adj; ulimit -a";
    // su goes through PAM too, which sets limits.
    let web1 = mesh.host("web1");
    let direct = web1.command("su").args(["--command", show, "alice"]);
    assert_eq!(said(&mesh, show), direct.succeed().expect("an end").stdout);
}

#[test]
fn the_login_is_recorded_where_the_kernel_can() {
    let mesh = Mesh::of_two().expect("a mesh");
    let loginuid = said(&mesh, "cat /proc/self/loginuid 2>/dev/null || echo none");
    let uid = mesh
        .host("web1")
        .sh("id -u alice")
        .expect("an account")
        .stdout;
    assert!(
        [uid.trim(), "none\n"].contains(&loginuid.as_str()),
        "{loginuid:?}"
    );
}

#[test]
fn the_environment_is_made_anew() {
    let mesh = Mesh::of_two().expect("a mesh");
    let output = mesh
        .ssh("laptop", &["-4", "-o", "SendEnv=*", "alice@web1", "env"])
        .env("LANG", "C.UTF-8")
        .env("LC_TIME", "POSIX")
        .env("LD_LIBRARY_PATH", "/tmp")
        .env("BASH_ENV", "/tmp/evil")
        .env("SECRET", "of the laptop")
        .succeed()
        .expect("a session");
    let variables: Vec<&str> = output.stdout.lines().collect();
    for expected in [
        "LANG=C.UTF-8",
        "LC_TIME=POSIX",
        "HOME=/home/alice",
        "USER=alice",
    ] {
        assert!(variables.contains(&expected), "{expected}: {variables:?}");
    }
    for name in ["LD_LIBRARY_PATH", "BASH_ENV", "SECRET", "SSH_TTY"] {
        let found = variables
            .iter()
            .find(|v| v.starts_with(&format!("{name}=")));
        assert_eq!(found, None);
    }
    let from = mesh.address("laptop");
    let client = format!("SSH_CLIENT={from} ");
    assert!(
        variables.iter().any(|v| v.starts_with(&client)),
        "{variables:?}"
    );
}

#[test]
fn the_end_of_a_command_is_the_end_of_ssh() {
    let mesh = Mesh::of_two().expect("a mesh");
    let code = |command: &str| {
        let output = mesh.ssh("laptop", &["alice@web1", command]).output();
        output.expect("an end").status.code()
    };
    assert_eq!(code("exit 0"), Some(0));
    assert_eq!(code("exit 7"), Some(7));
    assert_eq!(code("exit 255"), Some(255));
    assert_eq!(code("no-such-command"), Some(127));
    // The client has no way to die as the command did; it says 255 (ssh(1), exit status).
    assert_eq!(code("kill -KILL $$"), Some(255));
}

#[test]
fn a_death_by_a_real_time_signal_ends_the_session() {
    let mesh = Mesh::of_two().expect("a mesh");
    for signal in [34, 64] {
        let command = format!("kill -{signal} $$");
        let output = mesh.ssh("laptop", &["alice@web1", &command]).output();
        assert_eq!(output.expect("an end").status.code(), Some(255));
    }
}

#[test]
fn output_and_errors_stay_apart() {
    let mesh = Mesh::of_two().expect("a mesh");
    let output = mesh
        .ssh("laptop", &["alice@web1", "cat; echo bad >&2"])
        .input("from the laptop\n")
        .succeed()
        .expect("a session");
    assert_eq!(output.stdout, "from the laptop\n");
    assert_eq!(output.stderr, "bad\n");
}

#[test]
fn nothing_is_lost_at_the_end() {
    let mesh = Mesh::of_two().expect("a mesh");
    let burst = "head -c 2162688 /dev/zero >&2; head -c 1000000 /dev/zero; exit 3";
    let output = mesh.ssh("laptop", &["alice@web1", burst]).output();
    let output = output.expect("an end");
    assert_eq!(output.stderr.len(), 33 * 65536);
    assert_eq!(output.bytes.len(), 1_000_000);
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_command_that_leaves_a_child_ends_when_its_output_does() {
    let mesh = Mesh::of_two().expect("a mesh");
    let leave = "nohup sleep 1000 </dev/null >/dev/null 2>&1 & echo left";
    assert_eq!(said(&mesh, leave), "left\n");
    let left = mesh.host("web1").processes().expect("processes");
    assert!(left.iter().any(|p| p.name == "sleep" && p.user == "alice"));
}

#[test]
fn an_interactive_session_has_a_terminal_of_its_own() {
    let mesh = Mesh::of_two().expect("a mesh");
    let terminal = mesh.host("laptop").terminal().expect("a terminal");
    terminal.resize(101, 37).expect("a size");
    let mut ssh = mesh
        .ssh("laptop", &["alice@web1"])
        .spawn_on(&terminal)
        .expect("ssh");
    terminal.expect("alice@web1", DEADLINE).expect("a prompt");
    terminal
        .send("stat -c 'owner %U %G %a' $(tty); stty size; echo \"name $0 $TERM\"\r")
        .expect("typed");
    terminal
        .expect("owner alice tty 620", DEADLINE)
        .expect("the owner");
    terminal.expect("37 101", DEADLINE).expect("a size");
    terminal
        .expect("name -bash xterm", DEADLINE)
        .expect("a login shell");
    terminal.resize(55, 22).expect("a size");
    terminal
        .send("until [ \"$(stty size)\" = '22 55' ]; do sleep 0.1; done; echo resi'zed'\r")
        .expect("typed");
    terminal.expect("resized", DEADLINE).expect("the new size");
    let sleeps = || {
        let processes = mesh.host("web1").processes().ok()?;
        Some(processes.iter().any(|p| p.command == "sleep 1000"))
    };
    terminal.send("sleep 1000\r").expect("typed");
    // A shell forgets what is typed before its command is in the foreground.
    wait_for("sleep", DEADLINE, || sleeps()?.then_some(())).expect("a command");
    terminal.send("\u{3}").expect("typed");
    wait_for("end of sleep", DEADLINE, || (!sleeps()?).then_some(())).expect("interrupted");
    terminal.send("exit 5\r").expect("typed");
    assert_eq!(ssh.wait(DEADLINE).expect("an end").code(), Some(5));
}

#[test]
fn a_client_that_leaves_hangs_up() {
    let mesh = Mesh::of_two().expect("a mesh");
    let terminal = mesh.host("laptop").terminal().expect("a terminal");
    let mut ssh = mesh
        .ssh("laptop", &["-t", "alice@web1", "echo rea'dy'; sleep 1000"])
        .spawn_on(&terminal)
        .expect("ssh");
    terminal.expect("ready", DEADLINE).expect("a session");
    ssh.kill().expect("killed");
    mesh.wait_until_empty("web1", "alice").expect("hung up");
    wait_for("end of the worker", DEADLINE, || {
        let web1 = mesh.host("web1").processes().ok()?;
        let is_worker = |p: &Process| p.command.contains("worker");
        (!web1.iter().any(is_worker)).then_some(())
    })
    .expect("an end");
}

#[test]
fn a_session_dies_with_its_worker_and_the_client_is_told() {
    let mesh = Mesh::of_two().expect("a mesh");
    let mut ssh = mesh
        .ssh("laptop", &["alice@web1", "touch /tmp/there; sleep 1000"])
        .spawn()
        .expect("ssh");
    mesh.wait_for_file("web1", "/tmp/there").expect("a session");
    let processes = mesh.host("web1").processes().expect("processes");
    let worker = processes.iter().find(|p| p.command.contains("worker"));
    let worker = worker.expect("a worker").pid;
    mesh.host("web1").kill("KILL", worker).expect("killed");
    assert_eq!(ssh.wait(DEADLINE).expect("an end").code(), Some(255));
    mesh.wait_until_empty("web1", "alice")
        .expect("nothing left");
}

#[test]
fn only_an_interactive_shell_is_told_the_message_of_the_day() {
    let mesh = Mesh::of_two().expect("a mesh");
    let web1 = mesh.host("web1");
    web1.write("/etc/motd", "news of the day\n")
        .expect("a file");
    let output = mesh.ssh("laptop", &["alice@web1", "true"]).succeed();
    let output = output.expect("a session");
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""));
    let terminal = mesh.host("laptop").terminal().expect("a terminal");
    let _ssh = mesh
        .ssh("laptop", &["alice@web1"])
        .spawn_on(&terminal)
        .expect("ssh");
    terminal
        .expect("news of the day", DEADLINE)
        .expect("the news");
}

#[test]
fn sessions_of_one_connection_are_apart() {
    let mesh = Mesh::of_two().expect("a mesh");
    let master = ["-M", "-S", "/tmp/mux", "-N", "alice@web1"];
    let _master = mesh.ssh("laptop", &master).spawn().expect("a master");
    mesh.wait_for_file("laptop", "/tmp/mux").expect("a socket");
    let mut talk = mesh
        .ssh(
            "laptop",
            &[
                "-S",
                "/tmp/mux",
                "web1",
                "while read line; do echo got $line; done",
            ],
        )
        .spawn()
        .expect("a session");
    for number in ["1", "2"] {
        let mut stdin = talk.stdin.as_ref().expect("its input");
        writeln!(stdin, "{number}").expect("written");
        let mut line = [0; 6];
        let stdout = talk.stdout.as_mut().expect("its output");
        stdout.read_exact(&mut line).expect("an answer");
        assert_eq!(line, *format!("got {number}\n").as_bytes());
        let other = mesh.ssh("laptop", &["-S", "/tmp/mux", "web1", "exit 4"]);
        assert_eq!(other.output().expect("an end").status.code(), Some(4));
    }
}

#[test]
fn a_killed_file_transfer_is_told_and_others_go_on() {
    let mesh = Mesh::of_two().expect("a mesh");
    let ssh = mesh.ssh("laptop", &["-s", "alice@web1", "sftp"]);
    let mut ssh = ssh.spawn().expect("ssh");
    let server = wait_for("the server", DEADLINE, || {
        let all = mesh.host("web1").processes().ok()?;
        let server = all.iter().find(|p| p.name == "meshd-helper");
        server.map(|server| server.pid)
    });
    let web1 = mesh.host("web1");
    web1.kill("KILL", server.expect("runs")).expect("killed");
    let status = ssh.wait(DEADLINE).expect("the client is told");
    assert!(!status.success(), "{status}");
    let again = mesh.ssh("laptop", &["alice@web1", "id -un"]).succeed();
    assert_eq!(again.expect("a login").stdout, "alice\n");
    mesh.wait_until_empty("web1", "alice")
        .expect("nothing is left");
}
