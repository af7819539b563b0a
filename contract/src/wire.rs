//! One message with its descriptors over a `SOCK_SEQPACKET` Unix socket.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv,
    recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::broker::{MAX_MESSAGE_BYTES, MAX_MESSAGE_FDS, PROTOCOL};

/// What travels in packets, and how it is written there.
pub trait Message: Serialize + DeserializeOwned {
    /// How.
    const ENCODING: Encoding;
}

/// How a message is written; the packet's first byte tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// postcard's (<https://postcard.jamesmunns.com/wire-format>), for processes of one version:
    /// the first byte is [`PROTOCOL`], and every other one is refused.
    Compact,
    /// JSON (RFC 8259), for processes that are upgraded apart: what is not known is passed over,
    /// so a newer version may add variants, and fields with a default, and nothing else. The first
    /// byte is `{`, the text's own.
    Extensible,
}

impl Encoding {
    fn write(self, message: &impl Serialize) -> Result<Vec<u8>, WireError> {
        match self {
            Self::Compact => {
                postcard::to_extend(message, vec![PROTOCOL]).map_err(|_| WireError::Malformed)
            }
            Self::Extensible => serde_json::to_vec(message).map_err(|_| WireError::Malformed),
        }
    }

    fn read<M: DeserializeOwned>(self, packet: &[u8]) -> Result<M, WireError> {
        match (self, packet) {
            (_, []) => Err(WireError::Closed),
            (Self::Compact, [PROTOCOL, body @ ..]) => match postcard::take_from_bytes(body) {
                Ok((message, [])) => Ok(message),
                Ok(_) | Err(_) => Err(WireError::Malformed),
            },
            (Self::Compact, [version, ..]) => Err(WireError::Version(*version)),
            (Self::Extensible, packet) => {
                serde_json::from_slice(packet).map_err(|_| WireError::Malformed)
            }
        }
    }
}

/// The most descriptors that the kernel puts into one packet (unix(7)). Room for all of them means
/// that no control data is ever cut off, so that every descriptor that came can be closed.
const SCM_MAX_FD: usize = 253;

/// Why a message did not arrive or could not be sent.
#[derive(Debug, Error)]
pub enum WireError {
    /// The other side has closed the socket.
    #[error("the other process has closed its end")]
    Closed,
    /// The socket does not block, and there is nothing to read or no room to write.
    #[error("the socket is not ready")]
    WouldBlock,
    /// More than [`MAX_MESSAGE_BYTES`] or [`MAX_MESSAGE_FDS`].
    #[error("a message has at most {MAX_MESSAGE_BYTES} bytes and {MAX_MESSAGE_FDS} descriptors")]
    TooLarge,
    /// Another version of the messages.
    #[error("the other process speaks version {0} of the messages, this one {PROTOCOL}")]
    Version(u8),
    /// No message of the expected kind.
    #[error("the packet is no message of the expected kind")]
    Malformed,
    /// The kernel refused.
    #[error("the socket failed: {0}")]
    Socket(Errno),
}

impl From<Errno> for WireError {
    fn from(errno: Errno) -> Self {
        if errno == Errno::EAGAIN {
            Self::WouldBlock
        } else if matches!(errno, Errno::EPIPE | Errno::ECONNRESET) {
            Self::Closed
        } else {
            Self::Socket(errno)
        }
    }
}

/// A connected pair; both ends are closed on exec and block.
///
/// # Errors
/// [`WireError::Socket`] when the process has no descriptor left.
pub fn pair() -> Result<(OwnedFd, OwnedFd), WireError> {
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?)
}

