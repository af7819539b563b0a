//! What the kernel tells at once: that somebody has changed devices, addresses, routes or rules.
//!
//! What was changed, and whether it matters, is looked up afterwards: a notice can be lost, and the
//! manager's own changes are among them.

use std::io;
use std::net::IpAddr;

use meshd_contract::address::{MESH_V4, MESH_V6};
use netlink_sys::Socket;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::libc;
use tokio::io::unix::AsyncFd;

use super::error::Error;
use super::netlink::{self, Message, attribute, messages, text};
use super::ruleset;
use super::socket::netlink_readiness;

/// The groups of rtnetlink(7) that are listened to.
const ROUTE_GROUPS: [u32; 5] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_ROUTE,
];
/// NFNLGRP_NFTABLES (linux/include/uapi/linux/netfilter/nfnetlink.h).
const NFTABLES_GROUP: u32 = 7;
/// Notices that may wait, in bytes; more are lost, and then everything is looked up.
const WAITING_BYTES: usize = 1 << 20;

/// The lengths of struct ifinfomsg and struct rtmsg, in bytes.
const LINK_FIXED_BYTES: usize = 16;
const ROUTE_FIXED_BYTES: usize = 12;
const GENERATION_PROCESS: u16 = 2;
const GENERATION_NAME: u16 = 3;

/// What may have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// The mesh's device, its addresses or routes.
    pub device: bool,
    /// The table `inet meshd`.
    pub rules: bool,
    /// Other devices, their addresses, or the way out.
    pub underlay: bool,
    /// Which program has changed the table last, as far as the kernel knows.
    pub by: Option<String>,
}

impl Touched {
    fn everything() -> Self {
        Self {
            device: true,
            rules: true,
            underlay: true,
            by: None,
        }
    }

    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// The kernel's notices.
pub struct KernelEvents {
    route: AsyncFd<Socket>,
    nftables: AsyncFd<Socket>,
    device: String,
}

impl KernelEvents {
    /// Begins to listen; the device may not be there yet.
    ///
    /// # Errors
    /// [`Error::Network`] when the kernel gives no socket.
    pub fn open(device: &str) -> Result<Self, Error> {
        let fault = |error| Error::network("listening to the kernel's notices", error);
        let route = listener(NETLINK_ROUTE, &ROUTE_GROUPS).map_err(fault)?;
        let nftables = listener(NETLINK_NETFILTER, &[NFTABLES_GROUP]).map_err(fault)?;
        Ok(Self {
            route,
            nftables,
            device: device.to_owned(),
        })
    }

