//! What a channel sends to the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use meshd_contract::broker::ExitStatus;
use russh::ChannelWriteHalf;
use russh::server::{Handle, Msg};
use tokio::time::{sleep, timeout};

use super::exit::signal_name;
use super::pipe::Pipe;
use super::traffic::Traffic;

/// SSH_EXTENDED_DATA_STDERR (RFC 4254, section 5.2).
const STDERR: u32 = 1;

/// One read; larger ones cost fewer system calls than they save copies.
const READ_BYTES: usize = 128 << 10;

/// How long a client may take to say that it has read something, and to show it then.
const READ: Duration = Duration::from_millis(500);
const SHOWN: Duration = Duration::from_millis(20);

/// Waits until the client has shown what it was sent: OpenSSH's leaves over some messages at once,
/// without what it has read in the same moment but not shown.
pub(super) async fn shown(handle: &Handle) {
    let _ = timeout(READ, handle.ping()).await;
    sleep(SHOWN).await;
}

/// Which of a program's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// Standard output, and everything of a terminal.
    Output,
    /// Standard error.
    Error,
}

/// The writing side of a channel. A client that is gone is no error here: the connection's end is
/// noticed where it is read.
pub(super) struct Output {
    channel: ChannelWriteHalf<Msg>,
    handle: Handle,
    traffic: Arc<Traffic>,
    terminal: AtomicBool,
    ended: AtomicBool,
}

impl Output {
    pub(super) fn new(
        channel: ChannelWriteHalf<Msg>,
        handle: Handle,
        traffic: Arc<Traffic>,
    ) -> Self {
        Self {
            channel,
            handle,
            traffic,
            terminal: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    /// From now on, lines end as a terminal in raw mode needs it.
    pub(super) fn has_terminal(&self) {
        self.terminal.store(true, Ordering::Relaxed);
    }

    /// Answers a request.
    pub(super) async fn reply(&self, wanted: bool, success: bool) {
        if wanted {
            let _ = self.handle.channel_reply(self.channel.id(), success).await;
        }
    }

    /// Sends all that comes from `pipe`, to its end.
    pub(super) async fn pump(&self, pipe: &Pipe, stream: Stream) {
        let mut room = BytesMut::new();
        while let Ok(1..) = pipe.read(&mut room, READ_BYTES).await {
            if !self.send(stream, room.split().freeze()).await {
                return;
            }
        }
    }

    /// Shows a text of ours.
    pub(super) async fn text(&self, stream: Stream, text: &[u8]) {
        let terminal = self.terminal.load(Ordering::Relaxed);
        self.send(stream, with_line_ends(text, terminal).into())
            .await;
    }

    /// Shows a text of ours before something that may end the client.
    pub(super) async fn last_text(&self, stream: Stream, text: &[u8]) {
        self.text(stream, text).await;
        shown(&self.handle).await;
    }

    /// Tells how the program ended.
    pub(super) async fn exit(&self, status: ExitStatus) {
        let id = self.channel.id();
        let _ = match status {
            ExitStatus::Code(code) => self.handle.exit_status_request(id, code.into()).await,
            ExitStatus::Signal { number, core } => {
                let (message, language) = (String::new(), String::new());
                self.handle
                    .exit_signal_request(id, signal_name(number), core, message, language)
                    .await
            }
        };
    }

    /// No more output comes. The client is told once.
    pub(super) async fn end(&self) {
        if !self.ended.swap(true, Ordering::Relaxed) {
            let _ = self.channel.eof().await;
        }
    }

    /// The channel is over.
    pub(super) async fn close(&self) {
        let _ = self.channel.close().await;
    }

    async fn send(&self, stream: Stream, bytes: Bytes) -> bool {
        let length = bytes.len();
        let sent = match stream {
            Stream::Output => self.channel.data_bytes(bytes).await,
            Stream::Error => self.channel.extended_data_bytes(STDERR, bytes).await,
        };
        if sent.is_ok() {
            self.traffic.sent(length);
        }
        sent.is_ok()
    }
}

fn with_line_ends(text: &[u8], terminal: bool) -> Vec<u8> {
    let mut lines = Vec::with_capacity(text.len());
    let mut last = 0;
    for &byte in text {
        if terminal && byte == b'\n' && last != b'\r' {
            lines.push(b'\r');
        }
        lines.push(byte);
        last = byte;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_carriage_returns_once() {
        assert_eq!(with_line_ends(b"a\nb\r\n", true), b"a\r\nb\r\n");
        assert_eq!(with_line_ends(b"a\nb\r\n", false), b"a\nb\r\n");
    }
}
