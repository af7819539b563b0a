//! The mesh's network device: its addresses, routes and MTU, over rtnetlink.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use meshd_contract::address::{MESH_V4, MESH_V6, MeshAddresses, is_mesh_address};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use nix::libc;
use rtnetlink::{LinkUnspec, RouteMessageBuilder};

use super::error::Error;

mod lacks;
mod underlay;

/// What a network device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The kernel's WireGuard.
    WireGuard,
    /// A TUN (or TAP) device.
    Tun,
    /// Anything else.
    Other,
}

/// A network device that is there.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// What it is.
    pub kind: Kind,
    /// Whether it is up.
    pub is_up: bool,
    mtu: u32,
    usable: bool,
}

/// The kernel's links, addresses and routes.
#[derive(Clone)]
pub struct Links {
    handle: rtnetlink::Handle,
}

impl Links {
    /// Opens a netlink socket, which a task of the current runtime serves.
    ///
    /// # Errors
    /// [`Error::Network`] when the kernel gives no socket.
    pub fn connect() -> Result<Self, Error> {
        let (connection, handle, _) = rtnetlink::new_connection()
            .map_err(|error| Error::network("opening a netlink socket", error))?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// The device of this name.
    ///
    /// # Errors
    /// [`Error::Network`]; not for one that is not there.
    pub async fn find(&self, device: &str) -> Result<Option<Link>, Error> {
        let mut found = self.handle.link().get().match_name(device).execute();
        match found.try_next().await {
            Ok(message) => Ok(message.as_ref().map(described)),
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => {
                Ok(None)
            }
            Err(error) => Err(fault(format!("looking for {device}"), &error)),
        }
    }

    /// Creates a WireGuard device, down; with this number, where one is given and free.
    ///
    /// # Errors
    /// [`Error::NoKernelWireGuard`] or [`Error::Network`].
    pub async fn add_wireguard(&self, device: &str, index: Option<u32>) -> Result<(), Error> {
        let mut message = rtnetlink::LinkWireguard::new(device).build();
        if let Some(index) = index {
            message.header.index = index;
            let added = self.handle.link().add(message.clone()).execute().await;
            if added.is_ok() {
                return Ok(());
            }
            message.header.index = 0;
        }
        match self.handle.link().add(message).execute().await {
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::EOPNOTSUPP => {
                Err(Error::NoKernelWireGuard)
            }
            Err(error) => Err(fault(format!("creating the device {device}"), &error)),
            Ok(()) => Ok(()),
        }
    }

    /// Deletes a device; one that is not there is no error.
    ///
    /// # Errors
    /// [`Error::Network`].
    pub async fn delete(&self, device: &str) -> Result<(), Error> {
        let Some(link) = self.find(device).await? else {
            return Ok(());
        };
        let deleted = self.handle.link().del(link.index).execute().await;
        deleted.map_err(|error| fault(format!("deleting the device {device}"), &error))
    }

    /// Brings the device up with this MTU, in bytes.
    ///
    /// # Errors
    /// [`Error::Network`].
    pub async fn bring_up(&self, device: &str, mtu: u32) -> Result<(), Error> {
        let link = self.existing(device).await?;
        let up = LinkUnspec::new_with_index(link.index).mtu(mtu).up().build();
        let set = self.handle.link().set(up).execute().await;
        set.map_err(|error| fault(format!("bringing {device} up"), &error))
    }

    /// Takes the device down, so that no packet passes; one that is not there is no error.
    ///
    /// # Errors
    /// [`Error::Network`].
    pub async fn close(&self, device: &str) -> Result<(), Error> {
        let Some(link) = self.find(device).await? else {
            return Ok(());
        };
        let down = LinkUnspec::new_with_index(link.index).down().build();
        let set = self.handle.link().set(down).execute().await;
        set.map_err(|error| fault(format!("taking {device} down"), &error))
    }

    /// Gives the device, which is up, its addresses and routes; what is right already stays as
    /// it is. Returns the device's number.
    ///
    /// # Errors
    /// [`Error::Network`].
    pub async fn configure(&self, device: &str, addresses: &MeshAddresses) -> Result<u32, Error> {
        let link = self.existing(device).await?;
        self.replace_addresses(device, link.index, addresses)
            .await?;
        self.add_routes(device, link.index, addresses).await?;
        Ok(link.index)
    }

    /// Those of this node's addresses that the device, which is there, can have: where IPv6 is off,
    /// as with `ipv6.disable=1` or `disable_ipv6`, the mesh does without.
    #[must_use]
    pub fn possible(device: &str, addresses: &MeshAddresses) -> Vec<IpAddr> {
        let switch = format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6");
        let has_ipv6 = std::fs::read_to_string(switch).is_ok_and(|text| text.trim() == "0");
        let mut possible = addresses.both().to_vec();
        possible.retain(|address| has_ipv6 || address.is_ipv4());
        possible
    }

    async fn existing(&self, device: &str) -> Result<Link, Error> {
        let found = self.find(device).await?;
        found.ok_or_else(|| Error::network(format!("setting up {device}"), "it is not there"))
    }

    async fn replace_addresses(
        &self,
        device: &str,
        index: u32,
        addresses: &MeshAddresses,
    ) -> Result<(), Error> {
        for message in self.addresses().await? {
            let Some(address) = address_of(&message) else {
                continue;
            };
            let stale = is_mesh_address(address) && !addresses.contains(address);
            if message.header.index == index && stale {
                let deleted = self.handle.address().del(message).execute().await;
                deleted.map_err(|error| fault(format!("removing {address}"), &error))?;
            }
        }
        for address in Self::possible(device, addresses) {
            let length = if address.is_ipv4() { 32 } else { 128 };
            let request = self.handle.address().add(index, address, length).replace();
            let added = request.execute().await;
            added
                .map_err(|error| fault(format!("giving {device} the address {address}"), &error))?;
        }
        Ok(())
    }

    async fn add_routes(
        &self,
        device: &str,
        index: u32,
        addresses: &MeshAddresses,
    ) -> Result<(), Error> {
        let v4 = RouteMessageBuilder::<std::net::Ipv4Addr>::new()
            .destination_prefix(MESH_V4.network(), MESH_V4.prefix_len())
            .output_interface(index)
            .scope(netlink_packet_route::route::RouteScope::Link)
            .build();
        let v6 = RouteMessageBuilder::<std::net::Ipv6Addr>::new()
            .destination_prefix(MESH_V6.network(), MESH_V6.prefix_len())
            .output_interface(index)
            .build();
        let count = Self::possible(device, addresses).len();
        for route in [v4, v6].into_iter().take(count) {
            let added = self.handle.route().add(route).replace().execute().await;
            added.map_err(|error| fault(format!("routing the mesh through {device}"), &error))?;
        }
        Ok(())
    }

    /// Whether the device has an address of a mesh, as one that the manager made has.
    ///
    /// # Errors
    /// [`Error::Network`].
    pub async fn has_mesh_address(&self, link: &Link) -> Result<bool, Error> {
        let all = self.addresses().await?;
        let own = all
            .iter()
            .filter(|message| message.header.index == link.index);
        Ok(own.filter_map(address_of).any(is_mesh_address))
    }

    async fn addresses(&self) -> Result<Vec<AddressMessage>, Error> {
        let all = self.handle.address().get().execute().try_collect().await;
        all.map_err(|error| fault("listing the addresses", &error))
    }
}

fn described(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        kind: Kind::Other,
        is_up: message.header.flags.contains(LinkFlags::Up),
        mtu: 0,
        usable: message.header.flags.contains(LinkFlags::Up)
            && !message.header.flags.contains(LinkFlags::Loopback),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(InfoKind::Wireguard) => link.kind = Kind::WireGuard,
                        LinkInfo::Kind(InfoKind::Tun) => link.kind = Kind::Tun,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    link
}

fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    // On a point-to-point device ADDRESS is the other end, LOCAL this one (rtnetlink(7)).
    let local = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
    local.or_else(|| {
        message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            })
    })
}

fn fault(step: impl Into<String>, error: &rtnetlink::Error) -> Error {
    let reason = match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io().to_string(),
        other => other.to_string(),
    };
    Error::network(step, reason)
}
