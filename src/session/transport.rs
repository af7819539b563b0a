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
pub(super) const IDENTIFICATION: &str = concat!("SSH-2.0-meshd_", env!("CARGO_PKG_VERSION"));

/// A client that acknowledges nothing for this long is gone (tcp(7), TCP_USER_TIMEOUT).
const UNACKNOWLEDGED: Duration = Duration::from_secs(120);

/// While the key exchange runs, the client sends small pieces and waits for the acknowledgement
/// of each (Nagle); a delayed one costs 40 ms. What follows is bulk.
const QUICK_BYTES: usize = 64 << 10;

/// Halves the system calls of an upload; more gains nothing.
const READ_BUFFER: usize = 64 << 10;

/// Sets the socket up.
///
/// # Errors
/// The kernel's, for a socket that is none of TCP.
pub(super) fn prepare(connection: &OwnedFd) -> io::Result<()> {
    setsockopt(connection, sockopt::TcpNoDelay, &true)?;
    let timeout = u32::try_from(UNACKNOWLEDGED.as_millis()).unwrap_or(u32::MAX);
    setsockopt(connection, sockopt::TcpUserTimeout, &timeout)?;
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
