//! What a node and control say to each other over HTTPS.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/identity` | | a text signed by control ([`Identity`], kind [`Identity::KIND`]) |
//! | `GET /v1/keys` | | every rotation of control's key, a list for [`crate::keyring::Keyring::follow_list`] |
//! | `POST /v1/register` | [`RegisterRequest`] | [`RegisterResponse`] |
//! | `POST /v1/join` | [`JoinRequest`] | [`JoinAnswer`] |
//! | `POST /v1/join/wait` | [`JoinWait`] | [`JoinAnswer`], within ten seconds |
//! | `POST /v1/join/leave` | [`JoinWait`] | 204 |
//! | `POST /v1/report` | [`Report`] | 204 |
//! | `POST /v1/logins` | [`LoginReport`] | 204 |
//! | `POST /v1/checks` | [`CheckRequest`] | [`CheckState`] |
//! | `POST /v1/checks/wait` | [`CheckId`] | [`CheckState`], after up to [`CHECK_WAIT_SECONDS`] |
//! | `POST /v1/checks/end` | [`CheckId`] | 204; nobody waits for it any more |
//! | `POST /v1/checks/ahead` | [`AheadRequest`] | [`CheckState`] |
//! | `POST /v1/checks/approved` | | a list of [`Approved`], what counts for logins from this node |
//! | `GET /v1/documents` | | server-sent events, see below |
//! | `POST /v1/logout` | | 204; the node is gone |
//!
//! All but the first two are signed by the node: [`request_text`] under the headers [`NODE_HEADER`],
//! [`TIME_HEADER`], [`SIGNATURE_HEADER`] (base64). A registering node has no number yet and sends
//! none; its signature is checked with the key in the body. So does one that asks to join. A request
//! that changes something counts once: the same text under the same time is refused as `replayed`
//! (409), so that a node which repeats itself within a second waits for the next one.
//!
//! The stream's events are named after the kinds of documents, their data is the signed text, and
//! their id is `PEERS.NETWORK`, the two versions that the node has seen by then. A client that
//! resumes sends it as `Last-Event-ID` and gets only what is newer. Rotations of control's key, of
//! the kind [`crate::keyring::KeyRotation::KIND`], come before the documents that the new key signs,
//! and have no id. A comment every 15 seconds keeps the stream alive. A deleted node gets its last
//! documents, without peers and rules, then its stream ends, and its requests are refused as
//! `node-gone` (410). Errors are [`Problem`]s.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::address::MeshAddresses;
use crate::check::{CheckNeed, CheckRefusal, LoginClass, Prompt};
use crate::identity::{NodeId, NodeName};
use crate::key::{PublicKey, WireGuardKey};
use crate::login_event::LoginEvent;
use crate::time::Timestamp;

/// Header with the number of the node that asks.
pub const NODE_HEADER: &str = "meshd-node";
/// Header with the node's clock, seconds since 1970.
pub const TIME_HEADER: &str = "meshd-time";
/// Header with the node's signature, base64.
pub const SIGNATURE_HEADER: &str = "meshd-signature";
/// How far the two clocks may differ, in seconds.
pub const MAX_CLOCK_SKEW: u64 = 300;

/// What control says of itself, signed by its own key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The key that signs this and every document.
    pub control_key: PublicKey,
    /// SHA-256 of the TLS certificates that control serves with, lower-case hex of the DER form.
    pub tls_certificates: Vec<String>,
    /// The version of meshd that it runs.
    pub release: String,
}

impl Identity {
    /// The kind in the signed text.
    pub const KIND: &'static str = "identity";
}

/// A node asks to become part of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterRequest {
    /// The secret that `meshd-control authkeys create` printed.
    pub auth_key: String,
    /// The node's own key, which signs this and every later request.
    pub node_key: PublicKey,
    /// Its WireGuard key.
    pub wireguard_key: WireGuardKey,
    /// The wished name.
    pub name: NodeName,
}

/// The answer to a [`RegisterRequest`]; the same for a repeated request with the same node key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterResponse {
    /// The node's number.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Its addresses.
    pub addresses: MeshAddresses,
    /// It is nobody's peer until an administrator has approved it.
    #[serde(default)]
    pub needs_approval: bool,
}

/// A host without an auth key asks to become part of the mesh. A person opens the page in the
/// answer, and lets it in or not; the host waits for that. A later request of the same key takes the
/// place of an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The node's own key, which signs this and every later request.
    pub node_key: PublicKey,
    /// Its WireGuard key.
    pub wireguard_key: WireGuardKey,
    /// The wished name.
    pub name: NodeName,
    /// The wished tags, each with `tag:`; empty for a node of the person who lets it in.
    pub tags: Vec<String>,
    /// The version of meshd that it runs.
    pub release: String,
    /// Chance, so that a host which asks twice in a second does not repeat itself.
    pub nonce: u64,
    /// The host is a node already, and asks for a new sign-in with the new keys above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renews: Option<Renewal>,
}

/// Shows that a host which brings new keys is the node that it says it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// Its number.
    pub node: NodeId,
    /// The signature of the key that it has had by now over [`renewal_text`], base64.
    pub signature: String,
}

