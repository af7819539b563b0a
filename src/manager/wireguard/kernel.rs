//! The kernel's WireGuard, over generic netlink (linux/include/uapi/linux/wireguard.h).

use std::net::IpAddr;

use futures_util::StreamExt;
use futures_util::future::{self, BoxFuture};
use genetlink::{GenetlinkError, GenetlinkHandle};
use ipnet::IpNet;
use meshd_contract::key::WireGuardKey;
use meshd_contract::time::Timestamp;
use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_generic::GenlMessage;
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute,
    WireguardCmd, WireguardMessage, WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags,
};

use super::diff::Change;
use super::{PeerState, Peers, Settings, WireGuard};
use crate::manager::error::Error;
use crate::manager::link::Links;

/// The most bytes of peers in one message: one nested attribute holds 64 KiB.
const MAX_MESSAGE_BYTES: usize = 32 << 10;
/// The most allowed addresses in one message's entry of a peer; the rest follows in another.
const MAX_ALLOWED_IPS: usize = 400;

/// A WireGuard device of the kernel.
pub struct Kernel {
    socket: GenetlinkHandle,
    links: Links,
    device: String,
    /// What it was opened with, and whether the device still has that; none for one that was only
    /// adopted.
    settings: Option<Settings>,
    is_ours: bool,
}

/// Whether the kernel has WireGuard; asking for the family loads the module where there is one.
pub async fn is_available() -> bool {
    match connect() {
        Ok(socket) => socket.resolve_family::<WireguardMessage>().await.is_ok(),
        Err(_) => false,
    }
}

fn connect() -> Result<GenetlinkHandle, Error> {
    let (connection, handle, _) = genetlink::new_connection()
        .map_err(|error| Error::network("opening a netlink socket", error))?;
    tokio::spawn(connection);
    Ok(handle)
}

