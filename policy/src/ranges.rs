//! Sets of addresses, as sorted ranges.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use meshd_contract::address::{AddressRange, MESH_V4, MESH_V6};

/// Addresses of both families: ranges that are sorted, disjoint and not adjacent, IPv4 first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

/// What no `*` source means, though it lies in the mesh's range: the addresses that ChromeOS
/// gives to its own virtual machines (100.115.92.0/23).
const CHROME_OS: (u128, u128) = (0x6473_5c00, 0x6473_5dff);

/// What the internet is not: private (RFC 1918), shared (RFC 6598) and link-local (RFC 3927).
const NOT_INTERNET: [(u128, u128); 5] = [
    (0x0a00_0000, 0x0aff_ffff),
    (0x6440_0000, 0x647f_ffff),
    (0xa9fe_0000, 0xa9fe_ffff),
    (0xac10_0000, 0xac1f_ffff),
    (0xc0a8_0000, 0xc0a8_ffff),
];

impl RangeSet {
    pub(crate) fn from_ranges(ranges: impl IntoIterator<Item = AddressRange>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in ranges {
            let numbers = (number(range.first()), number(range.last()));
            if range.first().is_ipv4() {
                v4.push(numbers);
            } else {
                v6.push(numbers);
            }
        }
        Self {
            v4: merged(v4),
            v6: merged(v6),
        }
    }

    /// Every address that a node of the mesh may have, for `*` as a source.
    pub(crate) fn mesh() -> Self {
        let all = Self::from_ranges([IpNet::V4(MESH_V4).into(), IpNet::V6(MESH_V6).into()]);
        all.minus(&Self {
            v4: vec![CHROME_OS],
            v6: Vec::new(),
        })
    }

    /// The addresses that `autogroup:internet` means: 0.0.0.0/0 without the private ranges, and
    /// 2000::/3, the global unicast addresses (RFC 4291, section 2.4).
    pub(crate) fn internet() -> Self {
        let all = Self {
            v4: vec![(0, u32::MAX.into())],
            v6: vec![(0x2000 << 112, (0x4000 << 112) - 1)],
        };
        all.minus(&Self {
            v4: NOT_INTERNET.to_vec(),
            v6: Vec::new(),
        })
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let both = |a: &[_], b: &[_]| merged([a, b].concat());
        Self {
            v4: both(&self.v4, &other.v4),
            v6: both(&self.v6, &other.v6),
        }
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        Self {
            v4: difference(&self.v4, &other.v4),
            v6: difference(&self.v6, &other.v6),
        }
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        self.minus(&self.minus(other))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.overlaps(&address.into())
    }

    /// Whether it shares an address with `range`.
    pub(crate) fn overlaps(&self, range: &AddressRange) -> bool {
        let family = if range.first().is_ipv4() {
            &self.v4
        } else {
            &self.v6
        };
        let (first, last) = (number(range.first()), number(range.last()));
        let at = family.partition_point(|(_, end)| *end < first);
        family.get(at).is_some_and(|(start, _)| *start <= last)
    }

    pub(crate) fn into_ranges(self) -> Vec<AddressRange> {
        self.ranges().collect()
    }

    pub(crate) fn ranges(&self) -> impl Iterator<Item = AddressRange> {
        let v4 = self.v4.iter().filter_map(|(a, b)| {
            let address = |n: u128| Some(IpAddr::V4(Ipv4Addr::from(u32::try_from(n).ok()?)));
            AddressRange::new(address(*a)?, address(*b)?)
        });
        let v6 = self.v6.iter().filter_map(|(a, b)| {
            AddressRange::new(Ipv6Addr::from(*a).into(), Ipv6Addr::from(*b).into())
        });
        v4.chain(v6)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

fn merged(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    // Unlike the unstable sort, this one is fast on two sorted runs, which a union is.
    ranges.sort();
    let mut result: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match result.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => result.push((first, last)),
        }
    }
    result
}

/// What of `a` is not in `b`; both sorted and disjoint.
fn difference(a: &[(u128, u128)], b: &[(u128, u128)]) -> Vec<(u128, u128)> {
    let mut result = Vec::new();
    for &(first, last) in a {
        let mut first = first;
        let mut covered = false;
        let start = b.partition_point(|(_, end)| *end < first);
        for &(hole_first, hole_last) in b[start..].iter().take_while(|hole| hole.0 <= last) {
            if first < hole_first {
                result.push((first, hole_first - 1));
            }
            if hole_last >= last {
                covered = true;
                break;
            }
            first = first.max(hole_last + 1);
        }
        if !covered {
            result.push((first, last));
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(set: &RangeSet) -> Vec<String> {
        set.ranges().map(|range| range.to_string()).collect()
    }

    #[test]
    fn the_mesh_has_a_hole_for_chrome_os() {
        assert_eq!(
            texts(&RangeSet::mesh()),
            [
                "100.64.0.0-100.115.91.255",
                "100.115.94.0-100.127.255.255",
                "fd7a:115c:a1e0::/48"
            ]
        );
    }

    #[test]
    fn the_internet_has_seven_ranges() {
        let texts = texts(&RangeSet::internet());
        assert_eq!(texts.len(), 7);
        assert_eq!(texts[0], "0.0.0.0-9.255.255.255");
        assert_eq!(texts[6], "2000::/3");
    }

    proptest! {
        #[test]
        fn set_operations_agree_with_single_addresses(
            a in proptest::collection::vec((0u8..20, 0u8..20), 0..6),
            b in proptest::collection::vec((0u8..20, 0u8..20), 0..6),
        ) {
            let set = |pairs: &[(u8, u8)]| RangeSet::from_ranges(pairs.iter().filter_map(|(a, b)| {
                AddressRange::new([10, 0, 0, *a].into(), [10, 0, 0, *b].into())
            }));
            let (a, b) = (set(&a), set(&b));
            for n in 0..20u8 {
                let address = IpAddr::from([10, 0, 0, n]);
                let (in_a, in_b) = (a.contains(address), b.contains(address));
                prop_assert_eq!(a.union(&b).contains(address), in_a || in_b);
                prop_assert_eq!(a.minus(&b).contains(address), in_a && !in_b);
                prop_assert_eq!(a.intersection(&b).contains(address), in_a && in_b);
            }
        }
    }
}
