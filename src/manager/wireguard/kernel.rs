//! The kernel's WireGuard, over generic netlink (linux/include/uapi/linux/wireguard.h).

mod messages;

use futures_util::StreamExt;
use futures_util::future::{self, BoxFuture};
use genetlink::{GenetlinkError, GenetlinkHandle};
use meshd_contract::key::WireGuardKey;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_generic::GenlMessage;
use netlink_packet_wireguard::{WireguardAttribute, WireguardCmd, WireguardMessage};

use self::messages::{batches, entries, merge};
use super::diff::Change;
use super::{Peers, Settings, WireGuard};
use crate::manager::error::Error;
use crate::manager::link::Links;

/// A WireGuard device of the kernel.
pub struct Kernel {
    socket: GenetlinkHandle,
    links: Links,
    device: String,
    /// What it was opened with, and whether the device still has that; none for one that was only
    /// adopted.
    settings: Option<Settings>,
    is_ours: bool,
}

/// Whether the kernel has WireGuard; asking for the family loads the module where there is one.
pub async fn is_available() -> bool {
    match connect() {
        Ok(socket) => socket.resolve_family::<WireguardMessage>().await.is_ok(),
        Err(_) => false,
    }
}

fn connect() -> Result<GenetlinkHandle, Error> {
    let (connection, handle, _) = genetlink::new_connection()
        .map_err(|error| Error::network("opening a netlink socket", error))?;
    tokio::spawn(connection);
    Ok(handle)
}

