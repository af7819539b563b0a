//! WireGuard in this process (gotatun), for machines whose kernel has none.
//!
//! The TUN device is persistent: when the manager ends, its addresses, routes and the connections
//! over it stay, and the next manager goes on with it. Sessions with peers begin anew then, because
//! their keys were in the memory of the process.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::{self, BoxFuture};
use gotatun::device::configure::PeerMut;
use gotatun::device::{self, Device, Peer};
use gotatun::tun::tun_async_device::TunDevice;
use gotatun::udp::socket::{SockOpt, UdpSocket};
use gotatun::udp::{UdpTransportFactory, UdpTransportFactoryParams};
use ipnet::IpNet;
use ipnetwork::IpNetwork;
use meshd_contract::key::WireGuardKey;
use x25519_dalek::PublicKey;

use super::diff::Change;
use super::{PeerState, Peers, Settings, WireGuard};
use crate::manager::control::clock;
use crate::manager::error::Error;
use crate::manager::link::{Kind, Links};

/// Measured: 841 Mbit/s with the default buffers, 1147 with these.
const UDP_BUFFER_BYTES: usize = 4 << 20;
/// How long another process may need to let go of the device, as when an old manager ends.
const BUSY_RETRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

type Transports = (OneSocket, TunDevice, TunDevice);

/// The WireGuard of this process.
pub struct Userspace {
    device: Device<Transports>,
    name: String,
    links: Links,
    /// gotatun opens its socket when it is built with peers, but not when the first one is added
    /// later.
    is_connected: bool,
}

/// Whether /dev/net/tun opens; changes nothing.
///
/// # Errors
/// [`Error::NoTun`].
pub fn check_tun() -> Result<(), Error> {
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun");
    opened.map(drop).map_err(Error::NoTun)
}

/// Whether the UDP port is free; changes nothing.
///
/// # Errors
/// [`Error::PortInUse`].
pub fn check_port(port: u16) -> Result<(), Error> {
    let any: [SocketAddr; 2] = [
        (Ipv4Addr::UNSPECIFIED, port).into(),
        (Ipv6Addr::UNSPECIFIED, port).into(),
    ];
    for address in any {
        if let Err(error) = std::net::UdpSocket::bind(address)
            && error.kind() == io::ErrorKind::AddrInUse
        {
            return Err(Error::PortInUse(port));
        }
    }
    Ok(())
}

impl Userspace {
    /// Creates the TUN device, or adopts the persistent one of that name.
    ///
    /// # Errors
    /// [`Error`]; a device that this call created is gone again then.
    pub async fn open(settings: &Settings, links: &Links) -> Result<Self, Error> {
        let socket = OneSocket::bind(settings.port)?;
        if let Some(link) = links.find(&settings.device).await?
            && link.kind != Kind::Tun
        {
            return Err(Error::DeviceTaken {
                device: settings.device.clone(),
                wanted: "TUN",
            });
        }
        let tun = attach(&settings.device).await?;
        links.bring_up(&settings.device, settings.mtu).await?;
        let built = device::build()
            .with_udp(socket)
            .with_ip(tun)
            .with_private_key(settings.key.wireguard_secret())
            .with_listen_port(settings.port)
            .build()
            .await;
        Ok(Self {
            device: built.map_err(|error| Error::network("starting WireGuard", error))?,
            name: settings.device.clone(),
            links: links.clone(),
            is_connected: false,
        })
    }

    async fn dump_peers(&mut self) -> Peers {
        let now = clock::now();
        let mut peers = Peers::new();
        for peer in self.device.peers().await {
            let networks = peer.peer.allowed_ips.iter();
            let mut allowed_ips: Vec<IpNet> = networks.filter_map(from_gotatun).collect();
            allowed_ips.sort();
            let handshake = peer.stats.last_handshake;
            let state = PeerState {
                endpoint: peer.peer.endpoint,
                allowed_ips,
                last_handshake: handshake.map(|age| clock::before(now, age)),
                received: peer.stats.rx_bytes as u64,
                sent: peer.stats.tx_bytes as u64,
            };
            peers.insert(WireGuardKey(peer.peer.public_key.to_bytes()), state);
        }
        peers
    }

    async fn apply_all(&mut self, changes: Vec<Change>) -> Result<(), Error> {
        let adds_peer = changes
            .iter()
            .any(|change| matches!(change, Change::Add { .. }));
        let written = self.device.write(async |device| {
            for change in changes {
                match change {
                    Change::Add {
                        key,
                        allowed_ips,
                        endpoint,
                    } => {
                        device.add_peer(new_peer(key, &allowed_ips, endpoint));
                    }
                    Change::Update {
                        key,
                        allowed_ips,
                        endpoint,
                    } => {
                        let change = |peer: &mut _| modify(peer, allowed_ips, endpoint);
                        device.modify_peer(&PublicKey::from(key.0), change).await;
                    }
                    Change::Remove { key } => {
                        device.remove_peer(&PublicKey::from(key.0)).await;
                    }
                }
            }
        });
        let fault = |error| Error::network("changing WireGuard peers", error);
        written.await.map_err(fault)?;
        if adds_peer && !self.is_connected {
            self.device.suspend().await;
            self.device.resume().await.map_err(fault)?;
            self.is_connected = true;
        }
        Ok(())
    }