    /// Waits until something has changed that may matter; `index` is the device's number.
    ///
    /// Nothing is lost when this is dropped while it waits.
    pub async fn next(&mut self, index: Option<u32>) -> Touched {
        loop {
            tokio::select! {
                ready = self.route.readable() => clear(ready),
                ready = self.nftables.readable() => clear(ready),
            }
            let mut touched = Touched::default();
            drain(self.route.get_ref(), &mut touched, |message, touched| {
                note_route(message, &self.device, index, touched);
            });
            drain(self.nftables.get_ref(), &mut touched, note_rules);
            if !touched.is_nothing() {
                return touched;
            }
        }
    }
}

fn listener(protocol: isize, groups: &[u32]) -> io::Result<AsyncFd<Socket>> {
    let socket = netlink::socket(protocol)?;
    socket.set_rx_buf_sz(WAITING_BYTES)?;
    for group in groups {
        socket.add_membership(*group)?;
    }
    netlink_readiness(socket)
}

/// Both sockets are read to their end next, so that the next notice counts as new.
fn clear(ready: io::Result<tokio::io::unix::AsyncFdReadyGuard<'_, Socket>>) {
    if let Ok(mut ready) = ready {
        ready.clear_ready();
    }
}

fn drain(socket: &Socket, touched: &mut Touched, mut note: impl FnMut(&Message<'_>, &mut Touched)) {
    loop {
        match netlink::receive(socket) {
            Ok(bytes) => messages(&bytes).for_each(|message| note(&message, touched)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // ENOBUFS: there was more than fitted.
            Err(error) => {
                tracing::debug!(%error, "notices of the kernel are lost");
                *touched = Touched::everything();
                return;
            }
        }
    }
}

fn note_route(message: &Message<'_>, device: &str, index: Option<u32>, touched: &mut Touched) {
    let is_own = match message.kind {
        libc::RTM_NEWLINK | libc::RTM_DELLINK => {
            let name = attribute(message.payload, LINK_FIXED_BYTES, libc::IFLA_IFNAME);
            number(message.payload, 4) == index || name.is_some_and(|name| text(&name) == device)
        }
        libc::RTM_NEWADDR | libc::RTM_DELADDR => number(message.payload, 4) == index,
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
            let is_own = is_mesh_route(message.payload) || leads_through(message.payload, index);
            // Of other routes only the way out matters.
            if !is_own && message.payload.get(1) != Some(&0) {
                return;
            }
            is_own
        }
        _ => return,
    };
    if is_own {
        touched.device = true;
    } else {
        touched.underlay = true;
    }
}

fn note_rules(message: &Message<'_>, touched: &mut Touched) {
    if !ruleset::is_nftables(message) {
        return;
    }
    if message.kind == ruleset::NEW_GENERATION {
        if touched.rules && touched.by.is_none() {
            touched.by = process(message.payload);
        }
    } else if ruleset::is_ours(message.payload) {
        touched.rules = true;
        touched.by = None;
    }
}

/// `NAME (process NUMBER)`.
fn process(payload: &[u8]) -> Option<String> {
    let value = |kind| attribute(payload, ruleset::FIXED_BYTES, kind);
    let name = text(&value(GENERATION_NAME)?);
    let number = value(GENERATION_PROCESS)?;
    let number = u32::from_be_bytes(*number.first_chunk()?);
    Some(format!("{name} (process {number})"))
}

/// A whole mesh network as destination: whoever replaces our route sends no word of its end.
fn is_mesh_route(payload: &[u8]) -> bool {
    let destination = attribute(payload, ROUTE_FIXED_BYTES, libc::RTA_DST);
    let networks = [
        (IpAddr::V4(MESH_V4.network()), MESH_V4.prefix_len()),
        (IpAddr::V6(MESH_V6.network()), MESH_V6.prefix_len()),
    ];
    networks.into_iter().any(|(network, length)| {
        let bytes = match network {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        payload.get(1) == Some(&length) && destination.as_ref() == Some(&bytes)
    })
}

fn leads_through(payload: &[u8], index: Option<u32>) -> bool {
    let device = attribute(payload, ROUTE_FIXED_BYTES, libc::RTA_OIF);
    let device = device.as_deref().and_then(|device| number(device, 0));
    device.is_some() && device == index
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touched(kind: u16, fixed: &[u8], name: Option<(u16, &str)>) -> Touched {
        let bytes = netlink::request(kind, 0, fixed, name);
        let mut touched = Touched::default();
        for message in messages(&bytes) {
            note_route(&message, "mesh0", Some(7), &mut touched);
            note_rules(&message, &mut touched);
        }
        touched
    }

    fn with_index(bytes: usize, index: u32) -> Vec<u8> {
        let mut fixed = vec![0; bytes];
        fixed[4..8].copy_from_slice(&index.to_ne_bytes());
        fixed
    }

    #[test]
    fn the_meshs_device_is_told_from_others() {
        let by_name = touched(
            libc::RTM_NEWLINK,
            &with_index(LINK_FIXED_BYTES, 9),
            Some((libc::IFLA_IFNAME, "mesh0")),
        );
        assert!(by_name.device && !by_name.underlay);
        let address = touched(libc::RTM_DELADDR, &with_index(8, 7), None);
        assert!(address.device && !address.underlay);
        let other = touched(libc::RTM_DELADDR, &with_index(8, 2), None);
        assert!(!other.device && other.underlay);
    }

    #[test]
    fn of_other_routes_only_the_way_out_matters() {
        let mut route = [0; ROUTE_FIXED_BYTES];
        assert!(touched(libc::RTM_NEWROUTE, &route, None).underlay);
        route[1] = 24;
        assert!(touched(libc::RTM_NEWROUTE, &route, None).is_nothing());
    }

    #[test]
    fn rules_of_another_table_do_not_matter() {
        let inet = [1, 0, 0, 0];
        let rule = |table| touched(10 << 8 | 8, &inet, Some((ruleset::TABLE_NAME, table)));
        assert!(rule("meshd").rules);
        assert!(rule("filter").is_nothing());
    }
}
