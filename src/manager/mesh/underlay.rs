//! The mesh and the networks below it.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use ipnet::IpNet;
use meshd_contract::address::is_mesh_address;

use super::Mesh;
use crate::manager::error::Error;
use crate::manager::link::Links;
use crate::manager::options::Options;
use crate::manager::wireguard::diff::WantedPeer;

/// The most peers that are greeted when the mesh comes up, or comes back.
const MAX_GREETINGS: usize = 64;
/// The discard protocol's port (RFC 863).
const DISCARD: u16 = 9;

impl Mesh {
    /// Where this host can be reached.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn underlay(&self) -> Result<Vec<IpAddr>, Error> {
        self.links.underlay_addresses(&self.options.device).await
    }

    /// Sends a packet to each peer, which makes WireGuard shake hands with it.
    ///
    /// A peer that still holds the session of an earlier device, or of a time before the device was
    /// down, sends into the void until it has waited for 15 seconds. What it lets in does not
    /// matter: its own WireGuard has answered by then.
    pub(super) fn greet(&self) {
        let Ok(socket) = UdpSocket::bind((self.addresses.v4, 0)) else {
            return;
        };
        let peers = self.wanted.iter();
        let reachable = peers.filter(|peer| !peer.endpoints.is_empty());
        let own = |peer: &WantedPeer| {
            let mut addresses = peer.allowed_ips.iter().map(IpNet::addr);
            addresses.find(|address| is_mesh_address(*address))
        };
        for address in reachable.filter_map(own).take(MAX_GREETINGS) {
            // One that does not go out costs the peer its 15 seconds, and nothing else.
            let _ = socket.send_to(b"", (address, DISCARD));
        }
    }

    /// Gives the device the MTU that the ways to its peers leave room for by now.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn fit_mtu(&mut self) -> Result<(), Error> {
        let mtu = mtu(&self.options, &self.links, &self.wanted).await?;
        if mtu != self.mtu && !self.is_closed {
            self.links.bring_up(&self.options.device, mtu).await?;
            tracing::info!(
                before = self.mtu,
                mtu,
                "the tunnel's MTU follows the underlay"
            );
            self.mtu = mtu;
        }
        Ok(())
    }
}

/// The MTU that root has set, or that the ways to these peers leave room for.
pub(super) async fn mtu(
    options: &Options,
    links: &Links,
    peers: &[WantedPeer],
) -> Result<u32, Error> {
    let endpoints = peers.iter().flat_map(|peer| &peer.endpoints);
    let addresses = endpoints.map(SocketAddr::ip);
    match options.mtu {
        Some(mtu) => Ok(mtu),
        None => links.tunnel_mtu(&options.device, addresses).await,
    }
}
