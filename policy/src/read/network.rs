//! acls.

use std::collections::BTreeMap;

use meshd_contract::filter::PortRange;

use super::place::{Names, Place};
use super::{Fields, Path, Reader};
use crate::hujson::Value;
use crate::model::{NetworkRule, Origin, Permit};
use crate::ports;
use crate::selector::Selector;

pub(super) const FIELDS: [&str; 7] = [
    "action",
    "src",
    "users",
    "proto",
    "dst",
    "ports",
    "srcPosture",
];

/// What may use `autogroup:self`, in the service's words.
const SELF_SOURCES: &str =
    "autogroup:self can only be used with users, groups, or supported autogroups";

impl Reader<'_> {
    pub(super) fn acls(
        &mut self,
        value: Option<&Value>,
        path: &Path<'_>,
        names: &Names,
    ) -> Vec<NetworkRule> {
        let mut rules = Vec::new();
        for (index, item) in self.rule_list(value, path).iter().enumerate() {
            let path = path.index(index);
            let Some(fields) = self.fields(item, &path, &FIELDS) else {
                continue;
            };
            let origin = Origin {
                section: "acls",
                index: Some(index),
                at: item.at,
            };
            rules.push(self.acl(origin, &fields, &path, names));
        }
        rules
    }

    fn acl(
        &mut self,
        origin: Origin,
        fields: &Fields<'_>,
        path: &Path<'_>,
        names: &Names,
    ) -> NetworkRule {
        self.acl_action(origin, fields, path);
        self.source_posture(fields.value("srcPosture"), &path.key("srcPosture"));
        let (src, source_key) = self.renamed(fields, path, "src", "users");
        let (dst, destination_key) = self.renamed(fields, path, "dst", "ports");
        let sources = self.selectors(src, &path.key(source_key), Place::Source, names);
        let protocols = self.acl_protocol(fields, path);
        let mut permits = Vec::new();
        let destination_path = path.key(destination_key);
        for (index, item, word) in self.texts(dst, &destination_path) {
            let path = destination_path.index(index);
            let Some((destination, ports)) = self.acl_destination(word, item.at, &path, names)
            else {
                continue;
            };
            self.ports_fit(&protocols, &ports, item.at, &path);
            if destination == Selector::SelfDevices {
                self.self_sources(&sources, true, item.at, &path);
            }
            permits.push(Permit {
                destination,
                protocols: protocols.clone(),
                ports,
            });
        }
        NetworkRule {
            origin,
            sources,
            permits,
            app_destinations: Vec::new(),
            app: BTreeMap::new(),
        }
    }

    fn acl_action(&mut self, origin: Origin, fields: &Fields<'_>, path: &Path<'_>) {
        let path = path.key("action");
        let (at, action) = match fields.value("action") {
            Some(value) => match self.text(value, &path) {
                Some(text) => (value.at, text),
                None => return,
            },
            None => (origin.at, ""),
        };
        if action != "accept" {
            self.problem(
                at,
                &path,
                format!("action={action:?} is not supported"),
                "write \"accept\": what no rule accepts is denied",
            );
        }
    }

    /// A field that had another name once; both at a time are a problem.
    fn renamed<'v>(
        &mut self,
        fields: &Fields<'v>,
        path: &Path<'_>,
        name: &'static str,
        old: &'static str,
    ) -> (Option<&'v Value>, &'static str) {
        match (fields.value(name), fields.value(old)) {
            (None, Some(value)) => (Some(value), old),
            (Some(_), Some(value)) => {
                self.problem(
                    value.at,
                    &path.key(old),
                    format!("{old:?} is the old name of {name:?}, and both are here"),
                    format!("put everything into {name:?}"),
                );
                (Some(value), old)
            }
            (value, None) => (value, name),
        }
    }

    fn acl_protocol(&mut self, fields: &Fields<'_>, path: &Path<'_>) -> Vec<u8> {
        let path = path.key("proto");
        let Some(value) = fields.value("proto") else {
            return Vec::new();
        };
        match self.text(value, &path) {
            None | Some("") => Vec::new(),
            Some(word) => self.protocol(word, value.at, &path).into_iter().collect(),
        }
    }

    pub(super) fn protocol(&mut self, word: &str, at: usize, path: &Path<'_>) -> Option<u8> {
        let number = ports::protocol(word);
        if number.is_none() {
            self.problem(
                at,
                path,
                format!("proto={word:?}: unknown protocol"),
                "write a name such as tcp, udp, icmp, ipv6-icmp, sctp, gre, or a number from 1 \
                 to 255",
            );
        }
        number
    }

    /// `SELECTOR:PORTS`, where an IPv6 address stands in brackets.
    fn acl_destination(
        &mut self,
        word: &str,
        at: usize,
        path: &Path<'_>,
        names: &Names,
    ) -> Option<(Selector, Vec<PortRange>)> {
        let Some((name, ports)) = split_destination(word) else {
            self.problem(
                at,
                path,
                format!("dst={word:?}: no port"),
                "write SELECTOR:PORTS, such as tag:web:443 or [fd7a:115c:a1e0::1]:22",
            );
            return None;
        };
        // A selector whose port was forgotten shows in the port first, as it does in the service.
        let ports = match ports::parse(ports) {
            Ok(ports) => ports,
            Err(message) => {
                self.problem(
                    at,
                    path,
                    format!("dst={word:?}: {message}"),
                    "write SELECTOR:PORTS, where PORTS is *, 22, 80-443 or a list with commas",
                );
                return None;
            }
        };
        let selector = self.selector(name, at, path, Place::Destination, names)?;
        Some((selector, ports))
    }

    /// Only TCP, UDP and SCTP have ports.
    pub(super) fn ports_fit(
        &mut self,
        protocols: &[u8],
        ranges: &[PortRange],
        at: usize,
        path: &Path<'_>,
    ) {
        let without_ports = protocols.iter().find(|number| !ports::has_ports(**number));
        if let Some(number) = without_ports
            && ranges.iter().any(|range| *range != PortRange::ALL)
        {
            self.problem(
                at,
                path,
                format!("{} has no ports", ports::protocol_name(*number)),
                "write * for its port",
            );
        }
    }

    /// Everybody's own devices need sources that are somebody's devices.
    pub(super) fn self_sources(
        &mut self,
        sources: &[Selector],
        any_too: bool,
        at: usize,
        path: &Path<'_>,
    ) {
        let fits =
            |source: &Selector| source.is_of_users() || (any_too && *source == Selector::Any);
        if !sources.iter().all(fits) {
            self.problem(
                at,
                path,
                SELF_SOURCES,
                "let src name users, groups or autogroup:member only",
            );
        }
    }
}

/// The name and the ports of `NAME:PORTS`; none without ports. An IPv6 address without brackets
/// has none, since its last group could be taken for them.
pub(crate) fn split_destination(word: &str) -> Option<(&str, &str)> {
    if let Some(rest) = word.strip_prefix('[') {
        let (address, ports) = rest.split_once("]:")?;
        return Some((address, ports));
    }
    if word.parse::<std::net::Ipv6Addr>().is_ok() {
        return None;
    }
    word.rsplit_once(':')
}
