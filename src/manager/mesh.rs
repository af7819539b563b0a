//! The mesh while it is in use: device, rules, names, and who may connect.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshd_contract::address::MeshAddresses;
use meshd_contract::document::Document;
use meshd_contract::key::WireGuardKey;
use meshd_contract::network_document::NetworkDocument;
use meshd_contract::time::Timestamp;
use tokio::sync::watch;

use super::control::clock;
use super::dns::Dns;
use super::error::Error;
use super::firewall;
use super::link::Links;
use super::names::Names;
use super::nft::Nft;
use super::options::Options;
use super::ruleset::Ruleset;
use super::ssh::{Service, Ssh};
use super::state::Secret;
use super::wireguard::diff::{Change, WantedPeer, diff, next_endpoint};
use super::wireguard::ways::Ways;
use super::wireguard::{self, PeerState, Peers, Settings, WireGuard};

mod underlay;
mod upkeep;

pub use upkeep::Lack;

/// Everything that is there only while the mesh is in use. Dropping it leaves the device and the
/// rules; [`Mesh::take_down`] removes them.
pub struct Mesh {
    options: Options,
    links: Links,
    wireguard: Box<dyn WireGuard>,
    nft: Nft,
    names: watch::Sender<Arc<Names>>,
    dns: Dns,
    ssh: Option<Ssh>,
    service: Service,
    addresses: MeshAddresses,
    mtu: u32,
    index: u32,
    /// Whether the device is down because there are no rules.
    is_closed: bool,
    wanted: Vec<WantedPeer>,
    last_dump: Peers,
}

impl Mesh {
    /// Brings everything up, or adopts what an earlier run left.
    ///
    /// The rules come first, so that no packet passes before them. A device that is made gets the
    /// number `index` again, where one is given: sockets are bound to a device by its number, and
    /// those of open connections find it again then.
    ///
    /// # Errors
    /// [`Error`]; what this call has made is gone again then.
    pub async fn bring_up(
        options: &Options,
        key: &Secret,
        document: &NetworkDocument,
        service: &Service,
        ssh: bool,
        index: Option<u32>,
    ) -> Result<Self, Error> {
        let links = Links::connect()?;
        let is_new = links.find(&options.device).await?.is_none();
        let mut nft = Nft::default();
        let written = nft.write(rules(options, document, ssh, clock::now())).await;
        if let Err(error) = written {
            close_without_rules(&links, &options.device).await?;
            return Err(error);
        }
        let wanted = wanted(document, clock::now());
        let mtu = underlay::mtu(options, &links, &wanted).await?;
        let settings = Settings {
            device: options.device.clone(),
            port: options.wireguard_port,
            key: key.clone(),
            mtu,
            index,
        };
        match Self::assemble(options, &settings, document, service, links, nft).await {
            Ok(mut mesh) => {
                mesh.listen(ssh).await;
                mesh.greet();
                Ok(mesh)
            }
            Err(error) => {
                if is_new {
                    wireguard::remove(&options.device, &Links::connect()?).await?;
                    Nft::default().remove().await?;
                }
                Err(error)
            }
        }
    }

    async fn assemble(
        options: &Options,
        settings: &Settings,
        document: &NetworkDocument,
        service: &Service,
        links: Links,
        nft: Nft,
    ) -> Result<Self, Error> {
        let mut wireguard = wireguard::open(options.wireguard, settings, &links).await?;
        let now = clock::now();
        let wanted = wanted(document, now);
        let changes = diff(&wireguard.dump().await?, &wanted, now);
        wireguard.apply(changes).await?;
        let index = links
            .configure(&options.device, &document.addresses)
            .await?;
        let (names, receiver) = watch::channel(Arc::new(Names::from_document(document)));
        Ok(Self {
            options: options.clone(),
            links,
            wireguard,
            nft,
            names,
            dns: Dns::start(
                &Links::possible(&options.device, &document.addresses),
                receiver,
            )?,
            ssh: None,
            service: service.clone(),
            addresses: document.addresses,
            mtu: settings.mtu,
            index,
            is_closed: false,
            wanted,
            last_dump: Peers::new(),
        })
    }

    /// Whether this node still has the addresses that everything here is bound to.
    #[must_use]
    pub fn fits(&self, document: &NetworkDocument) -> bool {
        self.addresses == document.addresses
    }

    /// Whether time and SSH have changed nothing since the last update with this document.
    #[must_use]
    pub fn is_current(&self, document: &NetworkDocument, ssh: bool, now: Timestamp) -> bool {
        self.serves_ssh() == ssh && self.wanted == wanted(document, now)
    }

