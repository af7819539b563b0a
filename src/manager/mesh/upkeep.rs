//! What somebody else has taken away from the mesh, and how it is put back.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use meshd_contract::time::Timestamp;

use super::{Mesh, diff, wireguard};
use crate::manager::error::Error;
use crate::manager::firewall::{FAMILY, TABLE};
use crate::manager::kernel_events::Touched;
use crate::manager::link::Links;
use crate::manager::nft::TableState;
use crate::manager::wireguard::diff::Change;

/// Something that the mesh needs and that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// The table with the rules.
    Table,
    /// Rules in it.
    Rules,
    /// The device; it must be brought up from the beginning.
    Device,
    /// The device is there, and down.
    Up,
    /// One of its addresses.
    Address(IpAddr),
    /// A route through it.
    Route(IpNet),
    /// Its WireGuard key or port.
    Identity,
    /// So many of its peers, or their addresses.
    Peers(usize),
}

impl Lack {
    /// Whether more may pass meanwhile than the policy permits.
    #[must_use]
    pub fn opens(&self) -> bool {
        matches!(self, Self::Table | Self::Rules)
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table => write!(f, "the table {FAMILY} {TABLE}"),
            Self::Rules => write!(f, "rules of the table {FAMILY} {TABLE}"),
            Self::Device => f.write_str("the device"),
            Self::Up => f.write_str("the device's state up"),
            Self::Address(address) => write!(f, "the address {address}"),
            Self::Route(network) => write!(f, "the route to {network}"),
            Self::Identity => f.write_str("the device's WireGuard key or port"),
            Self::Peers(count) => write!(f, "WireGuard peers ({count})"),
        }
    }
}

impl Mesh {
    /// The number of the device.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// What of the things that were touched is not as it should be. What is gone with something
    /// greater is not named.
    ///
    /// # Errors
    /// [`Error`] when the kernel cannot be asked.
    pub async fn lacks(&mut self, touched: &Touched) -> Result<Vec<Lack>, Error> {
        let mut lacks = Vec::new();
        // A device that is closed is opened only over rules.
        if touched.rules || self.is_closed {
            let state = self.nft.look();
            match state.map_err(|error| Error::network("reading the nftables rules", error))? {
                TableState::Intact => {}
                TableState::Gone => lacks.push(Lack::Table),
                TableState::Changed => lacks.push(Lack::Rules),
            }
        }
        if touched.device && !self.is_closed {
            lacks.extend(self.device_lacks().await?);
        }
        Ok(lacks)
    }

    async fn device_lacks(&self) -> Result<Vec<Lack>, Error> {
        let link = self.links.find(&self.options.device).await?;
        let Some(link) = link.filter(|link| link.index == self.index) else {
            return Ok(vec![Lack::Device]);
        };
        if !link.is_up {
            return Ok(vec![Lack::Up]);
        }
        let wanted = Links::possible(&self.options.device, &self.addresses);
        let addresses = self.links.missing_addresses(link.index, &wanted).await?;
        let mut lacks: Vec<Lack> = addresses.into_iter().map(Lack::Address).collect();
        let routes = self.links.missing_routes(link.index, &wanted).await?;
        lacks.extend(routes.into_iter().map(Lack::Route));
        Ok(lacks)
    }

    /// Puts back what lacks, the device itself apart.
    ///
    /// The rules come first: where they cannot be written, nothing else is opened.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn repair(&mut self, lacks: &[Lack], now: Timestamp) -> Result<(), Error> {
        if lacks.iter().any(Lack::opens) {
            self.nft.restore().await?;
        }
        let device = &self.options.device;
        self.links.bring_up(device, self.mtu).await?;
        self.is_closed = false;
        self.links.configure(device, &self.addresses).await?;
        self.wireguard.restore().await?;
        let current = self.wireguard.dump().await?;
        self.wireguard
            .apply(diff(&current, &self.wanted, now))
            .await?;
        self.greet();
        Ok(())
    }

    /// Takes the device down, so that nothing passes while there are no rules. Connections wait.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn close(&mut self) -> Result<(), Error> {
        self.links.close(&self.options.device).await?;
        self.is_closed = true;
        Ok(())
    }

    /// Whether [`Mesh::close`] was the last word.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// What of WireGuard is not as it should be; the endpoints of peers are its own business.
    pub(super) fn lacks_of_wireguard(
        &self,
        current: &wireguard::Peers,
        now: Timestamp,
    ) -> Option<Lack> {
        if !self.wireguard.is_ours() {
            return Some(Lack::Identity);
        }
        let changes = diff(current, &self.wanted, now);
        let is_foreign = |change: &&Change| match change {
            Change::Add { .. } | Change::Remove { .. } => true,
            Change::Update { allowed_ips, .. } => allowed_ips.is_some(),
        };
        let count = changes.iter().filter(is_foreign).count();
        (count > 0).then_some(Lack::Peers(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lacks_are_named_as_an_administrator_knows_them() {
        let address = Lack::Address(IpAddr::from([100, 64, 0, 1]));
        assert_eq!(address.to_string(), "the address 100.64.0.1");
        assert_eq!(Lack::Table.to_string(), "the table inet meshd");
    }

    #[test]
    fn without_rules_the_mesh_is_open() {
        assert!(Lack::Table.opens() && Lack::Rules.opens());
        assert!(!Lack::Device.opens() && !Lack::Peers(1).opens());
    }
}
