//! Other people's nftables: which of their chains may keep the mesh's packets away.
//!
//! A packet has to pass every chain of a hook, so that one that our table lets in may still be
//! dropped by another.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};

use super::netlink::{self, Message, attribute, text};
use super::ruleset::{
    self, CHAIN_NAME, CHAIN_POLICY, FIXED_BYTES, GET_CHAIN, GET_RULE, NEW_CHAIN, NEW_RULE,
    TABLE_NAME,
};

const CHAIN_HOOK: u16 = 4;
const HOOK_NUMBER: u16 = 1;
/// NF_INET_LOCAL_IN, packets for this host itself (linux/include/uapi/linux/netfilter.h).
const LOCAL_IN: [u8; 4] = 1u32.to_be_bytes();
/// NF_DROP.
const DROP: [u8; 4] = 0u32.to_be_bytes();

/// A table's family, and its name.
type Table = (u8, String);

/// The chains, as `FAMILY TABLE CHAIN`, that drop whatever they do not accept of what comes to this
/// host, in tables that do not name the device in any rule. They may accept its packets all the
/// same, in another way.
///
/// # Errors
/// What the kernel says.
pub fn in_the_way(device: &str) -> io::Result<Vec<String>> {
    let mut chains: BTreeMap<Table, String> = BTreeMap::new();
    list(GET_CHAIN, |message| {
        if let Some((table, chain)) = dropping_chain(message) {
            chains.insert(table, chain);
        }
    })?;
    if chains.is_empty() {
        return Ok(Vec::new());
    }
    let mut naming: BTreeSet<Table> = BTreeSet::new();
    list(GET_RULE, |message| {
        if message.kind == NEW_RULE && names(message.payload, device) {
            naming.insert(table(message));
        }
    })?;
    chains.retain(|table, _| !naming.contains(table));
    let shown = chains.into_iter();
    Ok(shown
        .map(|((family, table), chain)| format!("{} {table} {chain}", family_name(family)))
        .collect())
}

fn list(kind: u16, take: impl FnMut(&Message<'_>)) -> io::Result<()> {
    let request = netlink::request(kind, NLM_F_REQUEST | NLM_F_DUMP, &[0; FIXED_BYTES], None);
    ruleset::exchange(&ruleset::connect()?, &request, true, take)
}

fn dropping_chain(message: &Message<'_>) -> Option<(Table, String)> {
    let value = |kind| attribute(message.payload, FIXED_BYTES, kind);
    let hook = attribute(&value(CHAIN_HOOK)?, 0, HOOK_NUMBER)?;
    let is_meant = message.kind == NEW_CHAIN
        && hook == LOCAL_IN
        && value(CHAIN_POLICY)? == DROP
        && !family_name(message.payload[0]).is_empty();
    is_meant.then(|| (table(message), text(&value(CHAIN_NAME).unwrap_or_default())))
}

fn table(message: &Message<'_>) -> Table {
    let name = attribute(message.payload, FIXED_BYTES, TABLE_NAME).unwrap_or_default();
    (message.payload.first().copied().unwrap_or(0), text(&name))
}

/// Whether a rule compares something with the device's name.
fn names(rule: &[u8], device: &str) -> bool {
    let mut name = device.as_bytes().to_vec();
    name.push(0);
    rule.windows(name.len()).any(|window| window == name)
}

/// Of the families that see packets for this host (enum nf_inet_proto).
fn family_name(number: u8) -> &'static str {
    match number {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_a_device_only_as_a_whole() {
        assert!(names(b"\x01mesh0\0\0\0", "mesh0"));
        assert!(!names(b"\x01mesh01\0\0", "mesh0"));
        assert!(!names(b"", "mesh0"));
    }
}
