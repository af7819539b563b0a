//! Which public key the kernel's WireGuard has bound an address to.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the attributes of the kernel are open-ended"
)]

use std::net::IpAddr;

use libc::{ENODEV, ENOENT, EOPNOTSUPP};
use meshd_contract::key::WireGuardKey;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_packet_generic::GenlMessage;
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_wireguard::{
    WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute, WireguardCmd, WireguardMessage,
    WireguardPeer, WireguardPeerAttribute,
};
use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use thiserror::Error;

/// How long the kernel may take for an answer, in seconds.
const ANSWER_SECONDS: i64 = 10;

/// What the kernel says of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// The device is no kernel WireGuard.
    NotKernel,
    /// The device is, and no peer has that address alone.
    Unbound,
    /// Packets from this address were encrypted with this key.
    Key(WireGuardKey),
}

/// Why the kernel could not be asked.
#[derive(Debug, Error)]
pub enum WireGuardError {
    /// The netlink socket failed.
    #[error("cannot ask the kernel for its WireGuard peers: {0}")]
    Socket(#[from] std::io::Error),
    /// The kernel's answer has another form.
    #[error("the kernel's answer about WireGuard peers cannot be read: {0}")]
    Answer(String),
}

/// The key that `device` has bound exactly `address` to (cryptokey routing,
/// <https://www.wireguard.com/papers/wireguard.pdf>, section 2).
///
/// # Errors
/// [`WireGuardError`] when the kernel does not answer as genetlink(7) has it.
pub fn binding(device: &str, address: IpAddr) -> Result<Binding, WireGuardError> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    let patience = TimeVal::new(ANSWER_SECONDS, 0);
    setsockopt(&socket, sockopt::ReceiveTimeout, &patience).map_err(std::io::Error::from)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let Some(family) = family_id(&socket)? else {
        return Ok(Binding::NotKernel);
    };
    let Some(peers) = peers(&socket, family, device)? else {
        return Ok(Binding::NotKernel);
    };
    let mut owners = peers.into_iter().filter(|peer| has_address(peer, address));
    let key = owners.next().and_then(|peer| public_key(&peer));
    match (key, owners.next()) {
        (Some(key), None) => Ok(Binding::Key(key)),
        _ => Ok(Binding::Unbound),
    }
}

fn family_id(socket: &Socket) -> Result<Option<u16>, WireGuardError> {
    let request = GenlCtrl {
        cmd: GenlCtrlCmd::GetFamily,
        nlas: vec![GenlCtrlAttrs::FamilyName("wireguard".to_owned())],
    };
    let mut message = NetlinkMessage::from(GenlMessage::from_payload(request));
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    let answers: Answers<GenlCtrl> = exchange(socket, message)?;
    let Some(answers) = answers else {
        return Ok(None);
    };
    let attributes = answers.into_iter().flat_map(|answer| answer.nlas);
    Ok(attributes
        .into_iter()
        .find_map(|attribute| match attribute {
            GenlCtrlAttrs::FamilyId(id) => Some(id),
            _ => None,
        }))
}

/// All peers; one that needs more than one message comes in several parts, each with its key.
fn peers(
    socket: &Socket,
    family: u16,
    device: &str,
) -> Result<Option<Vec<WireguardPeer>>, WireGuardError> {
    let request = WireguardMessage {
        cmd: WireguardCmd::GetDevice,
        attributes: vec![WireguardAttribute::IfName(device.to_owned())],
    };
    let mut payload = GenlMessage::from_payload(request);
    payload.set_resolved_family_id(family);
    let mut message = NetlinkMessage::from(payload);
    message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let answers: Answers<WireguardMessage> = exchange(socket, message)?;
    Ok(answers.map(|answers| {
        let attributes = answers.into_iter().flat_map(|answer| answer.attributes);
        attributes
            .filter_map(|attribute| match attribute {
                WireguardAttribute::Peers(peers) => Some(peers),
                _ => None,
            })
            .flatten()
            .collect()
    }))
}

/// None when the kernel knows no such family, device, or WireGuard device.
type Answers<F> = Option<Vec<F>>;

fn exchange<F>(
    socket: &Socket,
    mut message: NetlinkMessage<GenlMessage<F>>,
) -> Result<Answers<F>, WireGuardError>
where
    F: std::fmt::Debug + PartialEq + Eq + Clone,
    GenlMessage<F>: NetlinkSerializable + NetlinkDeserializable,
    <GenlMessage<F> as NetlinkDeserializable>::Error: std::fmt::Display,
{
    let unreadable = |error: &dyn std::fmt::Display| WireGuardError::Answer(error.to_string());
    message.finalize();
    let mut packet = vec![0; message.buffer_len()];
    message.serialize(&mut packet);
    socket.send(&packet, 0)?;
    let mut answers = Vec::new();
    loop {
        let (packet, _) = socket.recv_from_full()?;
        let mut rest = packet.as_slice();
        while !rest.is_empty() {
            let answer = NetlinkMessage::<GenlMessage<F>>::deserialize(rest)
                .map_err(|error| unreadable(&error))?;
            let length = (answer.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            match answer.payload {
                NetlinkPayload::InnerMessage(inner) => answers.push(inner.payload),
                NetlinkPayload::Done(_) => return Ok(Some(answers)),
                NetlinkPayload::Error(error) => {
                    return match error.code.map(|code| -code.get()) {
                        None => Ok(Some(answers)),
                        Some(ENOENT | ENODEV | EOPNOTSUPP) => Ok(None),
                        Some(errno) => Err(std::io::Error::from_raw_os_error(errno).into()),
                    };
                }
                _ => return Err(WireGuardError::Answer("an unexpected message".to_owned())),
            }
        }
    }
}

fn public_key(peer: &WireguardPeer) -> Option<WireGuardKey> {
    peer.0.iter().find_map(|attribute| match attribute {
        WireguardPeerAttribute::PublicKey(key) => Some(WireGuardKey(*key)),
        _ => None,
    })
}

fn has_address(peer: &WireguardPeer, address: IpAddr) -> bool {
    let full = if address.is_ipv4() { 32 } else { 128 };
    peer.0.iter().any(|attribute| match attribute {
        WireguardPeerAttribute::AllowedIps(ips) => {
            ips.iter().any(|ip| allowed(ip) == (Some(address), full))
        }
        _ => false,
    })
}

fn allowed(ip: &WireguardAllowedIp) -> (Option<IpAddr>, u8) {
    let mut found = (None, 0);
    for attribute in &ip.0 {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(address) => found.0 = Some(*address),
            WireguardAllowedIpAttr::Cidr(length) => found.1 = *length,
            _ => {}
        }
    }
    found
}