/// Sends `message` with `fds`, as one packet.
///
/// # Errors
/// [`WireError`]; nothing was sent then.
pub fn send<M: Message>(
    socket: BorrowedFd<'_>,
    message: &M,
    fds: &[BorrowedFd<'_>],
) -> Result<(), WireError> {
    let packet = M::ENCODING.write(message)?;
    if packet.len() > MAX_MESSAGE_BYTES || fds.len() > MAX_MESSAGE_FDS {
        return Err(WireError::TooLarge);
    }
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let control = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() {
        &control[..0]
    } else {
        &control[..]
    };
    let slices = [IoSlice::new(&packet)];
    loop {
        let sent = sendmsg::<()>(
            socket.as_raw_fd(),
            &slices,
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
        match sent {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Receives one message and the descriptors that came with it.
///
/// Every descriptor is owned before anything else is looked at, so that a refused packet leaks
/// none.
///
/// # Errors
/// [`WireError`]; [`WireError::Closed`] at the end of the stream.
pub fn receive<M: Message>(socket: BorrowedFd<'_>) -> Result<(M, Vec<OwnedFd>), WireError> {
    let (packet, fds) = receive_packet(socket.as_fd())?;
    Ok((M::ENCODING.read(&packet)?, fds))
}

fn receive_packet(socket: BorrowedFd<'_>) -> Result<(Vec<u8>, Vec<OwnedFd>), WireError> {
    // Most messages are short: the memory for the longest one is not to be kept by every process.
    let length = length_of_next(socket)?.clamp(1, MAX_MESSAGE_BYTES);
    let mut packet = vec![0; length];
    let mut control = nix::cmsg_space!([RawFd; SCM_MAX_FD]);
    let (length, flags, fds) = loop {
        let mut slices = [IoSliceMut::new(&mut packet)];
        let received = recvmsg::<()>(
            socket.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        );
        match received {
            Ok(message) => {
                let fds = owned_fds(message.cmsgs().ok().into_iter().flatten());
                break (message.bytes, message.flags, fds);
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    let truncated = flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
    if truncated || fds.len() > MAX_MESSAGE_FDS {
        return Err(WireError::TooLarge);
    }
    packet.truncate(length);
    Ok((packet, fds))
}

/// 0 at the end of the stream.
fn length_of_next(socket: BorrowedFd<'_>) -> Result<usize, Errno> {
    let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
    loop {
        match recv(socket.as_raw_fd(), &mut [], look) {
            Err(Errno::EINTR) => {}
            length => return length,
        }
    }
}

fn owned_fds(messages: impl Iterator<Item = ControlMessageOwned>) -> Vec<OwnedFd> {
    let mut owned = Vec::new();
    for message in messages {
        if let ControlMessageOwned::ScmRights(raw) = message {
            // SAFETY: the kernel has just made these descriptors for this process, and nothing
            // else in it knows their numbers.
            owned.extend(
                raw.into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
            );
        }
    }
    owned
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{FromManager, FromSession, ToManager, ToSession};

    fn raw_send(socket: BorrowedFd<'_>, bytes: &[u8]) {
        nix::sys::socket::send(socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL).expect("sends");
    }

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (a, b) = pair().expect("a pair");
        let (extra, kept) = pair().expect("a pair");
        send(a.as_fd(), &FromManager::Bind, &[extra.as_fd()]).expect("sends");
        drop(extra);
        let (message, fds) = receive::<FromManager>(b.as_fd()).expect("receives");
        assert_eq!(message, FromManager::Bind);
        assert_eq!(fds.len(), 1);
        raw_send(fds[0].as_fd(), b"through");
        let mut buffer = [0; 16];
        let length = nix::unistd::read(&kept, &mut buffer).expect("reads");
        assert_eq!(&buffer[..length], b"through");
    }

    #[test]
    fn the_end_of_the_stream_is_told_from_an_error() {
        let (a, b) = pair().expect("a pair");
        drop(a);
        assert!(matches!(
            receive::<FromManager>(b.as_fd()),
            Err(WireError::Closed)
        ));
        assert!(matches!(
            send(b.as_fd(), &FromManager::Bind, &[]),
            Err(WireError::Closed)
        ));
    }

    #[test]
    fn another_version_is_refused() {
        let (a, b) = pair().expect("a pair");
        raw_send(a.as_fd(), &[PROTOCOL + 1, 0]);
        let received = receive::<FromSession>(b.as_fd());
        assert!(matches!(received, Err(WireError::Version(v)) if v == PROTOCOL + 1));
    }

    #[test]
    fn bytes_after_a_message_are_refused() {
        let (a, b) = pair().expect("a pair");
        raw_send(a.as_fd(), &[PROTOCOL, 2, 0, 0]);
        assert!(matches!(
            receive::<FromSession>(b.as_fd()),
            Err(WireError::Malformed)
        ));
        raw_send(a.as_fd(), br#"{"say":"Bind"}{"#);
        assert!(matches!(
            receive::<FromManager>(b.as_fd()),
            Err(WireError::Malformed)
        ));
    }

    #[test]
    fn a_newer_versions_fields_are_passed_over_and_its_variants_are_unknown() {
        let (a, b) = pair().expect("a pair");
        let hears = |text: &str| {
            raw_send(a.as_fd(), text.as_bytes());
            receive::<FromManager>(b.as_fd()).expect("a message").0
        };
        assert_eq!(
            hears(r#"{"say":"Describe","depth":2}"#),
            FromManager::Describe
        );
        assert_eq!(
            hears(r#"{"say":"Pause","seconds":5}"#),
            FromManager::Unknown
        );
    }

    #[test]
    fn an_older_versions_description_has_no_forwards() {
        let (a, b) = pair().expect("a pair");
        let text = r#"{"say":"Described","connection":"c1","peer":2,"peer_name":"laptop",
            "owner":"alice@example.com","address":"100.64.0.2","login":"alice","rule":"ssh[0]",
            "since":7,"channels":[],"received":1,"sent":2}"#;
        raw_send(a.as_fd(), text.as_bytes());
        let Ok((ToManager::Described(description), _)) = receive(b.as_fd()) else {
            panic!("no description");
        };
        assert_eq!(description.forwards, []);
        assert_eq!(description.login.as_deref(), Some("alice"));
    }

    #[test]
    fn a_long_packet_is_refused_and_its_descriptors_are_closed() {
        let (a, b) = pair().expect("a pair");
        let (extra, kept) = pair().expect("a pair");
        let raw = [extra.as_raw_fd()];
        let bytes = vec![PROTOCOL; MAX_MESSAGE_BYTES + 1];
        sendmsg::<()>(
            a.as_raw_fd(),
            &[IoSlice::new(&bytes)],
            &[ControlMessage::ScmRights(&raw)],
            MsgFlags::empty(),
            None,
        )
        .expect("sends");
        drop(extra);
        assert!(matches!(
            receive::<FromManager>(b.as_fd()),
            Err(WireError::TooLarge)
        ));
        let mut buffer = [0; 1];
        assert_eq!(nix::unistd::read(&kept, &mut buffer), Ok(0));
    }

    #[test]
    fn more_descriptors_than_permitted_are_refused_and_closed() {
        let (a, b) = pair().expect("a pair");
        let (extra, kept) = pair().expect("a pair");
        let raw = [extra.as_raw_fd(); MAX_MESSAGE_FDS + 3];
        sendmsg::<()>(
            a.as_raw_fd(),
            &[IoSlice::new(&[PROTOCOL, 0])],
            &[ControlMessage::ScmRights(&raw)],
            MsgFlags::empty(),
            None,
        )
        .expect("sends");
        drop(extra);
        assert!(matches!(
            receive::<FromManager>(b.as_fd()),
            Err(WireError::TooLarge)
        ));
        let mut buffer = [0; 1];
        assert_eq!(nix::unistd::read(&kept, &mut buffer), Ok(0));
    }

    #[test]
    fn a_message_that_is_too_long_is_not_sent() {
        let (a, _b) = pair().expect("a pair");
        let message = ToSession::Notice {
            channel: 0,
            text: vec![0; MAX_MESSAGE_BYTES],
        };
        assert!(matches!(
            send(a.as_fd(), &message, &[]),
            Err(WireError::TooLarge)
        ));
    }

    proptest::proptest! {
        #[test]
        fn no_packet_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..256)) {
            let (a, b) = pair().expect("a pair");
            let mut packet = vec![PROTOCOL];
            packet.extend(bytes);
            raw_send(a.as_fd(), &packet);
            let _ = receive::<FromSession>(b.as_fd());
        }
    }
}
