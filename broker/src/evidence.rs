//! Whose connection is it: what the kernel says of the socket, held against the peer document.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use meshd_contract::address::is_mesh_address;
use meshd_contract::key::WireGuardKey;
use meshd_contract::paths;
use meshd_contract::peer_document::{Peer, PeerDocument};
use meshd_contract::time::Timestamp;
use thiserror::Error;

use crate::config::Config;
use crate::wireguard::{self, Binding, WireGuardError};

/// What the kernel says of a TCP socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// getsockname(2).
    pub local: SocketAddr,
    /// getpeername(2).
    pub remote: SocketAddr,
    /// The source address in the packet that opened the connection; none for a socket that was
    /// not accepted (TCP_SAVED_SYN, tcp(7)).
    pub opened_by: Option<IpAddr>,
    /// The device that the socket is bound to (SO_BINDTODEVICE, socket(7)).
    pub device: String,
    /// What the device's WireGuard says of the remote address.
    pub binding: Binding,
}

/// The socket was accepted on this node's mesh address, and the caller is known, by the kernel's
/// word and the peer document's.
///
/// Made by [`bind`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    caller: Caller,
    local: SocketAddr,
    remote: SocketAddr,
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A peer that some SSH rule of this node names.
    Peer(Peer),
    /// A mesh address that no rule names; it is served only to be told so.
    Stranger,
}

impl Bound {
    /// Who is at the other end.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// This node's end.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The peer's end.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }
}

/// Why a socket is nobody's.
#[derive(Debug, Error)]
pub enum EvidenceError {
    /// The kernel did not say.
    #[error("the descriptor is no connected TCP socket: {0}")]
    Socket(#[from] io::Error),
    /// WireGuard could not be asked.
    #[error(transparent)]
    WireGuard(#[from] WireGuardError),
    /// The local end is not where this node serves SSH.
    #[error("the connection came to {0}, which is not this node's SSH address")]
    NotOurs(SocketAddr),
    /// The socket was connected from here, not accepted.
    #[error("the connection from {0} was not accepted on this host")]
    NotAccepted(SocketAddr),
    /// The socket is not tied to the mesh's device.
    #[error("the connection from {remote} came over the device {found:?}, not over {expected}")]
    Device {
        /// The other end.
        remote: SocketAddr,
        /// What the socket is bound to.
        found: String,
        /// The mesh's device.
        expected: String,
    },
    /// The other end is not in the mesh.
    #[error("the connection from {0} does not come from a mesh address")]
    NotMesh(SocketAddr),
    /// The kernel has bound the address to another key, or to none.
    #[error("WireGuard has not bound {0} to the key of that peer")]
    Key(IpAddr),
    /// Root insists on kernel WireGuard.
    #[error(
        "the device is no kernel WireGuard, and require_kernel_wireguard is set in {}",
        paths::SSH_CONFIG
    )]
    NotKernel,
}

/// Asks the kernel about a socket.
///
/// # Errors
/// [`EvidenceError::Socket`] or [`EvidenceError::WireGuard`].
pub fn gather(socket: &OwnedFd) -> Result<Evidence, EvidenceError> {
    let stream = TcpStream::from(socket.try_clone()?);
    let (local, remote) = (
        canonical(stream.local_addr()?),
        canonical(stream.peer_addr()?),
    );
    let device = bound_device(&stream)?;
    let opened_by = saved_syn(&stream)?.as_deref().and_then(source_address);
    let binding = wireguard::binding(&device, remote.ip())?;
    Ok(Evidence {
        local,
        remote,
        opened_by,
        device,
        binding,
    })
}

