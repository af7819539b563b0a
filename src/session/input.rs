//! What a client sends to a program or to a socket, several messages at a time.

use bytes::Bytes;
use futures_util::FutureExt;
use russh::{ChannelMsg, ChannelReadHalf};

/// One write takes so many pieces at most; together with the largest packet this bounds what has
/// left the channel's window and is not written yet.
const PIECES: usize = 16;

/// What a client has sent.
pub(super) enum Sent {
    /// In its order, and not empty.
    Data(Vec<Bytes>),
    /// No more data comes.
    Eof,
    /// The channel is over.
    Close,
}

/// The reading side of a channel.
pub(super) struct Input {
    channel: ChannelReadHalf,
    /// Came behind data that was returned first.
    held: Option<Sent>,
}

impl Input {
    pub(super) fn new(channel: ChannelReadHalf) -> Self {
        Self {
            channel,
            held: None,
        }
    }

    /// What has come, or comes next: one system call for many packets. None when the connection is
    /// over.
    pub(super) async fn next(&mut self) -> Option<Sent> {
        if let Some(held) = self.held.take() {
            return Some(held);
        }
        let mut message = self.channel.wait().await?;
        let mut pieces = Vec::new();
        loop {
            let end = match message {
                ChannelMsg::Data { data } => {
                    pieces.push(data);
                    None
                }
                ChannelMsg::Eof => Some(Sent::Eof),
                ChannelMsg::Close => Some(Sent::Close),
                _ => None,
            };
            if end.is_some() && pieces.is_empty() {
                return end;
            }
            if end.is_some() || pieces.len() == PIECES {
                self.held = end;
                return Some(Sent::Data(pieces));
            }
            message = match self.channel.wait().now_or_never() {
                Some(Some(message)) => message,
                Some(None) | None if !pieces.is_empty() => return Some(Sent::Data(pieces)),
                Some(None) => return None,
                None => self.channel.wait().await?,
            };
        }
    }
}

/// How many bytes there are.
pub(super) fn length(pieces: &[Bytes]) -> usize {
    pieces.iter().map(Bytes::len).sum()
}
