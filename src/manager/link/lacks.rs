//! What the mesh's device has lost.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use meshd_contract::address::{MESH_V4, MESH_V6};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use nix::libc;
use rtnetlink::RouteMessageBuilder;

use super::{Links, address_of, fault};
use crate::manager::error::Error;

impl Links {
    /// Those of these addresses that the device has not.
    ///
    /// # Errors
    /// [`Error::Network`].
    pub async fn missing_addresses(
        &self,
        index: u32,
        wanted: &[IpAddr],
    ) -> Result<Vec<IpAddr>, Error> {
        let all = self.addresses().await?;
        let own = all.iter().filter(|message| message.header.index == index);
        let present: Vec<IpAddr> = own.filter_map(address_of).collect();
        let missing = wanted.iter().filter(|address| !present.contains(address));
        Ok(missing.copied().collect())
    }

    /// The networks of the mesh, of the families of these addresses, that are not routed through
    /// the device.
    ///
    /// # Errors
    /// [`Error::Network`].
    pub async fn missing_routes(&self, index: u32, wanted: &[IpAddr]) -> Result<Vec<IpNet>, Error> {
        let mut missing = Vec::new();
        for address in wanted {
            let (network, like) = match address {
                IpAddr::V4(_) => {
                    let like = RouteMessageBuilder::<Ipv4Addr>::new();
                    (IpNet::V4(MESH_V4), like.output_interface(index).build())
                }
                IpAddr::V6(_) => {
                    let like = RouteMessageBuilder::<Ipv6Addr>::new();
                    (IpNet::V6(MESH_V6), like.output_interface(index).build())
                }
            };
            if !routes_of(like).await?.contains(&network) {
                missing.push(network);
            }
        }
        Ok(missing)
    }
}

/// The destinations of routes like this one. The kernel leaves out the others itself, of which a
/// router has a million (NETLINK_GET_STRICT_CHK, netlink(7)).
async fn routes_of(like: RouteMessage) -> Result<Vec<IpNet>, Error> {
    let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()
        .map_err(|error| Error::network("opening a netlink socket", error))?;
    let connection = tokio::spawn(connection);
    let listed: Result<Vec<RouteMessage>, _> =
        handle.route().get(like).execute().try_collect().await;
    connection.abort();
    match listed {
        Ok(routes) => Ok(routes.iter().filter_map(destination).collect()),
        // There is no such table, or no longer such a device.
        Err(rtnetlink::Error::NetlinkError(error))
            if [-libc::ENOENT, -libc::ENODEV].contains(&error.raw_code()) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(fault("listing the routes", &error)),
    }
}

fn destination(route: &RouteMessage) -> Option<IpNet> {
    use netlink_packet_route::route::RouteAddress;
    let length = route.header.destination_prefix_length;
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                Ipv4Net::new(*address, length).ok().map(IpNet::V4)
            }
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                Ipv6Net::new(*address, length).ok().map(IpNet::V6)
            }
            _ => None,
        })
}