/// Holds the evidence against the peer document.
///
/// # Errors
/// The first [`EvidenceError`] that applies.
pub fn bind(
    evidence: &Evidence,
    document: &PeerDocument,
    config: &Config,
    now: Timestamp,
) -> Result<Bound, EvidenceError> {
    let Evidence { local, remote, .. } = *evidence;
    if !document.addresses.contains(local.ip()) || local.port() != paths::SSH_PORT {
        return Err(EvidenceError::NotOurs(local));
    }
    if evidence.opened_by != Some(remote.ip()) {
        return Err(EvidenceError::NotAccepted(remote));
    }
    if evidence.device != config.device {
        let (found, expected) = (evidence.device.clone(), config.device.clone());
        return Err(EvidenceError::Device {
            remote,
            found,
            expected,
        });
    }
    if !is_mesh_address(remote.ip()) {
        return Err(EvidenceError::NotMesh(remote));
    }
    let peer = document
        .peer_at(remote.ip())
        .filter(|peer| peer.is_current(now));
    key_matches(
        evidence.binding,
        peer.map(|peer| peer.wireguard_key),
        remote.ip(),
        config,
    )?;
    let caller = peer.map_or(Caller::Stranger, |peer| Caller::Peer(peer.clone()));
    Ok(Bound {
        caller,
        local,
        remote,
    })
}

/// Whether WireGuard has bound the address to the peer's key; to any key for a stranger.
fn key_matches(
    binding: Binding,
    key: Option<WireGuardKey>,
    remote: IpAddr,
    config: &Config,
) -> Result<(), EvidenceError> {
    match binding {
        Binding::Key(found) if key.is_none_or(|key| found == key) => Ok(()),
        Binding::NotKernel if !config.require_kernel_wireguard => Ok(()),
        Binding::NotKernel => Err(EvidenceError::NotKernel),
        Binding::Key(_) | Binding::Unbound => Err(EvidenceError::Key(remote)),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The source address of an IPv4 or IPv6 header (RFC 791, section 3.1; RFC 8200, section 3).
fn source_address(syn: &[u8]) -> Option<IpAddr> {
    match syn.first()? >> 4 {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(syn.get(12..16)?).ok()?)),
        6 => Some(IpAddr::from(<[u8; 16]>::try_from(syn.get(8..24)?).ok()?)),
        _ => None,
    }
}

fn bound_device(stream: &TcpStream) -> io::Result<String> {
    let name = option(stream, libc::SOL_SOCKET, libc::SO_BINDTODEVICE)?;
    let end = name
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(name.len());
    String::from_utf8(name[..end].to_vec())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the device has no plain name"))
}

/// Empty, and none here, for a socket that was connected or whose listener did not save SYNs.
fn saved_syn(stream: &TcpStream) -> io::Result<Option<Vec<u8>>> {
    let syn = option(stream, libc::IPPROTO_TCP, libc::TCP_SAVED_SYN)?;
    Ok((!syn.is_empty()).then_some(syn))
}

