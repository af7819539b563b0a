//! Captured packet filters, expanded to sets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use meshd_contract::address::AddressRange;
use meshd_contract::filter::{FilterRule, Sources};
use serde_json::Value;

/// First and last address as numbers, IPv6 above IPv4, and ports.
type Span = (Number, Number);
type Number = (bool, u128);

/// One line of a filter: everything in its three dimensions may pass.
struct Line {
    protocol: u8,
    sources: Vec<Span>,
    destinations: Vec<Span>,
    ports: (u16, u16),
}

/// Permitted sources for each protocol, atom of destinations and atom of ports.
type Expanded = BTreeMap<(u8, Span, (u16, u16)), Vec<Span>>;

pub(crate) fn compare(expected: &[Value], found: &[FilterRule]) -> Result<(), String> {
    let expected: Vec<Line> = expected.iter().flat_map(captured_lines).collect();
    let found: Vec<Line> = found.iter().flat_map(compiled_lines).collect();
    let cuts = Cuts::of(expected.iter().chain(&found));
    let (expected, found) = (expand(&expected, &cuts), expand(&found, &cuts));
    if expected == found {
        return Ok(());
    }
    let differs = expected
        .iter()
        .find(|(key, value)| found.get(key) != Some(value))
        .or_else(|| found.iter().find(|(key, _)| !expected.contains_key(key)));
    Err(format!("the filter differs, first at {differs:?}"))
}

/// Where lines begin, so that between two cuts every line is the same.
struct Cuts {
    addresses: BTreeSet<Number>,
    ports: BTreeSet<u32>,
}

impl Cuts {
    fn of<'a>(lines: impl Iterator<Item = &'a Line>) -> Self {
        let mut cuts = Self {
            addresses: BTreeSet::new(),
            ports: BTreeSet::new(),
        };
        for line in lines {
            for (first, last) in &line.destinations {
                cuts.addresses.insert(*first);
                cuts.addresses.insert((last.0, last.1.saturating_add(1)));
            }
            cuts.ports.insert(line.ports.0.into());
            cuts.ports.insert(u32::from(line.ports.1) + 1);
        }
        cuts
    }

    fn destinations(&self, span: Span) -> Vec<Number> {
        self.addresses.range(span.0..=span.1).copied().collect()
    }

    fn ports(&self, (first, last): (u16, u16)) -> Vec<u16> {
        self.ports
            .range(u32::from(first)..=u32::from(last))
            .filter_map(|port| u16::try_from(*port).ok())
            .collect()
    }
}

fn expand(lines: &[Line], cuts: &Cuts) -> Expanded {
    let mut expanded = Expanded::new();
    for line in lines {
        for destination in &line.destinations {
            for start in cuts.destinations(*destination) {
                for port in cuts.ports(line.ports) {
                    let key = (line.protocol, (start, start), (port, port));
                    expanded.entry(key).or_default().extend(&line.sources);
                }
            }
        }
    }
    for sources in expanded.values_mut() {
        *sources = merged(std::mem::take(sources));
    }
    expanded
}

fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut result: Vec<Span> = Vec::new();
    for (first, last) in spans {
        match result.last_mut() {
            Some(before) if before.1.0 == first.0 && first.1 <= before.1.1.saturating_add(1) => {
                before.1 = before.1.max(last);
            }
            _ => result.push((first, last)),
        }
    }
    result
}

fn captured_lines(rule: &Value) -> Vec<Line> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let sources: Vec<Span> = list(&rule["SrcIPs"])
        .iter()
        .flat_map(|source| spans(source.as_str().expect("an address")))
        .collect();
    let protocols: Vec<u8> = list(&rule["IPProto"])
        .iter()
        .map(|number| {
            let number = number.as_u64().expect("a number");
            u8::try_from(number).expect("a protocol")
        })
        .collect();
    let mut lines = Vec::new();
    for destination in list(&rule["DstPorts"]) {
        let port = |name: &str| {
            let number = destination["Ports"][name].as_u64().expect("a port");
            u16::try_from(number).expect("a port")
        };
        for protocol in or_unnamed(&protocols) {
            lines.push(Line {
                protocol,
                sources: sources.clone(),
                destinations: spans(destination["IP"].as_str().expect("an address")),
                ports: (port("First"), port("Last")),
            });
        }
    }
    lines
}

fn compiled_lines(rule: &FilterRule) -> Vec<Line> {
    let sources: Vec<Span> = match &rule.sources {
        Sources::Any => spans("*"),
        Sources::Ranges(ranges) => ranges.iter().map(span).collect(),
    };
    let mut lines = Vec::new();
    for destination in &rule.destinations {
        for protocol in or_unnamed(&rule.protocols) {
            lines.push(Line {
                protocol,
                sources: sources.clone(),
                destinations: match &destination.addresses {
                    None => spans("*"),
                    Some(range) => vec![span(range)],
                },
                ports: (destination.ports.first, destination.ports.last),
            });
        }
    }
    lines
}

fn or_unnamed(protocols: &[u8]) -> Vec<u8> {
    if protocols.is_empty() {
        vec![6, 17, 1, 58]
    } else {
        protocols.to_vec()
    }
}

fn spans(text: &str) -> Vec<Span> {
    if text == "*" {
        return vec![
            ((false, 0), (false, u32::MAX.into())),
            ((true, 0), (true, u128::MAX)),
        ];
    }
    vec![span(&text.parse().expect("a range of addresses"))]
}

fn span(range: &AddressRange) -> Span {
    (number(range.first()), number(range.last()))
}

fn number(address: IpAddr) -> Number {
    match address {
        IpAddr::V4(v4) => (false, u32::from(v4).into()),
        IpAddr::V6(v6) => (true, v6.into()),
    }
}