impl Kernel {
    /// Creates the device, or adopts the one of that name.
    ///
    /// # Errors
    /// [`Error`]; a device that this call created is gone again then.
    pub async fn open(settings: &Settings, links: &Links) -> Result<Self, Error> {
        let mut kernel = Self::adopt(&settings.device, links)?;
        let is_new = links.find(&settings.device).await?.is_none();
        if is_new {
            links
                .add_wireguard(&settings.device, settings.index)
                .await?;
        }
        match kernel.set_up(settings).await {
            Ok(()) => {
                kernel.settings = Some(settings.clone());
                Ok(kernel)
            }
            Err(error) if is_new => {
                links.delete(&settings.device).await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// The device of that name as it is.
    ///
    /// # Errors
    /// [`Error::Network`] when the kernel gives no socket.
    pub fn adopt(device: &str, links: &Links) -> Result<Self, Error> {
        Ok(Self {
            socket: connect()?,
            links: links.clone(),
            device: device.to_owned(),
            settings: None,
            is_ours: true,
        })
    }

    async fn set_up(&mut self, settings: &Settings) -> Result<(), Error> {
        self.set_identity(settings).await?;
        self.links
            .bring_up(&self.device, settings.mtu)
            .await
            .map_err(|error| port_error(error, settings))
    }

    /// Sets key and port only where they differ: setting the key ends every session.
    async fn set_identity(&mut self, settings: &Settings) -> Result<(), Error> {
        let (key, port) = self.identity().await?;
        let mut attributes = Vec::new();
        if key != Some(settings.key.wireguard_public()) {
            let secret = settings.key.wireguard_secret().to_bytes();
            attributes.push(WireguardAttribute::PrivateKey(secret));
        }
        if port != Some(settings.port) {
            attributes.push(WireguardAttribute::ListenPort(settings.port));
        }
        if attributes.is_empty() {
            return Ok(());
        }
        self.set(attributes)
            .await
            .map_err(|error| port_error(error, settings))
    }

    async fn identity(&mut self) -> Result<Identity, Error> {
        Ok(identity(&self.get().await?))
    }

    async fn set(&mut self, attributes: Vec<WireguardAttribute>) -> Result<(), Error> {
        let message = self.message(WireguardCmd::SetDevice, attributes);
        self.request(message, NLM_F_REQUEST | NLM_F_ACK).await?;
        Ok(())
    }

    async fn get(&mut self) -> Result<Vec<WireguardAttribute>, Error> {
        let message = self.message(WireguardCmd::GetDevice, Vec::new());
        self.request(message, NLM_F_REQUEST | NLM_F_DUMP).await
    }

    fn message(&self, cmd: WireguardCmd, attributes: Vec<WireguardAttribute>) -> WireguardMessage {
        let mut all = vec![WireguardAttribute::IfName(self.device.clone())];
        all.extend(attributes);
        WireguardMessage {
            cmd,
            attributes: all,
        }
    }

    async fn request(
        &mut self,
        message: WireguardMessage,
        flags: u16,
    ) -> Result<Vec<WireguardAttribute>, Error> {
        let fault = |error: GenetlinkError| Error::network("setting up WireGuard", error);
        let mut packet = NetlinkMessage::from(GenlMessage::from_payload(message));
        packet.header.flags = flags;
        let mut answers = self.socket.request(packet).await.map_err(fault)?;
        let mut attributes = Vec::new();
        while let Some(answer) = answers.next().await {
            let answer = answer.map_err(|error| Error::network("setting up WireGuard", error))?;
            match answer.payload {
                NetlinkPayload::InnerMessage(inner) => attributes.extend(inner.payload.attributes),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(Error::network("setting up WireGuard", error.to_io()));
                }
                _ => {}
            }
        }
        Ok(attributes)
    }

    async fn dump_peers(&mut self) -> Result<Peers, Error> {
        let mut peers = Peers::new();
        let attributes = self.get().await?;
        if let Some(settings) = &self.settings {
            let wanted = (Some(settings.key.wireguard_public()), Some(settings.port));
            self.is_ours = identity(&attributes) == wanted;
        }
        for attribute in attributes {
            if let WireguardAttribute::Peers(parts) = attribute {
                parts.into_iter().for_each(|part| merge(&mut peers, part));
            }
        }
        peers.values_mut().for_each(|peer| peer.allowed_ips.sort());
        Ok(peers)
    }

    async fn restore_identity(&mut self) -> Result<(), Error> {
        let Some(settings) = self.settings.clone() else {
            return Ok(());
        };
        self.set_identity(&settings).await?;
        self.is_ours = true;
        Ok(())
    }

    async fn apply_all(&mut self, changes: Vec<Change>) -> Result<(), Error> {
        for batch in batches(changes.into_iter().flat_map(entries)) {
            self.set(vec![WireguardAttribute::Peers(batch)]).await?;
        }
        Ok(())
    }

    async fn remove_all(mut self) -> Result<(), Error> {
        if self.links.find(&self.device).await?.is_none() {
            return Ok(());
        }
        let keys: Vec<WireGuardKey> = self.dump_peers().await?.into_keys().collect();
        let removals = keys.into_iter().map(|key| Change::Remove { key }).collect();
        self.apply_all(removals).await?;
        self.links.delete(&self.device).await
    }
}

impl WireGuard for Kernel {
    fn kind(&self) -> &'static str {
        "kernel"
    }

    fn dump(&mut self) -> BoxFuture<'_, Result<Peers, Error>> {
        Box::pin(self.dump_peers())
    }

    fn apply(&mut self, changes: Vec<Change>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.apply_all(changes))
    }

    fn is_ours(&self) -> bool {
        self.is_ours
    }

    fn restore(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.restore_identity())
    }

    fn remove(self: Box<Self>) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(self.remove_all())
    }

    fn release(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(future::ready(()))
    }

    fn failed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(future::pending())
    }
}

/// A device's key and port.
type Identity = (Option<WireGuardKey>, Option<u16>);

