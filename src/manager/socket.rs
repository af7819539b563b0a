//! Sockets on the mesh addresses, with the options that they need before they are bound.

#![allow(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::libc;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::unix::AsyncFd;

const BACKLOG: i32 = 128;

/// A bound UDP socket that does not block.
///
/// # Errors
/// What the kernel says.
pub fn udp(address: SocketAddr) -> io::Result<Socket> {
    let socket = unbound(address, Type::DGRAM, Protocol::UDP)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A listening TCP socket that does not block; with a device, one that takes connections only
/// from there.
///
/// # Errors
/// What the kernel says.
pub fn tcp_listener(address: SocketAddr, device: Option<&str>) -> io::Result<Socket> {
    let socket = unbound(address, Type::STREAM, Protocol::TCP)?;
    // A manager that starts again must not wait for the old one's connections to be forgotten.
    socket.set_reuse_address(true)?;
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Makes the kernel keep the SYN of each accepted connection, readable as TCP_SAVED_SYN: only a
/// socket that was accepted has one.
///
/// # Errors
/// What the kernel says.
pub fn save_syn(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and the option's value
    // points to an int of the given length (tcp(7)).
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_SAVE_SYN,
            (&raw const on).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether this is a socket as [`tcp_listener`] and [`save_syn`] make it for this address and
/// device.
#[must_use]
pub fn listens_at(descriptor: BorrowedFd<'_>, address: SocketAddr, device: &str) -> bool {
    let socket = SockRef::from(&descriptor);
    let bound = socket.local_addr().ok().and_then(|bound| bound.as_socket());
    let is_there = |found: Option<Vec<u8>>| found.is_some_and(|name| name == device.as_bytes());
    socket.is_listener().unwrap_or(false)
        && socket.r#type().is_ok_and(|kind| kind == Type::STREAM)
        && bound.is_some_and(|bound| (bound.ip(), bound.port()) == (address.ip(), address.port()))
        // A device that was made anew is another one, even under the same name.
        && socket.device().is_ok_and(is_there)
        && saves_syn(descriptor)
}

fn saves_syn(socket: BorrowedFd<'_>) -> bool {
    let mut on: libc::c_int = 0;
    let mut length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as it is borrowed, and the value points to an int
    // of the given length (tcp(7)).
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_SAVE_SYN,
            (&raw mut on).cast(),
            &raw mut length,
        )
    };
    result == 0 && on == 1
}

/// Starts to listen.
///
/// # Errors
/// What the kernel says.
pub fn listen(socket: &Socket) -> io::Result<()> {
    socket.listen(BACKLOG)
}

/// Waits for a descriptor that does not block, with the current runtime.
///
/// # Errors
/// What the kernel says.
pub fn readiness(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, and the same, from now until it is dropped, and the AsyncFd owns
    // it from here on.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}

/// The same for a netlink socket.
///
/// # Errors
/// What the kernel says.
pub fn netlink_readiness(socket: netlink_sys::Socket) -> io::Result<AsyncFd<netlink_sys::Socket>> {
    // SAFETY: the socket's descriptor is open, and the same, from now until it is dropped, and the
    // AsyncFd owns it from here on.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

fn unbound(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    // A fresh IPv6 address can be tentative for a second; binding to it would fail.
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    #[test]
    fn an_accepted_connection_has_its_syn() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = tcp_listener(any, None).expect("binds");
        save_syn(&listener).expect("sets the option");
        listen(&listener).expect("listens");
        listener.set_nonblocking(false).expect("blocks");
        let address = listener.local_addr().expect("is bound");
        let client =
            TcpStream::connect(address.as_socket().expect("an address")).expect("connects");
        let (accepted, _) = listener.accept().expect("accepts");
        assert!(saved_syn(&accepted) > 0);
        assert_eq!(saved_syn(&client.into()), 0);
    }

    #[test]
    fn a_listener_is_known_by_all_that_it_is() {
        use std::os::fd::AsFd;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = tcp_listener(any, Some("lo")).expect("binds, as root or with CAP_NET_RAW");
        let address = listener.local_addr().expect("is bound");
        let address = address.as_socket().expect("an address");
        let fits = |address, device| listens_at(listener.as_fd(), address, device);
        assert!(!fits(address, "lo"), "does not listen");
        listen(&listener).expect("listens");
        assert!(!fits(address, "lo"), "saves no SYN");
        save_syn(&listener).expect("sets the option");
        assert!(fits(address, "lo"));
        assert!(!fits(address, "mesh0"));
        assert!(!fits(any, "lo"));
    }

    fn saved_syn(socket: &Socket) -> libc::socklen_t {
        let mut buffer = [0u8; 256];
        let mut length = 256;
        // SAFETY: the buffer is as long as `length` says.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_SAVED_SYN,
                buffer.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        assert_eq!(result, 0);
        length
    }
}
