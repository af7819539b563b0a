//! What the kernel has of the table `inet meshd`, read over netlink without nft.
//!
//! Every object of nftables has a handle, a number that is never given twice in a table. The
//! handles tell whether a table is still the one that was written, without a look at what its rules
//! mean (linux/include/uapi/linux/netfilter/nf_tables.h).

use std::collections::BTreeMap;
use std::io;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use super::firewall::TABLE;
use super::netlink::{self, Message, attribute, messages, text};

/// NFPROTO_INET, the family `inet`.
const INET: u8 = 1;
/// The length of struct nfgenmsg, in bytes: family, version, resource.
pub const FIXED_BYTES: usize = 4;
/// NFNL_SUBSYS_NFTABLES, the upper byte of each message's kind.
const SUBSYSTEM: u16 = 10 << 8;

const GET_TABLE: u16 = SUBSYSTEM | 1;
pub(super) const NEW_CHAIN: u16 = SUBSYSTEM | 3;
pub(super) const GET_CHAIN: u16 = SUBSYSTEM | 4;
pub(super) const NEW_RULE: u16 = SUBSYSTEM | 6;
pub(super) const GET_RULE: u16 = SUBSYSTEM | 7;
/// Ends what one transaction has changed.
pub const NEW_GENERATION: u16 = SUBSYSTEM | 15;
const GET_GENERATION: u16 = SUBSYSTEM | 16;

/// The name of the table, in messages about it and about everything in it.
pub const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const TABLE_HANDLE: u16 = 4;
const CHAIN_HANDLE: u16 = 2;
pub(super) const CHAIN_NAME: u16 = 3;
pub(super) const CHAIN_POLICY: u16 = 5;
pub(super) const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const GENERATION: u16 = 1;

/// How often a list is asked for that somebody changes meanwhile.
const TRIES: usize = 5;

/// The table, as handles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    handle: Vec<u8>,
    /// A table that is dormant filters nothing.
    flags: Vec<u8>,
    chains: BTreeMap<String, ChainState>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ChainState {
    handle: Vec<u8>,
    policy: Vec<u8>,
    /// The handles of its rules, in order.
    rules: Vec<Vec<u8>>,
}

impl Ruleset {
    /// Reads the table; none where there is no such table.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read() -> io::Result<Option<Self>> {
        for _ in 0..TRIES {
            match Self::try_read() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }

    fn try_read() -> io::Result<Option<Self>> {
        let socket = connect()?;
        let mut table = None;
        let asked = ask(&socket, GET_TABLE, NLM_F_REQUEST, |message| {
            table = Some(Self {
                handle: value(message, TABLE_HANDLE),
                flags: value(message, TABLE_FLAGS),
                chains: BTreeMap::new(),
            });
        });
        match asked {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        }
        let Some(mut table) = table else {
            return Ok(None);
        };
        let list = NLM_F_REQUEST | NLM_F_DUMP;
        ask(&socket, GET_CHAIN, list, |message| {
            if message.kind == NEW_CHAIN && is_ours(message.payload) {
                let chain = table.chains.entry(name(message, CHAIN_NAME)).or_default();
                chain.handle = value(message, CHAIN_HANDLE);
                chain.policy = value(message, CHAIN_POLICY);
            }
        })?;
        ask(&socket, GET_RULE, list, |message| {
            if message.kind == NEW_RULE && is_ours(message.payload) {
                let chain = table.chains.entry(name(message, RULE_CHAIN)).or_default();
                chain.rules.push(value(message, RULE_HANDLE));
            }
        })?;
        Ok(Some(table))
    }

    /// The names of its chains, and how many rules each has.
    pub fn counts(&self) -> impl Iterator<Item = (&str, usize)> {
        let chains = self.chains.iter();
        chains.map(|(name, chain)| (name.as_str(), chain.rules.len()))
    }
}

/// The number of the whole ruleset's state: every transaction, whoever's, makes a new one.
///
/// # Errors
/// What the kernel says.
pub fn generation() -> io::Result<Vec<u8>> {
    let socket = connect()?;
    let mut generation = Vec::new();
    ask(&socket, GET_GENERATION, NLM_F_REQUEST, |message| {
        if message.kind == NEW_GENERATION {
            generation = value(message, GENERATION);
        }
    })?;
    Ok(generation)
}

/// Whether a message about an object of nftables is about the table or something in it.
#[must_use]
pub fn is_ours(payload: &[u8]) -> bool {
    payload.first() == Some(&INET)
        && attribute(payload, FIXED_BYTES, TABLE_NAME).is_some_and(|name| text(&name) == TABLE)
}

/// Whether the message is one of nftables'.
#[must_use]
pub fn is_nftables(message: &Message<'_>) -> bool {
    message.kind & 0xff00 == SUBSYSTEM
}

pub(super) fn connect() -> io::Result<Socket> {
    netlink::socket(NETLINK_NETFILTER)
}

/// Asks about our table.
fn ask(socket: &Socket, kind: u16, flags: u16, take: impl FnMut(&Message<'_>)) -> io::Result<()> {
    let name = (kind != GET_GENERATION).then_some((TABLE_NAME, TABLE));
    let request = netlink::request(kind, flags, &[INET, 0, 0, 0], name);
    exchange(socket, &request, flags & NLM_F_DUMP == NLM_F_DUMP, take)
}

/// The kernel has answered a request by the time it has taken it, and goes on with a list while it
/// is read, so that nothing here waits.
pub(super) fn exchange(
    socket: &Socket,
    request: &[u8],
    is_list: bool,
    mut take: impl FnMut(&Message<'_>),
) -> io::Result<()> {
    socket.send_to(request, &SocketAddr::new(0, 0), 0)?;
    let mut is_interrupted = false;
    loop {
        let bytes = netlink::receive(socket)?;
        for message in messages(&bytes) {
            is_interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
            match message.kind {
                NLMSG_DONE if is_interrupted => return Err(io::ErrorKind::Interrupted.into()),
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => return error(message.payload),
                _ => take(&message),
            }
        }
        if !is_list {
            return Ok(());
        }
    }
}

/// The payload of an error begins with its negative number; 0 is none.
fn error(payload: &[u8]) -> io::Result<()> {
    let number = payload.first_chunk().copied().map(i32::from_ne_bytes);
    match number {
        Some(0) => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(number.saturating_neg())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn value(message: &Message<'_>, kind: u16) -> Vec<u8> {
    attribute(message.payload, FIXED_BYTES, kind).unwrap_or_default()
}

fn name(message: &Message<'_>, kind: u16) -> String {
    text(&value(message, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_table_is_ours() {
        let about = |family: u8, table: &str| {
            let fixed = [family, 0, 0, 0];
            let message = netlink::request(GET_TABLE, 0, &fixed, Some((TABLE_NAME, table)));
            messages(&message).any(|message| is_ours(message.payload))
        };
        assert!(about(INET, TABLE));
        assert!(!about(INET, "filter"));
        assert!(!about(INET, "meshd2"));
        assert!(!about(2, TABLE));
    }

    #[test]
    fn errors_have_the_systems_numbers() {
        let refused = error(&(-nix::libc::EPERM).to_ne_bytes()).expect_err("an error");
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(error(&0i32.to_ne_bytes()).is_ok());
        assert!(error(&[]).is_err());
    }
}