/// What a node signs with its old key to bring new ones.
#[must_use]
pub fn renewal_text(node: NodeId, node_key: &PublicKey, wireguard_key: &WireGuardKey) -> Vec<u8> {
    format!("meshd-renewal 1\n{node}\n{node_key}\n{wireguard_key}\n").into_bytes()
}

/// The host that has sent a [`JoinRequest`] asks what has become of it, or takes it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinWait {
    /// The key in the request.
    pub node_key: PublicKey,
}

/// How far it is. A refusal is a [`Problem`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum JoinAnswer {
    /// A person has to open a page.
    Asked(JoinPage),
    /// No person has decided yet.
    Waiting,
    /// The host is a node.
    Joined(RegisterResponse),
}

/// Where a person lets a host in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinPage {
    /// The page's address; whoever has it can look at the request.
    pub url: String,
    /// From this second on nobody can be let in there.
    pub expires_at: Timestamp,
}

/// What a node tells of itself, at each start and change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Where its WireGuard can be reached; control adds the address that the request came from.
    pub endpoints: Vec<SocketAddr>,
    /// The UDP port of its WireGuard.
    pub wireguard_port: u16,
    /// Its SSH host keys in the form of `ssh_host_*_key.pub`; empty while SSH is off.
    pub ssh_host_keys: Vec<String>,
    /// The version of meshd that it runs.
    pub release: String,
}

/// What has become of logins on this node, for control's audit log.
///
/// Events are numbered from 1 on in each run of the manager. A report is sent again until it is
/// answered; control takes each number once, and notes which numbers never came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginReport {
    /// Chosen at random by each run of the manager.
    pub run: u32,
    /// The number of the first event.
    pub first: u64,
    /// At most [`MAX_LOGIN_EVENTS`].
    pub events: Vec<LoginEvent>,
}

/// The most events in one report; a report of so many of the longest fits into a request.
pub const MAX_LOGIN_EVENTS: usize = 24;
/// How long control keeps a request waiting for news of a check, in seconds.
pub const CHECK_WAIT_SECONDS: u64 = 5;

/// A login at the node lacks a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRequest {
    /// What it lacks.
    pub need: CheckNeed,
    /// Makes every request another one.
    pub turn: u64,
}

/// Names a check that a node has asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckId {
    /// As [`CheckState::Waiting`] named it.
    pub id: String,
    /// The connection that waits; empty for a check of [`AheadRequest`].
    pub connection: String,
    /// Makes every request another one.
    pub turn: u64,
}

/// The owner of a node wants to be checked before logins need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AheadRequest {
    /// For how long.
    pub seconds: u64,
    /// For logins to which nodes: a tag (`tag:web`) or a node's name; none for all.
    pub target: Option<String>,
    /// For which accounts.
    pub class: LoginClass,
    /// Makes every request another one.
    pub turn: u64,
}

/// What an owner has approved for logins from a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// For which accounts.
    pub class: LoginClass,
    /// At which node; none for more than one.
    pub destination: Option<NodeName>,
    /// As [`AheadRequest::target`] said.
    pub target: Option<String>,
    /// Whether it was asked for ahead.
    pub is_ahead: bool,
    /// When.
    pub approved_at: Timestamp,
    /// It counts no longer than until then; a rule may want a more recent one.
    pub expires_at: Timestamp,
}

/// Where a check stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CheckState {
    /// The person has not answered.
    Waiting {
        /// Names it.
        id: String,
        /// What the person is to do.
        prompt: Prompt,
    },
    /// The person has signed in, now or recently enough.
    Granted {
        /// The [`crate::check::CheckGrant`] for the node that asked, signed.
        grant: String,
    },
    /// The person has approved what [`AheadRequest`] asked for.
    Approved {
        /// The end of it.
        until: Timestamp,
    },
    /// There is nothing to wait for.
    Refused {
        /// Why.
        reason: CheckRefusal,
    },
}

/// An error as RFC 9457 writes it (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A URN of the kind, such as `urn:meshd:problem:auth-key-used`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status.
    pub status: u16,
    /// One sentence that says what to do.
    pub detail: String,
}

/// The bytes that a node signs for one request; `path` includes the query.
#[must_use]
pub fn request_text(
    method: &str,
    path: &str,
    node: Option<NodeId>,
    time: Timestamp,
    body: &[u8],
) -> Vec<u8> {
    use sha2::Digest;
    let node = node.map_or_else(|| "-".to_owned(), |node| node.to_string());
    let mut text = format!("meshd-request 1\n{method}\n{path}\n{node}\n{time}\n").into_bytes();
    text.extend_from_slice(&sha2::Sha256::digest(body));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_request_is_signed() {
        let base = request_text("POST", "/v1/report", Some(NodeId(1)), Timestamp(1), b"{}");
        for other in [
            request_text("PUT", "/v1/report", Some(NodeId(1)), Timestamp(1), b"{}"),
            request_text("POST", "/v1/logout", Some(NodeId(1)), Timestamp(1), b"{}"),
            request_text("POST", "/v1/report", Some(NodeId(2)), Timestamp(1), b"{}"),
            request_text("POST", "/v1/report", None, Timestamp(1), b"{}"),
            request_text("POST", "/v1/report", Some(NodeId(1)), Timestamp(2), b"{}"),
            request_text("POST", "/v1/report", Some(NodeId(1)), Timestamp(1), b"{ }"),
        ] {
            assert_ne!(base, other);
        }
    }
}