fn identity(attributes: &[WireguardAttribute]) -> Identity {
    let (mut key, mut port) = (None, None);
    for attribute in attributes {
        match attribute {
            WireguardAttribute::PublicKey(bytes) => key = Some(WireGuardKey(*bytes)),
            WireguardAttribute::ListenPort(number) => port = Some(*number),
            _ => {}
        }
    }
    (key, port)
}

fn port_error(error: Error, settings: &Settings) -> Error {
    let in_use = std::io::Error::from_raw_os_error(nix::libc::EADDRINUSE).to_string();
    match error {
        Error::Network { reason, .. } if reason == in_use => Error::PortInUse(settings.port),
        other => other,
    }
}

/// Adds what one message says of a peer; a peer with many addresses comes in several.
fn merge(peers: &mut Peers, part: WireguardPeer) {
    let key = part.0.iter().find_map(|attribute| match attribute {
        WireguardPeerAttribute::PublicKey(key) => Some(WireGuardKey(*key)),
        _ => None,
    });
    let Some(key) = key else { return };
    let peer: &mut PeerState = peers.entry(key).or_default();
    for attribute in part.0 {
        match attribute {
            WireguardPeerAttribute::Endpoint(endpoint) => peer.endpoint = Some(endpoint),
            WireguardPeerAttribute::RxBytes(bytes) => peer.received = bytes,
            WireguardPeerAttribute::TxBytes(bytes) => peer.sent = bytes,
            WireguardPeerAttribute::LastHandshake(time) => {
                let seconds = u64::try_from(time.seconds).unwrap_or(0);
                peer.last_handshake = (seconds != 0).then_some(Timestamp(seconds));
            }
            WireguardPeerAttribute::AllowedIps(ips) => {
                peer.allowed_ips.extend(ips.iter().filter_map(network));
            }
            _ => {}
        }
    }
}

fn network(allowed: &WireguardAllowedIp) -> Option<IpNet> {
    let (mut address, mut length) = (None, None);
    for attribute in &allowed.0 {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(ip) => address = Some(*ip),
            WireguardAllowedIpAttr::Cidr(bits) => length = Some(*bits),
            _ => {}
        }
    }
    IpNet::new(address?, length?).ok()
}

/// The entries of one change; more than one where a peer has more addresses than a message holds.
fn entries(change: Change) -> Vec<WireguardPeer> {
    type Attribute = WireguardPeerAttribute;
    match change {
        Change::Remove { key } => vec![WireguardPeer(vec![
            Attribute::PublicKey(key.0),
            Attribute::Flags(WireguardPeerFlags::RemoveMe),
        ])],
        Change::Add {
            key,
            allowed_ips,
            endpoint,
        } => {
            let flags = WireguardPeerFlags::ReplaceAllowedIps;
            peer_entries(key, flags, endpoint.map(Attribute::Endpoint), &allowed_ips)
        }
        Change::Update {
            key,
            allowed_ips,
            endpoint,
        } => {
            let mut flags = WireguardPeerFlags::UpdateOnly;
            if allowed_ips.is_some() {
                flags |= WireguardPeerFlags::ReplaceAllowedIps;
            }
            let ips = allowed_ips.unwrap_or_default();
            peer_entries(key, flags, endpoint.map(Attribute::Endpoint), &ips)
        }
    }
}

fn peer_entries(
    key: WireGuardKey,
    flags: WireguardPeerFlags,
    endpoint: Option<WireguardPeerAttribute>,
    allowed_ips: &[IpNet],
) -> Vec<WireguardPeer> {
    let mut chunks = allowed_ips.chunks(MAX_ALLOWED_IPS);
    let mut first = vec![
        WireguardPeerAttribute::PublicKey(key.0),
        WireguardPeerAttribute::Flags(flags),
    ];
    first.extend(endpoint);
    first.extend(chunks.next().map(allowed_ips_attribute));
    let rest = chunks.map(|chunk| {
        WireguardPeer(vec![
            WireguardPeerAttribute::PublicKey(key.0),
            WireguardPeerAttribute::Flags(WireguardPeerFlags::UpdateOnly),
            allowed_ips_attribute(chunk),
        ])
    });
    std::iter::once(WireguardPeer(first)).chain(rest).collect()
}