    /// Carries out what a newer document, a change of SSH, or the passing of time has changed.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn update(
        &mut self,
        document: &NetworkDocument,
        ssh: bool,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.nft
            .write(rules(&self.options, document, ssh, now))
            .await?;
        self.wanted = wanted(document, now);
        let current = self.wireguard.dump().await?;
        let changes = diff(&current, &self.wanted, now);
        if !changes.is_empty() {
            tracing::info!(
                changes = changes.len(),
                peers = self.wanted.len(),
                "peers changed"
            );
        }
        self.wireguard.apply(changes).await?;
        let names = Arc::new(Names::from_document(document));
        self.names.send_if_modified(|known| {
            let is_new = **known != *names;
            *known = names;
            is_new
        });
        self.listen(ssh).await;
        self.fit_mtu().await
    }

    /// A host whose SSH cannot start is still a node.
    async fn listen(&mut self, ssh: bool) {
        if !ssh {
            if let Some(ssh) = self.ssh.take() {
                ssh.stop().await;
            }
        } else if self.ssh.is_none() {
            let (device, broker) = (&self.options.device, &self.options.broker_socket);
            let own = Links::possible(device, &self.addresses);
            let names = self.names.subscribe();
            let started = Ssh::start(&own, device, broker, &names, &self.service).await;
            self.ssh = started
                .inspect_err(|error| tracing::error!(%error, "SSH is not served"))
                .ok();
        }
    }

    /// Has root's side write down which key of control counts.
    pub fn tell_of_keys(&self) {
        if let Some(ssh) = &self.ssh {
            ssh.tell_of_keys();
        }
    }

    /// Accepts no more SSH connections in this process; they wait for the next one.
    pub async fn leave_ssh(&mut self) {
        if let Some(ssh) = self.ssh.take() {
            ssh.leave().await;
        }
    }

    /// Tries another endpoint of peers that do not answer at the present one, or that this host has
    /// no way to there; says whether somebody else has changed something of WireGuard's.
    ///
    /// # Errors
    /// [`Error`], also when the device has gone.
    pub async fn look_after_peers(&mut self, now: Timestamp) -> Result<Option<Lack>, Error> {
        let dump = self.wireguard.dump().await?;
        let nothing = PeerState::default();
        let (mut changes, mut ways) = (Vec::new(), Ways::default());
        for peer in &self.wanted {
            let Some(state) = dump.get(&peer.key) else {
                continue;
            };
            let before = self.last_dump.get(&peer.key).unwrap_or(&nothing);
            let has_way = |endpoint| ways.lead_to(endpoint);
            if let Some(endpoint) = next_endpoint(before, state, &peer.endpoints, has_way, now) {
                changes.push(Change::Update {
                    key: peer.key,
                    allowed_ips: None,
                    endpoint: Some(endpoint),
                });
            }
        }
        let lack = self.lacks_of_wireguard(&dump, now);
        self.last_dump = dump;
        self.wireguard.apply(changes).await?;
        Ok(lack)
    }

    /// Ends when the device has failed and the mesh must be brought up again.
    pub async fn failed(&mut self) {
        self.wireguard.failed().await;
    }

    /// The peers with their counters.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn peers(&mut self) -> Result<BTreeMap<WireGuardKey, PeerState>, Error> {
        self.wireguard.dump().await
    }

    /// `kernel` or `userspace`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.wireguard.kind()
    }

    /// The device's MTU, in bytes.
    #[must_use]
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// Whether the device can have an IPv6 address.
    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        let own = Links::possible(&self.options.device, &self.addresses);
        own.iter().any(std::net::IpAddr::is_ipv6)
    }

    /// Whether connections to port 22 are accepted.
    #[must_use]
    pub fn serves_ssh(&self) -> bool {
        self.ssh.is_some()
    }

    /// Closes every socket, and leaves the device and the rules.
    pub async fn release(self) {
        self.dns.stop().await;
        if let Some(ssh) = self.ssh {
            ssh.stop().await;
        }
        self.wireguard.release().await;
    }

    /// Removes the device and the rules, and nothing else.
    ///
    /// The rules go last, so that no packet passes without them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn take_down(mut self) -> Result<(), Error> {
        self.dns.stop().await;
        if let Some(ssh) = self.ssh.take() {
            ssh.stop().await;
        }
        self.wireguard.remove().await?;
        self.nft.remove().await
    }
}

/// A device that an earlier run left is taken down where its rules are gone and cannot be written.
async fn close_without_rules(links: &Links, device: &str) -> Result<(), Error> {
    match Ruleset::read() {
        Ok(None) => links.close(device).await,
        Ok(Some(_)) | Err(_) => Ok(()),
    }
}

/// Removes what an earlier run left, where it could not be adopted.
///
/// # Errors
/// [`Error`].
pub async fn remove_leftovers(options: &Options) -> Result<(), Error> {
    let links = Links::connect()?;
    wireguard::remove_leftover(&options.device, &links).await?;
    Nft::default().remove().await
}

fn rules(
    options: &Options,
    document: &NetworkDocument,
    ssh: bool,
    now: Timestamp,
) -> Vec<firewall::Chain> {
    let filter = if has_expired(document, now) {
        &[]
    } else {
        &document.filter[..]
    };
    firewall::table(document, filter, &options.device, ssh)
}

fn wanted(document: &NetworkDocument, now: Timestamp) -> Vec<WantedPeer> {
    if has_expired(document, now) {
        return Vec::new();
    }
    let current = document
        .peers
        .iter()
        .filter(|peer| peer.key_expires_at.is_none_or(|end| now < end));
    current.map(WantedPeer::from_document).collect()
}

/// Whether a document counts no more.
#[must_use]
pub fn has_expired(document: &impl Document, now: Timestamp) -> bool {
    document.header().expires_at <= now
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::names::tests::document;

    #[test]
    fn an_expired_document_names_no_peer() {
        let document = document();
        assert_eq!(wanted(&document, Timestamp(999)).len(), 1);
        assert_eq!(wanted(&document, Timestamp(1000)).len(), 0);
    }

    #[test]
    fn a_peer_whose_key_has_expired_is_none() {
        let mut document = document();
        document.peers[0].key_expires_at = Some(Timestamp(500));
        assert_eq!(wanted(&document, Timestamp(499)).len(), 1);
        assert_eq!(wanted(&document, Timestamp(500)).len(), 0);
    }
}
