//! Which network rules permit a packet.

use std::net::IpAddr;

use meshd_contract::filter::PortRange;

use crate::compile::Compiled;
use crate::model::Origin;
use crate::ports;

/// The first packet of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    /// 0 where the protocol has none.
    pub(crate) port: u16,
}

/// How far a rule is from permitting a packet; every field true means that it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fit {
    pub(crate) source: bool,
    pub(crate) destination: bool,
    pub(crate) protocol: bool,
    pub(crate) port: bool,
}

impl Fit {
    pub(crate) fn permits(self) -> bool {
        self.lacks() == 0
    }

    pub(crate) fn lacks(self) -> usize {
        [self.source, self.destination, self.protocol, self.port]
            .iter()
            .filter(|fits| !**fits)
            .count()
    }
}

impl Compiled {
    /// The first rule that permits the packet.
    pub(crate) fn permitting_rule(&self, packet: &Packet) -> Option<Origin> {
        self.network_fits(packet)
            .find(|(_, fit)| fit.permits())
            .map(|(origin, _)| origin)
    }
}

/// Whether a protocol list, empty for "not named", holds a protocol.
pub(crate) fn protocols_include(protocols: &[u8], protocol: u8) -> bool {
    if protocols.is_empty() {
        ports::UNNAMED.contains(&protocol)
    } else {
        protocols.contains(&protocol)
    }
}

pub(crate) fn ports_include(ranges: &[PortRange], port: u16) -> bool {
    ranges.iter().any(|range| range.contains(port))
}
