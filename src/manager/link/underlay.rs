//! The networks that the mesh's packets travel over.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use futures_util::TryStreamExt;
use netlink_packet_route::address::AddressScope;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteMetric};
use rtnetlink::RouteMessageBuilder;

use super::{Link, Links, address_of, described, fault};
use crate::manager::error::Error;
use meshd_contract::address::is_mesh_address;

/// The smallest MTU that IPv6 permits (RFC 8200, section 5); every path carries it.
const LOWEST_MTU: u32 = 1280;
/// The greatest that is useful: an Ethernet frame less what WireGuard adds.
const HIGHEST_MTU: u32 = 1420;
/// WireGuard pads packets to multiples of this, in bytes, as far as the tunnel's MTU permits
/// (<https://www.wireguard.com/papers/wireguard.pdf>, section 5.4.6).
const PADDING: u32 = 16;
/// What WireGuard adds to a packet over IPv6, in bytes.
const OVERHEAD: u32 = 80;

/// The most ways to peers that are looked up: most peers lie behind the same few.
const MAX_WAYS: usize = 64;

impl Links {
    /// The MTU for a tunnel to peers at these addresses, in bytes: what the narrowest way to one of
    /// them leaves room for. Without a way to any it is the narrowest network of this host.
    ///
    /// # Errors
    /// [`Error::Network`].
    pub async fn tunnel_mtu(
        &self,
        device: &str,
        peers: impl Iterator<Item = IpAddr>,
    ) -> Result<u32, Error> {
        let own = self.find(device).await?.map(|link| link.index);
        let links = self.usable_links(own).await?;
        let mut ways = Vec::new();
        for address in one_of_each_network(peers) {
            ways.extend(self.way_mtu(address, &links).await);
        }
        if ways.is_empty() {
            ways.extend(links.iter().map(|link| link.mtu));
        }
        Ok(mtu_over(ways.into_iter()))
    }

    /// What the way to an address carries; none where there is none.
    async fn way_mtu(&self, address: IpAddr, links: &[Link]) -> Option<u32> {
        let length = if address.is_ipv4() { 32 } else { 128 };
        let builder = RouteMessageBuilder::<IpAddr>::new();
        let wish = builder.destination_prefix(address, length).ok()?.build();
        let mut answer = self.handle.route().get(wish).execute();
        let route = answer.try_next().await.ok()??;
        let index = route
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            })?;
        let link = links.iter().find(|link| link.index == index)?;
        Some(route_mtu(&route).map_or(link.mtu, |mtu| mtu.min(link.mtu)))
    }

    async fn usable_links(&self, own: Option<u32>) -> Result<Vec<Link>, Error> {
        let listed = self.handle.link().get().execute().try_collect().await;
        let links: Vec<LinkMessage> =
            listed.map_err(|error| fault("listing the network devices", &error))?;
        let links = links.iter().map(described);
        Ok(links
            .filter(|link| link.usable && Some(link.index) != own)
            .collect())
    }

    /// The addresses at which other hosts may reach this one: of devices that are up, without
    /// loopback, link-local and mesh addresses; the default route's device first.
    ///
    /// # Errors
    /// [`Error::Network`].
    pub async fn underlay_addresses(&self, device: &str) -> Result<Vec<IpAddr>, Error> {
        let own = self.find(device).await?.map(|link| link.index);
        let usable = self.usable_links(own).await?;
        let default = self.default_route_device().await?;
        let mut found: Vec<(bool, IpAddr)> = self
            .addresses()
            .await?
            .iter()
            .filter(|message| usable.iter().any(|link| link.index == message.header.index))
            .filter(|message| message.header.scope == AddressScope::Universe)
            .filter_map(|message| {
                Some((Some(message.header.index) != default, address_of(message)?))
            })
            .filter(|(_, address)| !is_mesh_address(*address))
            .collect();
        found.sort();
        found.dedup();
        Ok(found.into_iter().map(|(_, address)| address).collect())
    }

    async fn default_route_device(&self) -> Result<Option<u32>, Error> {
        let all = RouteMessageBuilder::<std::net::Ipv4Addr>::new().build();
        let mut routes = self.handle.route().get(all).execute();
        while let Some(route) = routes
            .try_next()
            .await
            .map_err(|error| fault("listing the routes", &error))?
        {
            if route.header.destination_prefix_length == 0 {
                let device = route
                    .attributes
                    .iter()
                    .find_map(|attribute| match attribute {
                        RouteAttribute::Oif(index) => Some(*index),
                        _ => None,
                    });
                return Ok(device);
            }
        }
        Ok(None)
    }
}

/// The MTU that is set for a route, or that the kernel has learned on it.
fn route_mtu(route: &RouteMessage) -> Option<u32> {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Metrics(metrics) => metrics.iter().find_map(|metric| match metric {
                RouteMetric::Mtu(mtu) => Some(*mtu),
                _ => None,
            }),
            _ => None,
        })
}

/// Networks of 256 and of 2^64 addresses are not divided further, as a rule.
fn one_of_each_network(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut seen = BTreeSet::new();
    let network = |address: &IpAddr| match address {
        IpAddr::V4(v4) => IpAddr::from((v4.to_bits() & !0xff).to_be_bytes()),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    };
    addresses
        .filter(|address| seen.insert(network(address)))
        .take(MAX_WAYS)
        .collect()
}

/// Below the usual one it is a multiple of [`PADDING`]: a peer whose own tunnel is wider pads what
/// just fits into this one, and then the way does not carry it.
fn mtu_over(underlay: impl Iterator<Item = u32>) -> u32 {
    let smallest = underlay.min().unwrap_or(0);
    match smallest.saturating_sub(OVERHEAD) {
        HIGHEST_MTU.. => HIGHEST_MTU,
        room => (room - room % PADDING).max(LOWEST_MTU),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mtu_leaves_room_for_wireguard() {
        assert_eq!(mtu_over([1500, 9000].into_iter()), 1420);
        assert_eq!(mtu_over([1400].into_iter()), 1312);
        assert_eq!(mtu_over([1499].into_iter()), 1408);
        assert_eq!(mtu_over([1300].into_iter()), 1280);
        assert_eq!(mtu_over([9000].into_iter()), 1420);
        assert_eq!(mtu_over([].into_iter()), 1280);
    }

    #[test]
    fn one_address_stands_for_its_network() {
        let addresses = [
            "192.0.2.1",
            "192.0.2.9",
            "198.51.100.1",
            "2001:db8::1",
            "2001:db8::2",
        ];
        let addresses = addresses.map(|text| text.parse().expect("an address"));
        let chosen = one_of_each_network(addresses.into_iter());
        assert_eq!(chosen, [addresses[0], addresses[2], addresses[3]]);
    }
}
