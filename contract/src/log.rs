//! Lines for the journal, from processes that nobody may hold up.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};

/// Writes one line to standard error; control characters become `?`, so that no name that a
/// client chose can forge a second line. Nobody waits for a journal that does not read: the line
/// is lost then.
pub fn line(text: &str) {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() && c != '\n' { '?' } else { c })
        .collect();
    write_now(std::io::stderr().as_fd(), format!("{clean}\n").as_bytes());
}

/// To a socket as it can take it, to anything else when it says that it can.
fn write_now(log: BorrowedFd<'_>, line: &[u8]) {
    let never_waits = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    if send(log.as_raw_fd(), line, never_waits) != Err(Errno::ENOTSOCK) {
        return;
    }
    let mut ready = [PollFd::new(log, PollFlags::POLLOUT)];
    let _ = poll(&mut ready, PollTimeout::ZERO);
    if ready[0].any() == Some(true) {
        let _ = nix::unistd::write(log, line);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_journal_that_does_not_read_holds_nobody_up() {
        let (mut journal, log) = UnixStream::pair().expect("a pair");
        let line = [b'x'; 4096];
        for _ in 0..1000 {
            write_now(log.as_fd(), &line);
        }
        let (reader, writer) = nix::unistd::pipe().expect("a pipe");
        for _ in 0..1000 {
            write_now(writer.as_fd(), &line);
        }
        drop((reader, log));
        let mut kept = Vec::new();
        journal.read_to_end(&mut kept).expect("reads");
        assert!(kept.len() >= line.len(), "what there was room for is kept");
    }
}
