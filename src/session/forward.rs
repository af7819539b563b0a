//! One forwarded connection: the bytes between a channel and a socket.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use meshd_contract::forward::{Endpoint, ForwardFailure};
use nix::libc;
use nix::sys::socket::{MsgFlags, Shutdown, SockaddrStorage, sendmsg, shutdown};
use russh::server::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use super::forward_link::{Forward, NoForward};
use super::input::{Input, Sent, length};
use super::pipe::{fill, register};
use super::traffic::Traffic;
use super::worker::Worker;

/// One read.
const READ_BYTES: usize = 64 << 10;

/// Connects to what the client names, tells it what came of that, and carries the bytes.
pub(super) async fn open(
    worker: Arc<Worker>,
    target: Endpoint,
    channel: Channel<Msg>,
    reply: ChannelOpenHandle,
) {
    if !target.is_in_bounds() {
        let words = "there is no such name or path".to_owned();
        return reply
            .reject_with(ChannelOpenFailure::ConnectFailed, words)
            .await;
    }
    match worker.connect(target).await {
        Ok((mut forward, socket)) => {
            reply.accept().await;
            carry(channel, socket, worker.traffic(), &mut forward).await;
        }
        Err(reason) => {
            let (code, words) = refusal(reason);
            reply.reject_with(code, words).await;
        }
    }
}

/// Tells the client that it has as many as it may have.
pub(super) async fn refuse(reply: ChannelOpenHandle) {
    let words = "too many forwarded connections in this connection".to_owned();
    reply
        .reject_with(ChannelOpenFailure::ResourceShortage, words)
        .await;
}

/// The code (RFC 4254, section 5.1) and the words.
fn refusal(reason: NoForward) -> (ChannelOpenFailure, String) {
    match reason {
        NoForward::Refused(ForwardFailure::Prohibited(words)) => {
            (ChannelOpenFailure::AdministrativelyProhibited, words)
        }
        NoForward::Refused(ForwardFailure::Failed(words)) => {
            (ChannelOpenFailure::ConnectFailed, words)
        }
        NoForward::Refused(ForwardFailure::Shortage(words)) => {
            (ChannelOpenFailure::ResourceShortage, words)
        }
        NoForward::Unanswered(reason) => (ChannelOpenFailure::ConnectFailed, reason.to_string()),
    }
}

/// Carries bytes both ways. The end of one direction leaves the other; the channel is closed when
/// both have ended, the client has closed it, or the forward is not permitted any more.
pub(super) async fn carry(
    channel: Channel<Msg>,
    socket: OwnedFd,
    traffic: &Traffic,
    forward: &mut Forward,
) {
    let (from_client, to_client) = channel.split();
    if let Ok(socket) = register(socket).map(Socket) {
        let (ended, end) = oneshot::channel();
        tokio::select! {
            () = to_socket(from_client, &socket, ended, traffic) => {}
            () = to_channel(&socket, &to_client, end, traffic) => {}
            () = forward.end() => {}
        }
    }
    let _ = to_client.close().await;
}

/// Gives the socket what the client sends, until the client has closed the channel. `ended` is
/// told when nothing more goes this way.
async fn to_socket(
    from_client: ChannelReadHalf,
    socket: &Socket,
    ended: oneshot::Sender<()>,
    traffic: &Traffic,
) {
    let mut from_client = Input::new(from_client);
    let mut ended = Some(ended);
    while let Some(sent) = from_client.next().await {
        let goes_on = match sent {
            // What nobody takes any more is taken here, so that the client is not held up.
            Sent::Data(_) if ended.is_none() => true,
            Sent::Data(pieces) => {
                traffic.received(length(&pieces));
                socket.write_all(&pieces).await.is_ok()
            }
            Sent::Eof => {
                let _ = shutdown(socket.0.get_ref().as_raw_fd(), Shutdown::Write);
                false
            }
            Sent::Close => return,
        };
        if !goes_on && let Some(ended) = ended.take() {
            let _ = ended.send(());
        }
    }
}

/// Gives the client what comes from the socket, until both directions have ended.
async fn to_channel(
    socket: &Socket,
    to_client: &ChannelWriteHalf<Msg>,
    other: oneshot::Receiver<()>,
    traffic: &Traffic,
) {
    let mut room = BytesMut::new();
    loop {
        match socket.read(&mut room).await {
            Ok(0) => break,
            Ok(length) => {
                if to_client.data_bytes(room.split()).await.is_err() {
                    return;
                }
                traffic.sent(length);
            }
            Err(_) => return,
        }
    }
    let _ = to_client.eof().await;
    let _ = other.await;
}

/// A stream socket. Whether it blocks is not for the process that opened it to say.
struct Socket(AsyncFd<OwnedFd>);

impl Socket {
    async fn read(&self, room: &mut BytesMut) -> io::Result<usize> {
        let read = |fd: &OwnedFd| {
            let flags = libc::MSG_DONTWAIT;
            // SAFETY: recv(2) fills at most as many bytes as it is told, and says how many.
            let filled = unsafe {
                fill(room, READ_BYTES, |free| {
                    libc::recv(fd.as_raw_fd(), free.cast(), READ_BYTES, flags)
                })
            };
            Ok(filled?)
        };
        self.0.async_io(Interest::READABLE, read).await
    }

    async fn write_all(&self, pieces: &[Bytes]) -> io::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            let send = |fd: &OwnedFd| {
                let to: Option<&SockaddrStorage> = None;
                Ok(sendmsg(fd.as_raw_fd(), rest, &[], flags, to)?)
            };
            let written = self.0.async_io(Interest::WRITABLE, send).await?;
            IoSlice::advance_slices(&mut rest, written);
        }
        Ok(())
    }
}
