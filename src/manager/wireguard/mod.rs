//! WireGuard, whoever does the work: the kernel, or this process.
//!
//! The kernel's is configured with netlink-packet-wireguard over genetlink rather than with
//! wireguard-control. Measured against a real kernel, wireguard-control returns a peer that
//! straddles two netlink messages as several peers (10,000 peers gave 10,141 entries, the extra
//! ones with empty counters), cannot say UPDATE_ONLY, so that a late change brings a removed peer
//! back, refuses a peer with 400 or more allowed addresses, prints preshared keys in its errors,
//! and blocks without a deadline. One stack that has none of this is enough.

pub mod diff;
pub mod kernel;
pub mod userspace;
pub mod ways;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use ipnet::IpNet;
use meshd_contract::key::WireGuardKey;
use meshd_contract::time::Timestamp;

use self::diff::Change;
use super::error::Error;
use super::link::{Kind, Links};
use super::options::WireGuardChoice;
use super::state::Secret;

/// What a device has for one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerState {
    /// Where it is reached now.
    pub endpoint: Option<SocketAddr>,
    /// The addresses that are its own, sorted.
    pub allowed_ips: Vec<IpNet>,
    /// The last handshake.
    pub last_handshake: Option<Timestamp>,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
}

/// The peers of a device.
pub type Peers = BTreeMap<WireGuardKey, PeerState>;

/// What a device is opened with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name.
    pub device: String,
    /// Its UDP port.
    pub port: u16,
    /// Its private key.
    pub key: Secret,
    /// Its MTU, in bytes.
    pub mtu: u32,
    /// Its number, if it has to be made and the number is free.
    pub index: Option<u32>,
}

/// An open WireGuard device. Dropping it leaves the network device where it is.
pub trait WireGuard: Send {
    /// `kernel` or `userspace`.
    fn kind(&self) -> &'static str;

    /// Every peer with its counters.
    fn dump(&mut self) -> BoxFuture<'_, Result<Peers, Error>>;

    /// Carries out changes; what none of them names is not touched.
    fn apply(&mut self, changes: Vec<Change>) -> BoxFuture<'_, Result<(), Error>>;

    /// Whether the device had this key and port when it was dumped last.
    fn is_ours(&self) -> bool;

    /// Gives it key and port again.
    fn restore(&mut self) -> BoxFuture<'_, Result<(), Error>>;

    /// Removes the peers and then the network device.
    ///
    /// In this order: a kernel that deletes a device with 1,000 peers takes 12 seconds, one that
    /// is told to drop the peers first takes a quarter of one.
    fn remove(self: Box<Self>) -> BoxFuture<'static, Result<(), Error>>;

    /// Stops serving the device and leaves it; ends when another may be opened in its place.
    fn release(self: Box<Self>) -> BoxFuture<'static, ()>;

    /// Ends when the device has failed for good and must be opened again.
    fn failed(&mut self) -> BoxFuture<'_, ()>;
}

/// Opens the device, or adopts the one that an earlier run left, without a touch to its tunnels.
///
/// # Errors
/// [`Error`] when there is none to be had.
pub async fn open(
    choice: WireGuardChoice,
    settings: &Settings,
    links: &Links,
) -> Result<Box<dyn WireGuard>, Error> {
    if use_kernel(choice, &settings.device, links).await? {
        Ok(Box::new(kernel::Kernel::open(settings, links).await?))
    } else {
        if choice == WireGuardChoice::Auto {
            tracing::info!("the kernel has no WireGuard: it runs in this process");
        }
        userspace::check_tun().map_err(|error| without_tun(choice, error))?;
        Ok(Box::new(userspace::Userspace::open(settings, links).await?))
    }
}

/// Where either would have done, both are named.
fn without_tun(choice: WireGuardChoice, error: Error) -> Error {
    match (choice, error) {
        (WireGuardChoice::Auto, Error::NoTun(reason)) => Error::NoWireGuard(reason),
        (_, error) => error,
    }
}

/// Whether [`open`] will have something to work with; changes nothing.
///
/// # Errors
/// The same that [`open`] would give.
pub async fn check(
    choice: WireGuardChoice,
    settings: &Settings,
    links: &Links,
) -> Result<(), Error> {
    let existing = links.find(&settings.device).await?;
    if use_kernel(choice, &settings.device, links).await? {
        if choice == WireGuardChoice::Kernel && !kernel::is_available().await {
            return Err(Error::NoKernelWireGuard);
        }
    } else {
        userspace::check_tun().map_err(|error| without_tun(choice, error))?;
    }
    if existing.is_none() {
        userspace::check_port(settings.port)?;
    }
    Ok(())
}

/// Removes the device that an earlier run left; one of that name without a mesh address is not
/// ours.
///
/// # Errors
/// [`Error`].
pub async fn remove_leftover(device: &str, links: &Links) -> Result<(), Error> {
    match links.find(device).await? {
        Some(link) if links.has_mesh_address(&link).await? => remove(device, links).await,
        Some(_) | None => Ok(()),
    }
}

/// Removes a device of ours that is not open.
///
/// # Errors
/// [`Error`].
pub async fn remove(device: &str, links: &Links) -> Result<(), Error> {
    match links.find(device).await?.map(|link| link.kind) {
        Some(Kind::WireGuard) => {
            let kernel = kernel::Kernel::adopt(device, links)?;
            Box::new(kernel).remove().await
        }
        Some(Kind::Tun) => links.delete(device).await,
        Some(Kind::Other) | None => Ok(()),
    }
}

async fn use_kernel(choice: WireGuardChoice, device: &str, links: &Links) -> Result<bool, Error> {
    let existing = links.find(device).await?.map(|link| link.kind);
    let taken = |wanted| Error::DeviceTaken {
        device: device.to_owned(),
        wanted,
    };
    match (choice, existing) {
        (WireGuardChoice::Auto | WireGuardChoice::Kernel, Some(Kind::WireGuard)) => Ok(true),
        (WireGuardChoice::Auto | WireGuardChoice::Userspace, Some(Kind::Tun)) => Ok(false),
        (WireGuardChoice::Userspace, Some(_)) => Err(taken("TUN")),
        (_, Some(_)) => Err(taken("WireGuard")),
        (WireGuardChoice::Kernel, None) => Ok(true),
        (WireGuardChoice::Userspace, None) => Ok(false),
        (WireGuardChoice::Auto, None) => Ok(kernel::is_available().await),
    }
}
