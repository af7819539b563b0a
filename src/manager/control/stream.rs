//! The stream of documents, kept open for as long as the node is up.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use meshd_contract::document::Version;
use meshd_contract::keyring::KeyRotation;
use meshd_contract::node_api::MAX_CLOCK_SKEW;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::backoff::{Backoff, chance};
use super::connection::{Connection, Credentials, Server};
use super::events::{Event, Parser};
use crate::manager::error::Error;

/// Control sends a comment every 15 seconds; this long without a byte, the connection is dead.
const SILENCE: Duration = Duration::from_secs(45);

/// What the stream brings.
#[derive(Debug)]
pub enum FromControl {
    /// The stream is open.
    Connected,
    /// The stream has ended, or could not be opened; it is tried again.
    Disconnected(Error),
    /// A document of this kind, not verified yet.
    Document {
        /// Such as `peers`.
        kind: String,
        /// The signed text.
        text: String,
    },
    /// Control does not know the node any more.
    Gone(String),
}

/// The versions of the documents that the node has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Versions {
    /// Of the peer document.
    pub peers: Option<Version>,
    /// Of the network document.
    pub network: Option<Version>,
}

impl Versions {
    fn last_event_id(self) -> Option<String> {
        let number = |version: Option<Version>| version.map_or(0, |version| version.0);
        let known = self.peers.is_some() || self.network.is_some();
        known.then(|| format!("{}.{}", number(self.peers), number(self.network)))
    }
}

/// Follows the stream until the node is gone or the receiver is dropped; it never gives up.
///
/// `versions` says what the node has by now, so that a new stream starts where the old one ended.
pub async fn follow(
    mut server: Server,
    credentials: Credentials,
    versions: watch::Receiver<Versions>,
    sink: mpsc::Sender<FromControl>,
) {
    let mut backoff = Backoff::default();
    loop {
        let seen = *versions.borrow();
        let ended = once(&mut server, &credentials, seen, &sink, &mut backoff).await;
        let message = match ended {
            Error::Problem {
                status: 410,
                detail,
            } => FromControl::Gone(detail),
            error => FromControl::Disconnected(error),
        };
        let gone = matches!(message, FromControl::Gone(_));
        if sink.send(message).await.is_err() || gone {
            return;
        }
        sleep(backoff.failed(chance())).await;
    }
}

/// One connection, from its beginning to its end.
async fn once(
    server: &mut Server,
    credentials: &Credentials,
    seen: Versions,
    sink: &mpsc::Sender<FromControl>,
    backoff: &mut Backoff,
) -> Error {
    let (body, followed) = match open(server, credentials, seen).await {
        Ok(opened) => opened,
        Err(error) => return error,
    };
    backoff.succeeded();
    for rotation in followed {
        if deliver(server, KeyRotation::KIND.to_owned(), rotation, sink)
            .await
            .is_err()
        {
            return ended(server, "the manager stops");
        }
    }
    if sink.send(FromControl::Connected).await.is_err() {
        return ended(server, "the manager stops");
    }
    read(server, body, sink).await
}

async fn open(
    server: &Server,
    credentials: &Credentials,
    seen: Versions,
) -> Result<(Incoming, Vec<String>), Error> {
    let mut connection = Connection::open(server).await?;
    let id = seen.last_event_id().map(|id| ("last-event-id", id));
    let headers: Vec<_> = id.into_iter().collect();
    let opened = connection
        .get_stream("/v1/documents", credentials, &headers)
        .await;
    if let Err(Error::Problem {
        status: 401,
        detail,
    }) = &opened
    {
        tracing::warn!(
            detail,
            "control refuses this node's signature; clocks may differ by {MAX_CLOCK_SKEW} s at most"
        );
    }
    Ok((opened?.into_body(), connection.followed().to_vec()))
}

async fn read(server: &mut Server, mut body: Incoming, sink: &mpsc::Sender<FromControl>) -> Error {
    let mut parser = Parser::default();
    loop {
        let frame = match timeout(SILENCE, body.frame()).await {
            Err(_) => return ended(server, "nothing came for 45 s"),
            Ok(None) => return ended(server, "control has closed the stream"),
            Ok(Some(Err(error))) => return ended(server, &error.to_string()),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        let Ok(events) = parser.push(&piece) else {
            return ended(server, "an event is too long");
        };
        for Event { name, data, .. } in events {
            if deliver(server, name, data, sink).await.is_err() {
                return ended(server, "the manager stops");
            }
        }
    }
}

/// Hands a document on. The next connection must be to whoever has the newest key.
async fn deliver(
    server: &mut Server,
    kind: String,
    text: String,
    sink: &mpsc::Sender<FromControl>,
) -> Result<(), mpsc::error::SendError<FromControl>> {
    if kind == KeyRotation::KIND {
        server.keys.follow(&text);
    }
    sink.send(FromControl::Document { kind, text }).await
}

fn ended(server: &Server, reason: &str) -> Error {
    Error::Unreachable {
        url: server.url.to_string(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_resumes_where_the_last_one_ended() {
        assert_eq!(Versions::default().last_event_id(), None);
        let versions = Versions {
            peers: Some(Version(5)),
            network: None,
        };
        assert_eq!(versions.last_event_id(), Some("5.0".to_owned()));
    }
}
