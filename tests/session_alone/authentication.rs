//! Who comes in, and what the others hear.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;

use meshd_contract::broker::Denial;
use meshd_contract::check::Prompt;
use russh::MethodKind;
use russh::client::{AuthResult, KeyboardInteractiveAuthResponse};
use russh::keys::PrivateKeyWithHashAlg;

use crate::client::{Server, run, text};
use crate::library::{any_key, block_on, client};
use crate::worker::{Manners, Order};

#[test]
fn a_denial_is_one_sentence() {
    let server = Server::new(Manners {
        permitted: "nobody-else",
        ..Manners::default()
    });
    for options in [&[][..], &["-o", "BatchMode=no"]] {
        let output = run(&mut server.ssh(options, &["true"]), b"");
        assert_eq!(
            text(&output.stderr),
            "meshd: policy does not permit you to SSH as user \"alice\"\r\n\
             alice@127.0.0.1: Permission denied (policy).\r\n"
        );
        assert_eq!(output.status.code(), Some(255));
    }
}

#[test]
fn every_denial_is_shown() {
    for (denial, sentence) in [
        (
            Denial::Node,
            "meshd: policy does not permit you to SSH to this node",
        ),
        (
            Denial::Account("the account alice has expired".to_owned()),
            "meshd: the account alice has expired",
        ),
    ] {
        let server = Server::new(Manners {
            permitted: "nobody-else",
            denial: Some(denial),
            ..Manners::default()
        });
        let output = server.exec("true");
        let log = text(&output.stderr);
        assert_eq!(log.matches(sentence).count(), 1, "{log}");
    }
}