fn allowed_ips_attribute(networks: &[IpNet]) -> WireguardPeerAttribute {
    let entry = |network: &IpNet| {
        let address = network.addr();
        let family = match address {
            IpAddr::V4(_) => WireguardAddressFamily::Ipv4,
            IpAddr::V6(_) => WireguardAddressFamily::Ipv6,
        };
        WireguardAllowedIp(vec![
            WireguardAllowedIpAttr::Family(family),
            WireguardAllowedIpAttr::IpAddr(address),
            WireguardAllowedIpAttr::Cidr(network.prefix_len()),
        ])
    };
    WireguardPeerAttribute::AllowedIps(networks.iter().map(entry).collect())
}

/// As few messages as hold all entries, in order.
fn batches(entries: impl Iterator<Item = WireguardPeer>) -> Vec<Vec<WireguardPeer>> {
    let mut batches = Vec::new();
    let mut bytes = usize::MAX;
    for entry in entries {
        let length = entry.0.as_slice().buffer_len() + 4;
        if bytes.saturating_add(length) > MAX_MESSAGE_BYTES {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += length;
        if let Some(batch) = batches.last_mut() {
            batch.push(entry);
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(count: u16) -> Vec<IpNet> {
        let net = |n: u16| {
            let [high, low] = n.to_be_bytes();
            IpNet::from(IpAddr::from([100, 64, high, low]))
        };
        (0..count).map(net).collect()
    }

    fn add(n: u8, ips: u16) -> Change {
        Change::Add {
            key: WireGuardKey([n; 32]),
            allowed_ips: networks(ips),
            endpoint: None,
        }
    }

    #[test]
    fn what_is_sent_is_what_a_dump_shows() {
        let mut peers = Peers::new();
        for entry in entries(add(1, 1000)) {
            merge(&mut peers, entry);
        }
        assert_eq!(peers.len(), 1);
        assert_eq!(peers[&WireGuardKey([1; 32])].allowed_ips, networks(1000));
    }

    #[test]
    fn only_the_first_part_of_a_peer_replaces_its_addresses() {
        let parts = entries(add(1, 1000));
        assert_eq!(parts.len(), 3);
        let flags = |part: &WireguardPeer| {
            part.0.iter().find_map(|attribute| match attribute {
                WireguardPeerAttribute::Flags(flags) => Some(*flags),
                _ => None,
            })
        };
        assert_eq!(
            flags(&parts[0]),
            Some(WireguardPeerFlags::ReplaceAllowedIps)
        );
        assert_eq!(flags(&parts[1]), Some(WireguardPeerFlags::UpdateOnly));
        assert_eq!(flags(&parts[2]), Some(WireguardPeerFlags::UpdateOnly));
    }

    #[test]
    fn messages_stay_below_the_limit_of_an_attribute() {
        let changes = (0..200).map(|n| add(n, 100));
        let batches = batches(changes.flat_map(entries));
        assert!(batches.len() > 1);
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 200);
        for batch in batches {
            let bytes: usize = batch
                .iter()
                .map(|entry| entry.0.as_slice().buffer_len())
                .sum();
            assert!(bytes <= MAX_MESSAGE_BYTES, "{bytes}");
        }
    }

    #[test]
    fn an_update_never_creates_a_peer() {
        let parts = entries(Change::Update {
            key: WireGuardKey([1; 32]),
            allowed_ips: None,
            endpoint: Some(([192, 0, 2, 1], 1).into()),
        });
        let update_only = WireguardPeerAttribute::Flags(WireguardPeerFlags::UpdateOnly);
        assert!(parts[0].0.contains(&update_only));
    }
}