fn option(stream: &TcpStream, level: libc::c_int, name: libc::c_int) -> io::Result<Vec<u8>> {
    const ROOM: usize = 512;
    let mut value = [MaybeUninit::<u8>::uninit(); ROOM];
    let mut length = ROOM as libc::socklen_t;
    // SAFETY: the descriptor is open, `value` has room for the `length` bytes that are announced,
    // and the kernel writes both.
    let code = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    let written = &value[..(length as usize).min(ROOM)];
    // SAFETY: the kernel has written the first `length` bytes.
    Ok(written
        .iter()
        .map(|byte| unsafe { byte.assume_init() })
        .collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use meshd_contract::address::MeshAddresses;
    use meshd_contract::document::{Header, Version};
    use meshd_contract::identity::{NodeId, Owner};

    use super::*;

    pub(crate) const KEY: WireGuardKey = WireGuardKey([2; 32]);

    fn addresses(n: u8) -> MeshAddresses {
        MeshAddresses {
            v4: [100, 64, 0, n].into(),
            v6: [0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, u16::from(n)].into(),
        }
    }

    /// web1 (node 1), whose rules name laptop (node 2).
    pub(crate) fn document() -> PeerDocument {
        PeerDocument {
            header: Header {
                node: NodeId(1),
                version: Version(1),
                issued_at: Timestamp(0),
                expires_at: Timestamp(1000),
            },
            name: "web1".parse().expect("a name"),
            addresses: addresses(1),
            peers: vec![Peer {
                node: NodeId(2),
                name: "laptop".parse().expect("a name"),
                addresses: addresses(2),
                wireguard_key: KEY,
                owner: Owner::User("alice@example.com".to_owned()),
                key_expires_at: Some(Timestamp(500)),
                checks_after: Version(0),
            }],
            rules: Vec::new(),
        }
    }

    fn evidence() -> Evidence {
        let remote = addresses(2).v4.into();
        Evidence {
            local: SocketAddr::new(addresses(1).v4.into(), paths::SSH_PORT),
            remote: SocketAddr::new(remote, 40000),
            opened_by: Some(remote),
            device: paths::DEVICE.to_owned(),
            binding: Binding::Key(KEY),
        }
    }

    /// A socket that is laptop's.
    pub(crate) fn bound() -> Bound {
        bind(&evidence(), &document(), &Config::default(), Timestamp(1)).expect("binds")
    }

    fn refused(change: impl FnOnce(&mut Evidence)) -> String {
        let mut evidence = evidence();
        change(&mut evidence);
        let bound = bind(&evidence, &document(), &Config::default(), Timestamp(1));
        bound.expect_err("is refused").to_string()
    }

    #[test]
    fn good_evidence_names_the_peer() {
        assert_eq!(*bound().caller(), Caller::Peer(document().peers[0].clone()));
    }

    #[test]
    fn each_part_of_the_evidence_is_insisted_on() {
        assert!(refused(|e| e.local.set_port(22)).contains("not this node's SSH address"));
        assert!(refused(|e| e.local.set_ip(addresses(3).v4.into())).contains("not this node's"));
        assert!(refused(|e| e.opened_by = None).contains("not accepted"));
        assert!(refused(|e| e.opened_by = Some(addresses(3).v4.into())).contains("not accepted"));
        assert!(refused(|e| e.device = "eth0".to_owned()).contains("eth0"));
        assert!(refused(|e| e.device = String::new()).contains("device"));
        assert!(refused(|e| e.binding = Binding::Unbound).contains("WireGuard has not bound"));
        let other = Binding::Key(WireGuardKey([3; 32]));
        assert!(refused(|e| e.binding = other).contains("WireGuard has not bound"));
        let outside = IpAddr::from([192, 0, 2, 1]);
        let from_outside = |e: &mut Evidence| {
            e.remote.set_ip(outside);
            e.opened_by = Some(outside);
        };
        assert!(refused(from_outside).contains("mesh address"));
    }

    #[test]
    fn a_mesh_address_that_no_rule_names_is_a_strangers() {
        let mut evidence = evidence();
        evidence.remote.set_ip(addresses(9).v4.into());
        evidence.opened_by = Some(addresses(9).v4.into());
        let bound = bind(&evidence, &document(), &Config::default(), Timestamp(1));
        assert_eq!(*bound.expect("binds").caller(), Caller::Stranger);
    }

    #[test]
    fn a_peer_whose_key_has_expired_is_a_stranger() {
        let bound = bind(&evidence(), &document(), &Config::default(), Timestamp(500));
        assert_eq!(*bound.expect("binds").caller(), Caller::Stranger);
    }

    #[test]
    fn root_may_insist_on_kernel_wireguard() {
        let userspace = Evidence {
            binding: Binding::NotKernel,
            ..evidence()
        };
        let mut config = Config::default();
        assert!(bind(&userspace, &document(), &config, Timestamp(1)).is_ok());
        config.require_kernel_wireguard = true;
        let refused = bind(&userspace, &document(), &config, Timestamp(1));
        assert!(matches!(refused, Err(EvidenceError::NotKernel)));
    }

    #[test]
    fn a_saved_syn_names_its_source() {
        let mut v4 = [0; 20];
        v4[0] = 0x45;
        v4[12..16].copy_from_slice(&[100, 64, 0, 2]);
        assert_eq!(source_address(&v4), Some([100, 64, 0, 2].into()));
        let mut v6 = [0; 40];
        v6[0] = 0x60;
        v6[8..24].copy_from_slice(&addresses(2).v6.octets());
        assert_eq!(source_address(&v6), Some(addresses(2).v6.into()));
        assert_eq!(source_address(&v4[..15]), None);
        assert_eq!(source_address(&[]), None);
    }
}
