//! A client library, for what the OpenSSH client does not send.

use std::sync::Arc;

use russh::ChannelMsg;
use russh::Sig;
use russh::client::{Config, Handle, Handler, connect};
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{PrivateKey, PublicKeyOrCertificate};

use crate::client::Server;
use crate::worker::Manners;

/// Runs what a client library does.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}

/// A key that nobody knows.
pub(crate) fn any_key() -> PrivateKey {
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&[9; 32]));
    PrivateKey::new(pair, "").expect("a key")
}

/// Takes every host key.
pub(crate) struct Trusting;

impl Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// A connection, before any authentication.
pub(crate) async fn client(server: &Server) -> Handle<Trusting> {
    let address = ("127.0.0.1", server.port);
    connect(Arc::new(Config::default()), address, Trusting)
        .await
        .expect("a connection")
}

#[test]
fn a_signal_reaches_the_program() {
    block_on(async {
        let server = Server::new(Manners::default());
        let mut client = client(&server).await;
        assert!(
            client
                .authenticate_none("alice")
                .await
                .expect("a reply")
                .success()
        );
        let mut channel = client.channel_open_session().await.expect("a channel");
        let command = "trap 'echo caught; exit 5' TERM; echo ready; while :; do read -t 1 x; done";
        channel.exec(true, command).await.expect("sends");
        let (mut output, mut status) = (Vec::new(), None);
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => {
                    output.extend_from_slice(&data);
                    if data.starts_with(b"ready") {
                        channel.signal(Sig::TERM).await.expect("sends");
                    }
                }
                ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                _ => {}
            }
        }
        assert_eq!(output, b"ready\ncaught\n");
        assert_eq!(status, Some(5));
        assert!(server.worker(|worker| worker.was_asked("signal TERM")));
    });
}

#[test]
fn a_terminal_without_a_program_is_given_back() {
    block_on(async {
        let server = Server::new(Manners::default());
        let mut client = client(&server).await;
        assert!(
            client
                .authenticate_none("alice")
                .await
                .expect("a reply")
                .success()
        );
        let channel = client.channel_open_session().await.expect("a channel");
        channel
            .request_pty(true, "xterm", 80, 24, 0, 0, &[])
            .await
            .expect("sends");
        channel.close().await.expect("sends");
        // The answer to this one comes after the end of the other.
        let mut channel = client.channel_open_session().await.expect("a channel");
        channel.exec(true, "true").await.expect("sends");
        while channel.wait().await.is_some() {}
        assert!(server.worker(|worker| worker.was_asked("release")));
    });
}
