//! grants.

use std::collections::BTreeMap;

use meshd_contract::filter::PortRange;

use super::place::{Names, Place};
use super::{Fields, Path, Reader};
use crate::hujson::{Kind, Value};
use crate::model::{NetworkRule, Origin, Permit};
use crate::ports;
use crate::selector::Selector;

pub(super) const FIELDS: [&str; 6] = ["src", "dst", "ip", "app", "via", "srcPosture"];

impl Reader<'_> {
    pub(super) fn grants(
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
                section: "grants",
                index: Some(index),
                at: item.at,
            };
            rules.push(self.grant(origin, &fields, &path, names));
        }
        rules
    }

    fn grant(
        &mut self,
        origin: Origin,
        fields: &Fields<'_>,
        path: &Path<'_>,
        names: &Names,
    ) -> NetworkRule {
        self.source_posture(fields.value("srcPosture"), &path.key("srcPosture"));
        self.via(fields.value("via"), &path.key("via"), names);
        let sources = self.selectors(fields.value("src"), &path.key("src"), Place::Source, names);
        let traffic = self.traffic(fields.value("ip"), &path.key("ip"));
        let app = self.app(fields.value("app"), &path.key("app"));
        let empty = |name| match fields.value(name).map(|value| &value.kind) {
            Some(Kind::Array(items)) => items.is_empty(),
            Some(Kind::Object(members)) => members.is_empty(),
            Some(_) => false,
            None => true,
        };
        if empty("ip") && empty("app") {
            self.problem(
                origin.at,
                path,
                "ip and app can not both be empty",
                "write \"ip\": [\"*\"] for every protocol and port",
            );
        }
        let destinations =
            self.grant_destinations(fields.value("dst"), &path.key("dst"), &sources, names);
        if !app.is_empty() && destinations.contains(&Selector::Internet) {
            self.problem(
                origin.at,
                path,
                "cannot use app grants with autogroup:internet",
                "put ip and app into two grants",
            );
        }
        NetworkRule {
            origin,
            sources,
            permits: permits(&destinations, &traffic),
            app_destinations: if app.is_empty() {
                Vec::new()
            } else {
                destinations
            },
            app,
        }
    }

    fn grant_destinations(
        &mut self,
        value: Option<&Value>,
        path: &Path<'_>,
        sources: &[Selector],
        names: &Names,
    ) -> Vec<Selector> {
        let mut destinations = Vec::new();
        for (index, item, word) in self.texts(value, path) {
            let path = path.index(index);
            let Some(selector) = self.selector(word, item.at, &path, Place::Destination, names)
            else {
                continue;
            };
            if selector == Selector::SelfDevices {
                self.self_sources(sources, false, item.at, &path);
            }
            if word.ends_with("/0") && matches!(selector, Selector::Range(_)) {
                self.problem(
                    item.at,
                    &path,
                    format!(
                        "dst {word:?}: to allow all IP addresses, use \"*\" or \
                         \"autogroup:internet\""
                    ),
                    "",
                );
            }
            destinations.push(selector);
        }
        destinations
    }

    fn traffic(&mut self, value: Option<&Value>, path: &Path<'_>) -> Traffic {
        let mut traffic = Traffic::new();
        for (index, item, word) in self.texts(value, path) {
            let path = path.index(index);
            let (protocol, list) = match word.split_once(':') {
                Some((name, list)) => match self.protocol(name.trim(), item.at, &path) {
                    Some(number) => (vec![number], list),
                    None => continue,
                },
                None => (Vec::new(), word),
            };
            match ports::parse(list) {
                Ok(ranges) => {
                    self.ports_fit(&protocol, &ranges, item.at, &path);
                    traffic.entry(protocol).or_default().extend(ranges);
                }
                Err(message) => self.problem(
                    item.at,
                    &path,
                    message,
                    "write *, 22, 80-443, tcp:22, udp:53 or icmp:*",
                ),
            }
        }
        traffic
    }

    fn app(
        &mut self,
        value: Option<&Value>,
        path: &Path<'_>,
    ) -> BTreeMap<String, serde_json::Value> {
        let mut app = BTreeMap::new();
        let Some(value) = value else {
            return app;
        };
        for member in self.members(value, path) {
            let path = path.key(&member.key);
            let message = match member.key.split_once('/') {
                Some((domain, rest)) if domain.is_empty() || rest.is_empty() => "form",
                None => "form",
                Some(("tailscale.com", _)) => "domain",
                Some((domain, _)) if domain.ends_with(".tailscale.com") => "domain",
                Some(_) => "",
            };
            match message {
                "form" => self.problem(
                    member.key_at,
                    &path,
                    "capability name must have the form {domain}/{path}",
                    "write a domain of your own, such as example.com/cap/printer",
                ),
                "domain" => self.problem(
                    member.key_at,
                    &path,
                    "capability name must not be in the tailscale.com domain",
                    "write a domain of your own, such as example.com/cap/printer",
                ),
                _ => {}
            }
            let _ = self.list(&member.value, &path);
            app.insert(member.key.clone(), json(&member.value));
        }
        app
    }

    fn via(&mut self, value: Option<&Value>, path: &Path<'_>, names: &Names) {
        for (index, item, word) in self.texts(value, path) {
            let (message, help) = if !word.starts_with("tag:") {
                ("via can only be a tag".to_owned(), "remove via")
            } else if !names.tags.contains(word) {
                (format!("tag {word:?} not found"), "define it in tagOwners")
            } else {
                (
                    format!("via {word:?}: meshd does not choose among routers"),
                    "remove via, and approve the route on the routers that may carry it",
                )
            };
            self.problem(item.at, &path.index(index), message, help);
        }
    }
}

/// Ports by protocol, the empty protocol list for "not named".
type Traffic = BTreeMap<Vec<u8>, Vec<PortRange>>;

fn permits(destinations: &[Selector], traffic: &Traffic) -> Vec<Permit> {
    let of = |destination: &Selector| {
        let destination = destination.clone();
        traffic.iter().map(move |(protocols, ports)| Permit {
            destination: destination.clone(),
            protocols: protocols.clone(),
            ports: ports.clone(),
        })
    };
    destinations.iter().flat_map(of).collect()
}

fn json(value: &Value) -> serde_json::Value {
    match &value.kind {
        Kind::Null => serde_json::Value::Null,
        Kind::Bool(value) => (*value).into(),
        Kind::Number(text) => serde_json::from_str(text).unwrap_or_default(),
        Kind::Text(text) => text.clone().into(),
        Kind::Array(items) => items.iter().map(json).collect(),
        Kind::Object(members) => members
            .iter()
            .map(|member| (member.key.clone(), json(&member.value)))
            .collect(),
    }
}
