//! Programs without a terminal.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use crate::client::{Server, run, text, wait};
use crate::worker::Manners;

#[test]
fn a_login_is_accepted() {
    let server = Server::new(Manners::default());
    let output = server.exec("echo hello; echo oops >&2; exit 7");
    assert_eq!(text(&output.stderr), "oops\n");
    assert_eq!(text(&output.stdout), "hello\n");
    assert_eq!(output.status.code(), Some(7));
    assert!(server.worker(|worker| worker.was_asked("login alice")));
}

#[test]
fn the_newest_algorithms_of_the_client_are_used() {
    let server = Server::new(Manners::default());
    let output = run(&mut server.ssh(&["-vv"], &["true"]), b"");
    let log = text(&output.stderr);
    assert!(
        log.contains("kex: host key algorithm: ssh-ed25519"),
        "{log}"
    );
    assert!(log.contains("kex-strict-s-v00@openssh.com"), "{log}");
    for way in ["server->client", "client->server"] {
        let gcm = ["256", "128"].map(|bits| format!("{way} cipher: aes{bits}-gcm@openssh.com"));
        assert!(gcm.iter().any(|cipher| log.contains(cipher)), "{log}");
    }
    assert!(log.contains("compression: none"), "{log}");
}

#[test]
fn bytes_arrive_as_they_were_both_ways() {
    let server = Server::new(Manners::default());
    let mut state = 88_172_645_463_325_252_u64;
    let mut input = Vec::with_capacity(64 << 20);
    while input.len() < 64 << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        input.extend(state.to_le_bytes());
    }
    let output = run(&mut server.ssh(&[], &["cat"]), &input);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        output.stdout == input,
        "{} bytes came back",
        output.stdout.len()
    );
}

