//! Netlink sockets and messages, as far as other crates do not know their kind (netlink(7)).

use std::io;

use bytes::BytesMut;
use netlink_packet_core::{NLA_HEADER_SIZE, NetlinkBuffer, NlaBuffer, NlasIterator};
use netlink_sys::{Socket, SocketAddr};

/// Room for whatever the kernel sends at a time, in bytes; it begins a new piece before.
const BUFFER_BYTES: usize = 64 << 10;
/// Netlink pads messages and attributes to multiples of this, in bytes.
const ALIGNMENT: usize = 4;

/// A socket of a protocol (`NETLINK_ROUTE` and so on) that does not block.
///
/// # Errors
/// What the kernel says.
pub fn socket(protocol: isize) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    socket.set_non_blocking(true)?;
    Ok(socket)
}

/// What the kernel has sent next.
///
/// # Errors
/// What the kernel says; [`io::ErrorKind::WouldBlock`] when there is nothing.
pub fn receive(socket: &Socket) -> io::Result<BytesMut> {
    let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
    socket.recv(&mut buffer, 0)?;
    Ok(buffer)
}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its kind.
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// Everything after the header.
    pub payload: &'a [u8],
}

/// The messages of what was received, up to the first that is none.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(bytes).ok()?;
        let length = (message.length() as usize).next_multiple_of(ALIGNMENT);
        bytes = bytes.get(length..).unwrap_or_default();
        Some(Message {
            kind: message.message_type(),
            flags: message.flags(),
            payload: message.payload(),
        })
    })
}

/// The value of the first attribute of this kind after a fixed part of `fixed` bytes.
#[must_use]
pub fn attribute(payload: &[u8], fixed: usize, kind: u16) -> Option<Vec<u8>> {
    let attributes = payload.get(fixed..)?;
    let mut found = NlasIterator::new(attributes).map_while(Result::ok);
    let found = found.find(|attribute| attribute.kind() == kind)?;
    Some(value(&found))
}

fn value(attribute: &NlaBuffer<&[u8]>) -> Vec<u8> {
    attribute.value().to_vec()
}

/// A whole request: header, fixed part, and one attribute with a text where one is given.
#[must_use]
pub fn request(kind: u16, flags: u16, fixed: &[u8], text: Option<(u16, &str)>) -> Vec<u8> {
    const HEADER_BYTES: usize = 16;
    let mut payload = fixed.to_vec();
    if let Some((kind, text)) = text {
        // The kernel takes names with the zero byte that ends them in C.
        let length = NLA_HEADER_SIZE + text.len() + 1;
        payload.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
        payload.extend(kind.to_ne_bytes());
        payload.extend(text.as_bytes());
        payload.push(0);
        payload.resize(payload.len().next_multiple_of(ALIGNMENT), 0);
    }
    let mut message = NetlinkBuffer::new(vec![0; HEADER_BYTES]);
    let length = HEADER_BYTES + payload.len();
    message.set_length(u32::try_from(length).unwrap_or(u32::MAX));
    message.set_message_type(kind);
    message.set_flags(flags);
    let mut bytes = message.into_inner();
    bytes.extend(payload);
    bytes
}

/// A name from an attribute, without the zero byte that ends it.
#[must_use]
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&value[..end.unwrap_or(value.len())]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = request(16, 1, &[9; 4], Some((3, "mesh0")));
        bytes.extend(request(17, 2, &[8; 4], None));
        let found: Vec<_> = messages(&bytes).collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].kind, found[0].flags), (16, 1));
        let name = attribute(found[0].payload, 4, 3).expect("a name");
        assert_eq!(text(&name), "mesh0");
        assert_eq!((found[1].kind, found[1].payload), (17, &[8; 4][..]));
        assert_eq!(attribute(found[1].payload, 4, 3), None);
    }

    #[test]
    fn a_broken_piece_ends_the_messages() {
        let mut bytes = request(16, 1, &[9; 4], None);
        bytes.extend([200, 0, 0, 0, 1]);
        assert_eq!(messages(&bytes).count(), 1);
        assert_eq!(messages(&[]).count(), 0);
        assert_eq!(attribute(&[1], 4, 3), None);
    }
}
