//! Names, looked up in a process of its own, which can be left and ended: the C library's look-up
//! takes the time it takes.

use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};

use nix::fcntl::{F_SETFL, OFlag, fcntl};

/// More addresses than anybody waits for.
const MOST_ADDRESSES: usize = 16;

/// The longest answer that is read, in bytes.
const MOST_BYTES: usize = 8192;

/// What comes before the system's words in an error of the standard library.
const PREFIX: &str = "failed to lookup address information: ";

/// Answers one question, `HOST` and `PORT` on two lines, with lines: addresses, or `!` and words.
pub(crate) fn answer() -> ExitCode {
    let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
    let (Some(host), Some(Ok(port))) = (lines.next(), lines.next().map(|port| port.parse())) else {
        return ExitCode::FAILURE;
    };
    let text = look_up(&host, port);
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn look_up(host: &str, port: u16) -> String {
    match (host, port).to_socket_addrs() {
        Ok(addresses) => addresses
            .take(MOST_ADDRESSES)
            .map(|address| format!("{address}\n"))
            .collect(),
        Err(error) => {
            let words = error.to_string();
            format!("!{}\n", words.strip_prefix(PREFIX).unwrap_or(&words))
        }
    }
}

/// A look-up under way; it ends with this value.
pub(crate) struct Lookup {
    child: Child,
    output: ChildStdout,
    answer: Vec<u8>,
}

impl Lookup {
    /// Begins to look a name up.
    pub(crate) fn start(host: &str, port: u16) -> std::io::Result<Self> {
        if host.contains('\n') {
            return Err(std::io::Error::other("Name or service not known"));
        }
        // This program, also after an upgrade has put another one in its place.
        let mut child = Command::new("/proc/self/exe")
            .arg0("meshd-helper")
            .arg("resolve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        // Shorter than a pipe is, so this does not wait.
        if let Some(mut question) = child.stdin.take() {
            let _ = question.write_all(format!("{host}\n{port}\n").as_bytes());
        }
        let taken = child.stdout.take();
        let output = taken.ok_or_else(|| std::io::Error::other("no output"))?;
        fcntl(&output, F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self {
            child,
            output,
            answer: Vec::new(),
        })
    }

    /// Becomes readable when there is more of the answer.
    pub(crate) fn source(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    /// Reads on; at the end the addresses, or the system's words.
    pub(crate) fn read(&mut self) -> Option<Result<Vec<SocketAddr>, String>> {
        let mut buffer = [0; 1024];
        loop {
            match self.output.read(&mut buffer) {
                Ok(0) => return Some(understand(&self.answer)),
                Ok(length) => {
                    let read = buffer.get(..length).unwrap_or_default();
                    self.answer.extend_from_slice(read);
                    if self.answer.len() > MOST_BYTES {
                        return Some(Err("too many addresses".to_owned()));
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Some(Err(error.to_string())),
            }
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn understand(answer: &[u8]) -> Result<Vec<SocketAddr>, String> {
    let text = String::from_utf8_lossy(answer);
    if let Some(words) = text.strip_prefix('!') {
        return Err(words.trim_end().to_owned());
    }
    let addresses: Vec<SocketAddr> = text.lines().filter_map(|line| line.parse().ok()).collect();
    if addresses.is_empty() {
        return Err("the name could not be looked up".to_owned());
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_addresses_or_words() {
        let text = look_up("127.0.0.1", 80);
        assert_eq!(text, "127.0.0.1:80\n");
        let loopback = understand(text.as_bytes()).expect("addresses");
        assert_eq!(loopback, ["127.0.0.1:80".parse().expect("an address")]);
        assert_eq!(
            understand(b"!Name or service not known\n"),
            Err("Name or service not known".to_owned())
        );
        assert!(understand(b"").is_err());
    }

    #[test]
    fn every_kind_of_address_survives_the_pipe() {
        for address in ["10.0.0.1:1", "[fd00::1]:65535", "[fe80::1%2]:22"] {
            let parsed: SocketAddr = address.parse().expect("an address");
            assert_eq!(
                understand(format!("{parsed}\n").as_bytes()),
                Ok(vec![parsed])
            );
        }
    }
}
