//! The kernel's audit trail: one USER_LOGIN record for each login and for each denial, as sshd
//! writes them (audit(8), AUDIT_USER_LOGIN). The records of account, credentials and session are
//! PAM's own.

use std::io;
use std::net::IpAddr;

use libc::{EAFNOSUPPORT, ECONNREFUSED, EINVAL, EPROTONOSUPPORT};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};
use netlink_sys::protocols::NETLINK_AUDIT;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use thiserror::Error;

/// Which account was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account<'a> {
    /// One that exists.
    Id(u32),
    /// What the client sent.
    Named(&'a [u8]),
}

/// One attempt to log in.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    /// Whose.
    pub account: Account<'a>,
    /// From where.
    pub address: IpAddr,
    /// The terminal's path, or `ssh` without one.
    pub terminal: &'a str,
    /// Whether it was let in.
    pub success: bool,
}

const USER_LOGIN: u16 = 1112;
const HEADER_BYTES: usize = 16;
const ANSWER_SECONDS: i64 = 5;

/// Why there is no record.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The kernel has an audit trail, and does not let this process near it.
    #[error("the kernel's audit trail cannot be opened: {0}")]
    Open(io::Error),
    /// The record was not taken.
    #[error("the kernel's audit trail took no record of a login: {0}")]
    Send(io::Error),
}

/// Writes the record, and waits until the kernel has taken it.
///
/// # Errors
/// [`AuditError`]. A kernel without audit, or a container that may not write to it, is no error.
pub fn record(login: &Login<'_>) -> Result<(), AuditError> {
    let absent = |error: &io::Error| {
        matches!(
            error.raw_os_error(),
            Some(EINVAL | EPROTONOSUPPORT | EAFNOSUPPORT | ECONNREFUSED)
        )
    };
    let socket = match Socket::new(NETLINK_AUDIT) {
        Ok(socket) => socket,
        Err(error) if absent(&error) => return Ok(()),
        Err(error) => return Err(AuditError::Open(error)),
    };
    match send(socket, &text(login)) {
        Err(error) if !absent(&error) => Err(AuditError::Send(error)),
        _ => Ok(()),
    }
}

fn send(mut socket: Socket, text: &str) -> io::Result<()> {
    setsockopt(
        &socket,
        sockopt::ReceiveTimeout,
        &TimeVal::new(ANSWER_SECONDS, 0),
    )?;
    socket.bind_auto()?;
    socket.send_to(&packet(text), &SocketAddr::new(0, 0), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    // The acknowledgement is a header and the error's number (netlink(7)).
    let errno = answer
        .get(HEADER_BYTES..HEADER_BYTES + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, i32::from_ne_bytes);
    if errno == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(-errno))
    }
}

/// A netlink message with a text that ends in a zero byte.
fn packet(text: &str) -> Vec<u8> {
    let length = HEADER_BYTES + text.len() + 1;
    let mut packet = Vec::with_capacity(length);
    packet.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    packet.extend_from_slice(&USER_LOGIN.to_ne_bytes());
    packet.extend_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    packet.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    packet.extend_from_slice(text.as_bytes());
    packet.push(0);
    packet
}

fn text(login: &Login<'_>) -> String {
    let account = match login.account {
        Account::Id(uid) => format!("id={uid}"),
        Account::Named(name) => format!("acct={}", encoded(name)),
    };
    let program = std::env::current_exe().unwrap_or_default();
    let result = if login.success { "success" } else { "failed" };
    format!(
        "op=login {account} exe={} hostname=? addr={} terminal={} res={result}",
        encoded(program.as_os_str().as_encoded_bytes()),
        login.address,
        login.terminal,
    )
}

/// In quotes, or in hexadecimal digits if a byte could end the quotes or the line, as all
/// untrusted fields of audit records are.
fn encoded(value: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'"';
    if value.iter().all(plain) {
        format!("\"{}\"", String::from_utf8_lossy(value))
    } else {
        value.iter().map(|byte| format!("{byte:02X}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_a_field() {
        let login = Login {
            account: Account::Named(b"x\" res=success"),
            address: [100, 64, 0, 2].into(),
            terminal: "ssh",
            success: false,
        };
        let text = text(&login);
        assert!(
            text.starts_with("op=login acct=78222072657"),
            "hexadecimal: {text}"
        );
        assert!(text.ends_with("hostname=? addr=100.64.0.2 terminal=ssh res=failed"));
    }

    #[test]
    fn the_packet_says_its_length() {
        let packet = packet("op=login");
        assert_eq!(packet.len(), 25);
        assert_eq!(packet[..4], 25u32.to_ne_bytes());
        assert_eq!(packet[4..6], 1112u16.to_ne_bytes());
    }
}
