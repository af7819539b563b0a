//! Which addresses a new node gets.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;
use meshd_contract::address::{MESH_V4, MESH_V6, MeshAddresses};

/// Parts of the range that other software on a node's host may use itself.
const RESERVED: [Ipv4Net; 2] = [
    // ChromeOS gives these to its virtual machines.
    Ipv4Net::new_assert(Ipv4Addr::new(100, 115, 92, 0), 23),
    // Tailscale answers DNS on 100.100.100.100.
    Ipv4Net::new_assert(Ipv4Addr::new(100, 100, 100, 0), 24),
];

/// How many addresses the IPv4 range has.
const SIZE: u32 = 1 << (32 - MESH_V4.prefix_len());

/// A place in the pool: the distance from the start of the IPv4 range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(pub(crate) u32);

impl Slot {
    /// The two addresses of this place. The IPv6 address carries the same distance.
    pub(crate) fn addresses(self) -> MeshAddresses {
        let v4 = Ipv4Addr::from(u32::from(MESH_V4.network()) + self.0);
        let v6 = Ipv6Addr::from(u128::from(MESH_V6.network()) + u128::from(self.0));
        MeshAddresses { v4, v6 }
    }

    /// The place after this one; after the last comes the first.
    pub(crate) fn next(self) -> Self {
        Self((self.0 + 1) % SIZE)
    }

    /// Whether a node may have it: not the range's first or last address, and not reserved.
    fn is_usable(self) -> bool {
        let v4 = self.addresses().v4;
        let is_edge = self.0 == 0 || self.0 == SIZE - 1;
        !is_edge && !RESERVED.iter().any(|net| net.contains(&v4))
    }
}

/// The places that a node may have, from `start` on, once around the whole range.
///
/// Going on from the last one given, instead of from the beginning, keeps an address from being
/// given again soon after its node is gone.
pub(crate) fn candidates(start: Slot) -> impl Iterator<Item = Slot> {
    let start = start.0 % SIZE;
    (start..SIZE)
        .chain(0..start)
        .map(Slot)
        .filter(|slot| slot.is_usable())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(start: Slot) -> String {
        let slot = candidates(start).next().expect("a place");
        slot.addresses().v4.to_string()
    }

    fn at(address: [u8; 4]) -> Slot {
        Slot(u32::from(Ipv4Addr::from(address)) - u32::from(MESH_V4.network()))
    }

    #[test]
    fn the_first_node_gets_the_first_usable_addresses() {
        let slot = candidates(Slot(0)).next().expect("a place");
        assert_eq!(slot.addresses().v4.to_string(), "100.64.0.1");
        assert_eq!(slot.addresses().v6.to_string(), "fd7a:115c:a1e0::1");
    }

    #[test]
    fn reserved_ranges_are_left_out() {
        assert_eq!(first(at([100, 115, 91, 255]).next()), "100.115.94.0");
        assert_eq!(first(at([100, 100, 99, 255]).next()), "100.100.101.0");
    }

    #[test]
    fn the_search_goes_around_the_end_and_ends() {
        assert_eq!(first(Slot(SIZE - 1)), "100.64.0.1");
        let reserved = 2 + 512 + 256;
        let places = candidates(Slot(5)).count();
        assert_eq!(u32::try_from(places), Ok(SIZE - reserved));
    }
}