#[test]
fn a_name_that_is_no_login_is_asked_about_too() {
    let server = Server::new(Manners::default());
    for name in ["-i", "0", "00", " 0", "+0", "0+password"] {
        let mut ssh = server.client("ssh", &["-l", name]);
        let output = run(ssh.args(["127.0.0.1", "true"]), b"");
        assert_eq!(output.status.code(), Some(255), "{name}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_name_that_is_no_text_is_denied_too() {
    let server = Server::new(Manners::default());
    let mut ssh = server.client("ssh", &[]);
    let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"a\xff");
    ssh.arg("-l").arg(name).args(["127.0.0.1", "true"]);
    let log = text(&run(&mut ssh, b"").stderr);
    assert!(
        log.contains("policy does not permit you to SSH as user"),
        "{log}"
    );
}

#[test]
fn the_password_suffix_asks_for_a_password_only() {
    let server = Server::new(Manners::default());
    let mut ssh = server.client("ssh", &["-v", "-o", "BatchMode=no", "-l", "alice+password"]);
    ssh.env("SSH_ASKPASS", "/bin/echo")
        .env("SSH_ASKPASS_REQUIRE", "force");
    let output = run(ssh.args(["127.0.0.1", "echo", "in"]), b"");
    assert_eq!(text(&output.stdout), "in\n", "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("Authentications that can continue: password\r\n"));
    assert!(server.worker(|worker| worker.was_asked("login alice")));
}

#[test]
fn a_client_that_never_logs_in_is_told() {
    let server = Server::new(Manners {
        login_grace: 1,
        ..Manners::default()
    });
    let mut ssh = server.client("ssh", &["-o", "BatchMode=no", "-l", "alice+password"]);
    // Whoever is asked for a password here does not answer.
    let askpass = server.directory().join("askpass");
    let never = "#!/bin/sh\nexec sleep 20\n";
    std::fs::write(&askpass, never).expect("writes");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&askpass, mode).expect("executable");
    ssh.env("SSH_ASKPASS", &askpass)
        .env("SSH_ASKPASS_REQUIRE", "force");
    let begin = std::time::Instant::now();
    let mut child = ssh.args(["127.0.0.1", "true"]).spawn().expect("ssh");
    server.wait_for_end();
    assert!(begin.elapsed().as_secs() < 15);
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn a_frozen_worker_is_a_clear_error() {
    let server = Server::new(Manners {
        login_grace: 2,
        ..Manners::default()
    });
    let mut ssh = server.client("ssh", &["-l", "frozen"]);
    let output = run(ssh.args(["127.0.0.1", "true"]), b"");
    let log = text(&output.stderr);
    assert!(
        log.contains("meshd: the time to log in has passed"),
        "{log}"
    );
}

#[test]
fn every_method_is_decided_alike() {
    block_on(async {
        let server = Server::new(Manners::default());
        let mut session = client(&server).await;
        assert!(
            session
                .authenticate_password("alice", "anything")
                .await
                .expect("a reply")
                .success()
        );
        let mut session = client(&server).await;
        let key = PrivateKeyWithHashAlg::new(Arc::new(any_key()), None);
        assert!(
            session
                .authenticate_publickey("alice", key)
                .await
                .expect("a reply")
                .success()
        );
        let mut session = client(&server).await;
        let reply = session
            .authenticate_keyboard_interactive_start("alice", None)
            .await;
        let reply = reply.expect("a reply");
        assert!(
            matches!(reply, KeyboardInteractiveAuthResponse::Success),
            "{reply:?}"
        );
    });
}

fn held() -> Server {
    let prompt = Prompt {
        url: "https://control.example.com/check/x".to_owned(),
        number: 42,
    };
    Server::new(Manners {
        prompt: Some(prompt),
        login_grace: 1,
        ..Manners::default()
    })
}

#[test]
fn a_client_that_hides_banners_is_told_in_a_dialogue_where_to_sign_in() {
    block_on(async {
        let server = held();
        let mut session = client(&server).await;
        let refused = session.authenticate_none("alice").await.expect("a reply");
        let AuthResult::Failure {
            remaining_methods, ..
        } = refused
        else {
            panic!("accepted");
        };
        assert!(remaining_methods.contains(&MethodKind::KeyboardInteractive));
        let dialogue = session
            .authenticate_keyboard_interactive_start("alice", None)
            .await
            .expect("a reply");
        let KeyboardInteractiveAuthResponse::InfoRequest {
            instructions,
            prompts,
            ..
        } = dialogue
        else {
            panic!("no dialogue: {dialogue:?}");
        };
        assert!(instructions.contains("/check/x\n"), "{instructions}");
        assert!(instructions.contains("number: 42"), "{instructions}");
        assert!(prompts.is_empty(), "{prompts:?}");
        let orders = server.worker(|worker| worker.orders.clone());
        let (answered, ()) = tokio::join!(
            session.authenticate_keyboard_interactive_respond(Vec::new()),
            async {
                // Longer than the time to log in.
                tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
                orders.send(Order::Release).expect("a worker");
            }
        );
        let answered = answered.expect("a reply");
        assert!(
            matches!(answered, KeyboardInteractiveAuthResponse::Success),
            "{answered:?}"
        );
    });
}

#[test]
fn a_client_that_shows_banners_waits_with_its_first_request() {
    let server = held();
    let mut ssh = server.ssh(&[], &["echo", "in"]);
    ssh.stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut ssh = ssh.spawn().expect("ssh");
    let mut said = BufReader::new(ssh.stderr.take().expect("a pipe")).lines();
    let mut next = || said.next().expect("a line").expect("text");
    let shown: Vec<String> = (0..3).map(|_| next()).collect();
    assert_eq!(
        shown,
        [
            "# meshd requires an additional check.",
            "# To authenticate, visit: https://control.example.com/check/x",
            "# The page asks for this number: 42",
        ]
    );
    server.worker(|worker| worker.orders.send(Order::Release).expect("a worker"));
    assert_eq!(next(), "# Authentication checked with meshd.");
    let output = ssh.wait_with_output().expect("an end");
    assert_eq!(text(&output.stdout), "in\n");
}

#[test]
fn a_second_login_ends_the_connection() {
    block_on(async {
        let server = Server::new(Manners::default());
        let mut session = client(&server).await;
        let refused = session
            .authenticate_none("bob+password")
            .await
            .expect("a reply");
        let AuthResult::Failure {
            remaining_methods, ..
        } = refused
        else {
            panic!("accepted");
        };
        assert_eq!(&remaining_methods[..], [MethodKind::Password]);
        let other = session.authenticate_password("alice", "anything").await;
        assert!(other.is_err() || !other.is_ok_and(|reply| reply.success()));
        server.wait_for_end();
        assert!(!server.worker(|worker| worker.was_asked("login alice")));
    });
}