impl Kernel {
    /// Creates the device, or adopts the one of that name.
    ///
    /// # Errors
    /// [`Error`]; a device that this call created is gone again then.
    pub async fn open(settings: &Settings, links: &Links) -> Result<Self, Error> {
        let mut kernel = Self::adopt(&settings.device, links)?;
        let is_new = links.find(&settings.device).await?.is_none();
        if is_new {
            links
                .add_wireguard(&settings.device, settings.index)
                .await?;
        }
        match kernel.set_up(settings).await {
            Ok(()) => {
                kernel.settings = Some(settings.clone());
                Ok(kernel)
            }
            Err(error) if is_new => {
                links.delete(&settings.device).await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// The device of that name as it is.
    ///
    /// # Errors
    /// [`Error::Network`] when the kernel gives no socket.
    pub fn adopt(device: &str, links: &Links) -> Result<Self, Error> {
        Ok(Self {
            socket: connect()?,
            links: links.clone(),
            device: device.to_owned(),
            settings: None,
            is_ours: true,
        })
    }

    async fn set_up(&mut self, settings: &Settings) -> Result<(), Error> {
        self.set_identity(settings).await?;
        self.links
            .bring_up(&self.device, settings.mtu)
            .await
            .map_err(|error| port_error(error, settings))
    }

    /// Sets key and port only where they differ: setting the key ends every session.
    async fn set_identity(&mut self, settings: &Settings) -> Result<(), Error> {
        let (key, port) = self.identity().await?;
        let mut attributes = Vec::new();
        if key != Some(settings.key.wireguard_public()) {
            let secret = settings.key.wireguard_secret().to_bytes();
            attributes.push(WireguardAttribute::PrivateKey(secret));
        }
        if port != Some(settings.port) {
            attributes.push(WireguardAttribute::ListenPort(settings.port));
        }
        if attributes.is_empty() {
            return Ok(());
        }
        self.set(attributes)
            .await
            .map_err(|error| port_error(error, settings))
    }

    async fn identity(&mut self) -> Result<Identity, Error> {
        Ok(identity(&self.get().await?))
    }

    async fn set(&mut self, attributes: Vec<WireguardAttribute>) -> Result<(), Error> {
        let message = self.message(WireguardCmd::SetDevice, attributes);
        self.request(message, NLM_F_REQUEST | NLM_F_ACK).await?;
        Ok(())
    }

    async fn get(&mut self) -> Result<Vec<WireguardAttribute>, Error> {
        let message = self.message(WireguardCmd::GetDevice, Vec::new());
        self.request(message, NLM_F_REQUEST | NLM_F_DUMP).await
    }

    fn message(&self, cmd: WireguardCmd, attributes: Vec<WireguardAttribute>) -> WireguardMessage {
        let mut all = vec![WireguardAttribute::IfName(self.device.clone())];
        all.extend(attributes);
        WireguardMessage {
            cmd,
            attributes: all,
        }
    }

    async fn request(
        &mut self,
        message: WireguardMessage,
        flags: u16,
    ) -> Result<Vec<WireguardAttribute>, Error> {
        let fault = |error: GenetlinkError| Error::network("setting up WireGuard", error);
        let mut packet = NetlinkMessage::from(GenlMessage::from_payload(message));
        packet.header.flags = flags;
        let mut answers = self.socket.request(packet).await.map_err(fault)?;
        let mut attributes = Vec::new();
        while let Some(answer) = answers.next().await {
            let answer = answer.map_err(|error| Error::network("setting up WireGuard", error))?;
            match answer.payload {
                NetlinkPayload::InnerMessage(inner) => attributes.extend(inner.payload.attributes),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(Error::network("setting up WireGuard", error.to_io()));
                }
                _ => {}
            }
        }
        Ok(attributes)
    }

    async fn dump_peers(&mut self) -> Result<Peers, Error> {
        let mut peers = Peers::new();
        let attributes = self.get().await?;
        if let Some(settings) = &self.settings {
            let wanted = (Some(settings.key.wireguard_public()), Some(settings.port));
            self.is_ours = identity(&attributes) == wanted;
        }
        for attribute in attributes {
            if let WireguardAttribute::Peers(parts) = attribute {
                parts.into_iter().for_each(|part| merge(&mut peers, part));
            }
        }
        peers.values_mut().for_each(|peer| peer.allowed_ips.sort());
        Ok(peers)
    }

    async fn restore_identity(&mut self) -> Result<(), Error> {
        let Some(settings) = self.settings.clone() else {
            return Ok(());
        };
        self.set_identity(&settings).await?;
        self.is_ours = true;
        Ok(())
    }

    async fn apply_all(&mut self, changes: Vec<Change>) -> Result<(), Error> {
        for batch in batches(changes.into_iter().flat_map(entries)) {
            self.set(vec![WireguardAttribute::Peers(batch)]).await?;
        }
        Ok(())
    }

    async fn remove_all(mut self) -> Result<(), Error> {
        if self.links.find(&self.device).await?.is_none() {
            return Ok(());
        }
        let keys: Vec<WireGuardKey> = self.dump_peers().await?.into_keys().collect();
        let removals = keys.into_iter().map(|key| Change::Remove { key }).collect();
        self.apply_all(removals).await?;
        self.links.delete(&self.device).await
    }
}

impl WireGuard for Kernel {
    fn kind(&self) -> &'static str {
        "kernel"
    }

    fn dump(&mut self) -> BoxFuture<'_, Result<Peers, Error>> {
        Box::pin(self.dump_peers())
    }

    fn apply(&mut self, changes: Vec<Change>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.apply_all(changes))
    }

    fn is_ours(&self) -> bool {
        self.is_ours
    }

    fn restore(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.restore_identity())
    }

    fn remove(self: Box<Self>) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(self.remove_all())
    }

    fn release(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(future::ready(()))
    }

    fn failed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(future::pending())
    }
}

/// A device's key and port.
type Identity = (Option<WireGuardKey>, Option<u16>);

fn identity(attributes: &[WireguardAttribute]) -> Identity {
    let (mut key, mut port) = (None, None);
    for attribute in attributes {
        match attribute {
            WireguardAttribute::PublicKey(bytes) => key = Some(WireGuardKey(*bytes)),
            WireguardAttribute::ListenPort(number) => port = Some(*number),
            _ => {}
        }
    }
    (key, port)
}

fn port_error(error: Error, settings: &Settings) -> Error {
    let in_use = std::io::Error::from_raw_os_error(nix::libc::EADDRINUSE).to_string();
    match error {
        Error::Network { reason, .. } if reason == in_use => Error::PortInUse(settings.port),
        other => other,
    }
}