    async fn remove_all(self) -> Result<(), Error> {
        self.device.stop().await;
        self.links.delete(&self.name).await
    }
}

impl WireGuard for Userspace {
    fn kind(&self) -> &'static str {
        "userspace"
    }

    fn dump(&mut self) -> BoxFuture<'_, Result<Peers, Error>> {
        Box::pin(async { Ok(self.dump_peers().await) })
    }

    fn apply(&mut self, changes: Vec<Change>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.apply_all(changes))
    }

    /// Nobody else has a way in.
    fn is_ours(&self) -> bool {
        true
    }

    fn restore(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(future::ready(Ok(())))
    }

    fn remove(self: Box<Self>) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(self.remove_all())
    }

    fn release(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(self.device.stop())
    }

    fn failed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.device.wait())
    }
}

async fn attach(name: &str) -> Result<TunDevice, Error> {
    let mut configuration = tun::Configuration::default();
    configuration.tun_name(name);
    // Addresses, MTU and state are set over rtnetlink; only the device itself comes from here.
    configuration.platform_config(|platform| {
        platform.ensure_root_privileges(false);
    });
    let mut tries = 0;
    let mut device = loop {
        match tun::create_as_async(&configuration) {
            Ok(device) => break device,
            Err(error) if is_busy(&error) && tries < BUSY_RETRIES => {
                tries += 1;
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            Err(error) if is_busy(&error) => return Err(Error::DeviceBusy(name.to_owned())),
            Err(error) => return Err(Error::network(format!("creating the device {name}"), error)),
        }
    };
    device
        .persist()
        .map_err(|error| Error::network(format!("keeping the device {name}"), error))?;
    TunDevice::from_tun_device(device)
        .map_err(|error| Error::network(format!("using the device {name}"), error))
}

fn is_busy(error: &tun::Error) -> bool {
    matches!(error, tun::Error::Io(error) if error.raw_os_error() == Some(nix::libc::EBUSY))
}

fn new_peer(key: WireGuardKey, allowed_ips: &[IpNet], endpoint: Option<SocketAddr>) -> Peer {
    let mut peer = Peer::new(PublicKey::from(key.0));
    peer.endpoint = endpoint;
    peer.allowed_ips = allowed_ips.iter().filter_map(to_gotatun).collect();
    peer
}

fn modify(peer: &mut PeerMut, allowed_ips: Option<Vec<IpNet>>, endpoint: Option<SocketAddr>) {
    if let Some(ips) = allowed_ips {
        peer.clear_allowed_ips();
        peer.add_allowed_ips(ips.iter().filter_map(to_gotatun));
    }
    if endpoint.is_some() {
        peer.set_endpoint(endpoint);
    }
}

fn to_gotatun(network: &IpNet) -> Option<IpNetwork> {
    IpNetwork::new(network.addr(), network.prefix_len()).ok()
}

fn from_gotatun(network: &IpNetwork) -> Option<IpNet> {
    IpNet::new(network.ip(), network.prefix()).ok()
}

/// Hands out clones of one socket. gotatun binds anew whenever it is set up again, while its old
/// socket may still be open: the port would be taken by ourselves.
struct OneSocket {
    socket: UdpSocket,
}

impl OneSocket {
    fn bind(port: u16) -> Result<Self, Error> {
        let options = SockOpt {
            only_v6: Some(false),
            recv_buffer_size: Some(UDP_BUFFER_BYTES),
            send_buffer_size: Some(UDP_BUFFER_BYTES),
            ..SockOpt::default()
        };
        let bind = |address: SocketAddr| UdpSocket::bind(address, options);
        let bound = match bind((Ipv6Addr::UNSPECIFIED, port).into()) {
            // A host with ipv6.disable=1 has no such sockets.
            Err(error) if error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => {
                bind((Ipv4Addr::UNSPECIFIED, port).into())
            }
            other => other,
        };
        match bound {
            Ok(socket) => Ok(Self { socket }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(Error::PortInUse(port)),
            Err(error) => Err(Error::network(format!("opening UDP port {port}"), error)),
        }
    }
}

impl UdpTransportFactory for OneSocket {
    type Send = UdpSocket;
    type Recv = UdpSocket;

    fn bind(
        &mut self,
        _: &UdpTransportFactoryParams,
    ) -> impl Future<Output = io::Result<(UdpSocket, UdpSocket)>> + Send {
        future::ready(Ok((self.socket.clone(), self.socket.clone())))
    }
}