#[test]
fn bytes_survive_new_keys() {
    let server = Server::new(Manners::default());
    let input: Vec<u8> = (0..20_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let output = run(&mut server.ssh(&["-o", "RekeyLimit=1M"], &["cat"]), &input);
    assert!(
        output.stdout == input,
        "{} bytes came back",
        output.stdout.len()
    );
}

#[test]
fn bytes_survive_new_keys_that_the_server_wants() {
    let server = Server::new(Manners {
        rekey_bytes: 1 << 20,
        ..Manners::default()
    });
    let input: Vec<u8> = (0..20_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let output = run(&mut server.ssh(&["-v"], &["cat"]), &input);
    let same = output.stdout == input;
    assert!(same, "{} bytes came back", output.stdout.len());
    let exchanges = text(&output.stderr);
    let exchanges = exchanges.matches("SSH2_MSG_NEWKEYS received").count();
    // One for each mebibyte of either direction; both are due together.
    assert!((10..45).contains(&exchanges), "{exchanges} key exchanges");
}

#[test]
fn a_big_echo_ends() {
    let server = Server::new(Manners::default());
    let zeros = 512_u64 << 20;
    let mut source = Command::new("head")
        .args(["-c", &zeros.to_string(), "/dev/zero"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("head");
    let mut ssh = server
        .ssh(&[], &["cat"])
        .stdin(source.stdout.take().expect("a pipe"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("ssh");
    let mut stdout = ssh.stdout.take().expect("a pipe");
    let counted = std::thread::spawn(move || {
        std::io::copy(&mut stdout, &mut std::io::sink()).expect("reads")
    });
    assert!(wait(&mut ssh).success());
    assert_eq!(counted.join().expect("no panic"), zeros);
    assert!(source.wait().expect("a status").success());
}

#[test]
fn all_output_comes_before_the_end() {
    let server = Server::new(Manners::default());
    let output = server.exec("head -c 2162688 /dev/zero >&2; exit 3");
    assert_eq!(output.stderr.len(), 33 * (64 << 10));
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn the_end_comes_in_order() {
    let server = Server::new(Manners::default());
    let in_order = || {
        let output = run(&mut server.ssh(&["-vvv"], &["echo", "x"]), b"");
        let log = text(&output.stderr);
        let at = |what: &str| {
            log.find(what)
                .unwrap_or_else(|| panic!("no {what} in {log}"))
        };
        let (status, eof, close) = (at("rtype exit-status"), at("rcvd eof"), at("rcvd close"));
        assert!(status < close && eof < close, "{log}");
        status < eof
    };
    // The end of output waits only so long for a status that a busy machine delays.
    assert!((0..5).any(|_| in_order()), "the status never came first");
}

#[test]
fn a_death_by_signal_is_told() {
    let server = Server::new(Manners::default());
    let output = run(&mut server.ssh(&["-v"], &["kill -TERM $$"]), b"");
    assert!(text(&output.stderr).contains("rtype exit-signal"));
    assert_eq!(output.status.code(), Some(255));
}

#[test]
fn a_background_job_keeps_the_channel_open_as_with_sshd() {
    let server = Server::new(Manners::default());
    // The job holds the outputs, and ends when the test says so.
    let directory = tempfile::tempdir().expect("a directory");
    let sign = directory.path().join("sign");
    nix::unistd::mkfifo(&sign, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let command = format!(
        "(read line <{}; echo late) & echo early; exit 4",
        sign.display()
    );
    let mut ssh = server
        .ssh(&["-v"], &[&command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ssh");
    let log = BufReader::new(ssh.stderr.take().expect("a pipe"));
    let mut input = ssh.stdin.take().expect("a pipe");
    let mut output = BufReader::new(ssh.stdout.take().expect("a pipe"));
    let mut line = String::new();
    output.read_line(&mut line).expect("reads");
    assert_eq!(line, "early\n");
    let status = log
        .lines()
        .find(|line| line.as_ref().is_ok_and(|l| l.contains("exit-status")));
    assert!(
        status.is_some(),
        "the exit status does not wait for the job"
    );
    assert!(
        ssh.try_wait().expect("a status").is_none(),
        "the job is still there"
    );
    // The shell has exited, so what is typed now reaches nobody.
    let _ = input.write_all(b"word\n");
    drop(input);
    std::fs::write(&sign, "now\n").expect("written");
    line.clear();
    output.read_line(&mut line).expect("reads");
    assert!(line.starts_with("late"), "{line}");
    assert_eq!(wait(&mut ssh).code(), Some(4));
}

#[test]
fn bytes_pass_through() {
    let server = Server::new(Manners::default());
    let mut ssh = server.client("ssh", &[]);
    ssh.arg("-o").arg(OsStr::from_bytes(b"SetEnv=LC_X=a\xff"));
    ssh.arg("alice@127.0.0.1")
        .arg(OsStr::from_bytes(b"printf 'b\xfe'"));
    let output = run(&mut ssh, b"");
    assert_eq!(output.stdout, b"b\xfe", "{}", text(&output.stderr));
    assert!(server.worker(|worker| worker.was_asked("env LC_X=a\\xff")));
}

#[test]
fn a_long_command_passes_and_a_longer_one_is_refused_with_a_sentence() {
    let server = Server::new(Manners::default());
    let long = format!("echo {} | wc -c", "x".repeat(100_000));
    assert_eq!(text(&server.exec(&long).stdout), "100001\n");
    // Too long for one argument of ssh, so it comes in two.
    let half = "x".repeat(120_000);
    let output = run(&mut server.ssh(&[], &["echo", &half, &half]), b"");
    let expected = "meshd: the command and its variables are too long\n";
    assert_eq!(text(&output.stderr), expected);
    assert_eq!(output.status.code(), Some(255));
}

#[test]
fn what_cannot_be_started_says_why() {
    let server = Server::new(Manners {
        failure: Some("the login shell /bin/zsh of alice does not exist"),
        ..Manners::default()
    });
    let output = server.exec("true");
    let expected = "meshd: the login shell /bin/zsh of alice does not exist\n";
    assert_eq!(text(&output.stderr), expected);
    assert_eq!(output.status.code(), Some(255));
}

#[test]
fn files_are_copied() {
    let server = Server::new(Manners::default());
    let directory = server.directory();
    let (from, back) = (directory.join("from"), directory.join("back"));
    let bytes: Vec<u8> = (0..1_u32 << 20).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&from, &bytes).expect("writes");
    let remote = format!("alice@127.0.0.1:{}", directory.join("remote").display());
    let mut put = server.client("scp", &["-O", "-q"]);
    let put = run(put.arg(&from).arg(&remote), b"");
    assert!(put.status.success(), "{}", text(&put.stderr));
    let mut get = server.client("scp", &["-O", "-q"]);
    let get = run(get.arg(&remote).arg(&back), b"");
    assert!(get.status.success(), "{}", text(&get.stderr));
    assert!(std::fs::read(&back).expect("reads") == bytes);
}

#[test]
fn the_subsystem_sftp_is_opened_and_no_other() {
    let server = Server::new(Manners::default());
    let opened = run(&mut server.ssh(&["-s"], &["sftp"]), b"");
    assert!(opened.status.success(), "{}", text(&opened.stderr));
    assert!(server.worker(|worker| worker.was_asked("sftp")));
    let refused = run(&mut server.ssh(&["-s"], &["netconf"]), b"");
    assert!(text(&refused.stderr).contains("subsystem request failed"));
}

#[test]
fn a_reader_that_leaves_ends_the_writer() {
    let server = Server::new(Manners::default());
    let mut ssh = server
        .ssh(&[], &["yes"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ssh");
    let mut output = BufReader::new(ssh.stdout.take().expect("a pipe"));
    let mut line = String::new();
    output.read_line(&mut line).expect("reads");
    drop(output);
    wait(&mut ssh);
    server.wait_for_end();
}

#[test]
fn forwards_are_refused_and_the_session_goes_on() {
    let server = Server::new(Manners::default());
    let output = run(
        &mut server.ssh(&["-R", "0:127.0.0.1:1"], &["echo", "on"]),
        b"",
    );
    assert_eq!(text(&output.stdout), "on\n");
    for target in [&b"127.0.0.1:1"[..], b"a\xff:1"] {
        let mut ssh = server.client("ssh", &[]);
        ssh.arg("-W")
            .arg(OsStr::from_bytes(target))
            .arg("alice@127.0.0.1");
        let refused = run(&mut ssh, b"");
        let log = text(&refused.stderr);
        assert!(log.contains("administratively prohibited"), "{log}");
        assert_eq!(refused.status.code(), Some(255));
    }
}
