//! The mesh's own addresses and ranges of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The IPv4 range that node addresses come from (RFC 6598, shared address space).
pub const MESH_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);

/// The IPv6 range that node addresses come from (RFC 4193, unique local).
pub const MESH_V6: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, 0), 48);

/// Whether an address belongs to one of the mesh's two ranges.
#[must_use]
pub fn is_mesh_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => MESH_V4.contains(&v4),
        IpAddr::V6(v6) => MESH_V6.contains(&v6),
    }
}

/// The two addresses of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MeshAddresses {
    /// From [`MESH_V4`].
    pub v4: Ipv4Addr,
    /// From [`MESH_V6`].
    pub v6: Ipv6Addr,
}

impl MeshAddresses {
    /// Whether `address` is one of the two; an IPv4-mapped IPv6 address counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => v4 == self.v4,
            IpAddr::V6(v6) => v6 == self.v6,
        }
    }

    /// Both addresses, IPv4 first.
    #[must_use]
    pub fn both(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

/// All addresses from `first` to `last`, both included, of one family.
///
/// Written as an address, a CIDR prefix where the range is one, or `first-last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

/// Why a text is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no address, prefix (10.0.0.0/8) or range (10.0.0.1-10.0.0.9)")]
pub struct AddressRangeError(String);

impl AddressRange {
    /// The range from `first` to `last`; none if the families differ or the order is wrong.
    #[must_use]
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(Self { first, last })
    }

    /// The lowest address.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// The highest address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        self.last
    }

    /// Whether `address` lies in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && self.first <= address && address <= self.last
    }

    /// Whether the two ranges share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first.is_ipv4() == other.first.is_ipv4()
            && self.first <= other.last
            && other.first <= self.last
    }

    fn as_prefix(&self) -> Option<IpNet> {
        let bits = if self.first.is_ipv4() { 32 } else { 128 };
        (0..=bits).find_map(|length| {
            let net = IpNet::new(self.first, length).ok()?;
            (net.network() == self.first && net.broadcast() == self.last).then_some(net)
        })
    }
}

impl From<IpAddr> for AddressRange {
    fn from(address: IpAddr) -> Self {
        Self {
            first: address,
            last: address,
        }
    }
}

impl From<IpNet> for AddressRange {
    fn from(net: IpNet) -> Self {
        Self {
            first: net.network(),
            last: net.broadcast(),
        }
    }
}

impl FromStr for AddressRange {
    type Err = AddressRangeError;

    fn from_str(text: &str) -> Result<Self, AddressRangeError> {
        let bad = || AddressRangeError(text.to_owned());
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(net.into());
        }
        let (first, last) = text.split_once('-').ok_or_else(bad)?;
        let first = first.parse().map_err(|_| bad())?;
        let last = last.parse().map_err(|_| bad())?;
        Self::new(first, last).ok_or_else(bad)
    }
}

impl TryFrom<String> for AddressRange {
    type Error = AddressRangeError;

    fn try_from(text: String) -> Result<Self, AddressRangeError> {
        text.parse()
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        match self.as_prefix() {
            Some(net) => write!(f, "{net}"),
            None => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_as_briefly_as_they_allow() {
        for text in [
            "100.64.0.1",
            "100.64.0.0/10",
            "10.0.0.1-10.0.0.9",
            "fd7a:115c:a1e0::/48",
        ] {
            assert_eq!(
                text.parse::<AddressRange>().map(|r| r.to_string()),
                Ok(text.to_owned())
            );
        }
    }

    #[test]
    fn a_range_keeps_to_its_family_and_order() {
        for text in ["10.0.0.9-10.0.0.1", "10.0.0.1-::1", "10.0.0.0/33", "x"] {
            assert!(text.parse::<AddressRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn mapped_addresses_count_as_ipv4() {
        let addresses = MeshAddresses {
            v4: Ipv4Addr::new(100, 64, 0, 1),
            v6: Ipv6Addr::new(0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, 1),
        };
        assert!(addresses.contains(IpAddr::V6(addresses.v4.to_ipv6_mapped())));
    }
}
