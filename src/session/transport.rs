//! The TCP connection under SSH.

use std::io;
use std::net::TcpStream as StdStream;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf};
use tokio::net::TcpStream;

/// The server's identification, without the end of the line.
///
/// OpenSSH's client says that it takes no more output (eow@openssh.com) only to servers whose name
/// begins with its own; without it, `ssh host yes | head -1` never ends.
pub(super) const IDENTIFICATION: &str =
    concat!("SSH-2.0-OpenSSH_meshd_", env!("CARGO_PKG_VERSION"));

/// While the key exchange runs, the client sends small pieces and waits for the acknowledgement
/// of each (Nagle); a delayed one costs 40 ms. What follows is bulk.
const QUICK_BYTES: usize = 64 << 10;

/// Halves the system calls of an upload; more gains nothing.
const READ_BUFFER: usize = 64 << 10;

/// How long a refused client may take to close its side.
const LINGER: Duration = Duration::from_secs(2);

/// Sets the socket up.
///
/// Who is gone without a word is noticed as sshd does it by default: by TCP, with the times that
/// the host's administrator has set (tcp(7): some two hours in silence, a quarter of an hour with
/// something unacknowledged, `tcp_retries2`). A laptop that sleeps for less keeps its sessions.
/// Who wants to know sooner asks (`client_alive_interval`), which also counts while something is
/// unacknowledged. TCP_USER_TIMEOUT is not set: it would end the silence as well, by a second
/// time that nobody has configured.
///
/// # Errors
/// The kernel's, for a socket that is none of TCP.
pub(super) fn prepare(connection: &OwnedFd) -> io::Result<()> {
    setsockopt(connection, sockopt::TcpNoDelay, &true)?;
    setsockopt(connection, sockopt::KeepAlive, &true)?;
    nix::fcntl::fcntl(
        connection,
        nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
    )?;
    Ok(())
}

/// Sends our identification and waits for the beginning of the client's, which decides about the
/// algorithms that are offered; it stays in the socket for the SSH engine.
///
/// # Errors
/// The kernel's.
pub(super) async fn identify(connection: OwnedFd) -> io::Result<(Transport, Vec<u8>)> {
    let mut stream = TcpStream::from_std(StdStream::from(connection))?;
    stream
        .write_all(format!("{IDENTIFICATION}\r\n").as_bytes())
        .await?;
    let mut beginning = [0; 64];
    let length = stream.peek(&mut beginning).await?;
    let quick = QuickStream {
        stream,
        quick: QUICK_BYTES,
        sent: IDENTIFICATION.len() + 2,
    };
    let client = beginning.get(..length).unwrap_or_default().to_vec();
    Ok((BufReader::with_capacity(READ_BUFFER, quick), client))
}

/// Sends our identification and the reason why nothing follows it, before any key exchange.
///
/// # Errors
/// The kernel's.
pub(super) async fn refuse(connection: OwnedFd, reason: &str) -> io::Result<()> {
    let mut stream = TcpStream::from_std(StdStream::from(connection))?;
    let mut greeting = format!("{IDENTIFICATION}\r\n").into_bytes();
    greeting.extend(disconnect(reason));
    stream.write_all(&greeting).await?;
    stream.shutdown().await?;
    // Closed with something unread, the connection would be reset, and the reason lost.
    let mut nowhere = tokio::io::sink();
    let rest = tokio::io::copy(&mut stream, &mut nowhere);
    let _ = tokio::time::timeout(LINGER, rest).await;
    Ok(())
}

/// SSH_MSG_DISCONNECT without encryption (RFC 4253, sections 6 and 11.1).
fn disconnect(reason: &str) -> Vec<u8> {
    const MESSAGE: u8 = 1;
    const KEY_EXCHANGE_FAILED: u32 = 3;
    const BLOCK: usize = 8;
    let mut payload = vec![MESSAGE];
    payload.extend(KEY_EXCHANGE_FAILED.to_be_bytes());
    for text in [reason, ""] {
        payload.extend((text.len() as u32).to_be_bytes());
        payload.extend(text.as_bytes());
    }
    // Length, padding length, payload and at least four bytes of padding fill whole blocks.
    let padding = BLOCK + 4 - (5 + payload.len() + 4 - 1) % BLOCK - 1;
    let mut packet = ((1 + payload.len() + padding) as u32)
        .to_be_bytes()
        .to_vec();
    packet.push(padding as u8);
    packet.extend(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

/// What the SSH engine reads from and writes to.
pub(super) type Transport = BufReader<QuickStream>;

/// A TCP stream that acknowledges its first bytes at once.
pub(super) struct QuickStream {
    stream: TcpStream,
    /// Bytes that are still acknowledged at once.
    quick: usize,
    /// Bytes of the identification, which the engine writes and [`identify`] has sent.
    sent: usize,
}

impl AsyncRead for QuickStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if self.quick > 0 {
            self.quick = self.quick.saturating_sub(buffer.filled().len() - before);
            // The kernel falls back to delayed ones by itself, so this is asked for again.
            let _ = self.stream.set_quickack(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for QuickStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.sent > 0 {
            let skipped = self.sent.min(bytes.len());
            self.sent -= skipped;
            return Poll::Ready(Ok(skipped));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_fills_whole_blocks() {
        for length in 0..32 {
            let packet = disconnect(&"x".repeat(length));
            assert_eq!(packet.len() % 8, 0);
            assert!((4..16).contains(&packet[4]), "padding {}", packet[4]);
        }
    }
}
