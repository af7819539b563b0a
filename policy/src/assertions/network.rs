//! `tests`.

use std::net::IpAddr;

use super::{Endpoint, Run};
use crate::model::{NetworkTest, Origin, Word};
use crate::packet::Packet;
use crate::ports;
use crate::read::split_destination;

impl Run<'_> {
    pub(super) fn network_test(&mut self, test: &NetworkTest) {
        if test.accept.is_empty() && test.deny.is_empty() {
            let message = Err("the test asserts nothing: write accept or deny".to_owned());
            self.note(test.origin.at, test.origin.to_string(), message);
            return;
        }
        let sources = match test.source.as_str() {
            "" => Err("the test has no src".to_owned()),
            word => self.endpoints(word),
        };
        let protocols = protocols(&test.protocol);
        for (field, words, wanted) in [("accept", &test.accept, true), ("deny", &test.deny, false)]
        {
            for (index, word) in words.iter().enumerate() {
                let path = format!("{}.{field}[{index}]", test.origin);
                let result = match (&sources, &protocols) {
                    (Ok(sources), Ok(protocols)) => {
                        self.network_assertion(sources, protocols, word, wanted)
                    }
                    (Err(message), _) | (_, Err(message)) => Err(message.clone()),
                };
                self.note(word.at, path, result);
            }
        }
    }

    fn network_assertion(
        &self,
        sources: &[Endpoint],
        protocols: &[u8],
        word: &Word,
        wanted: bool,
    ) -> Result<(), String> {
        let (name, port) =
            split_destination(&word.text).ok_or_else(|| format!("{:?} has no port", word.text))?;
        let port = single_port(port, protocols)?;
        let destinations = self.endpoints(name)?;
        let mut tried = 0;
        for source in sources {
            for destination in &destinations {
                for (from, to) in pairs(source, destination) {
                    tried += 1;
                    let reached = self.reached(from, to, protocols, port);
                    if reached.is_some() != wanted {
                        let source = format!("{} ({from})", source.name);
                        let destination = format!("{} ({to}) port {port}", destination.name);
                        return Err(match reached {
                            None => format!("{source} does not reach {destination}"),
                            Some(origin) => {
                                format!("{source} reaches {destination}, by {origin}")
                            }
                        });
                    }
                }
            }
        }
        if tried == 0 && wanted {
            return Err("src and dst have no address of the same family".to_owned());
        }
        Ok(())
    }

    /// The rule that lets one of the protocols through.
    fn reached(&self, from: IpAddr, to: IpAddr, protocols: &[u8], port: u16) -> Option<Origin> {
        protocols.iter().find_map(|protocol| {
            self.compiled.permitting_rule(&Packet {
                source: from,
                destination: to,
                protocol: *protocol,
                port,
            })
        })
    }
}

/// Addresses of the same family.
fn pairs<'a>(
    source: &'a Endpoint,
    destination: &'a Endpoint,
) -> impl Iterator<Item = (IpAddr, IpAddr)> + 'a {
    source.addresses.iter().flat_map(|from| {
        destination
            .addresses
            .iter()
            .filter(|to| to.is_ipv4() == from.is_ipv4())
            .map(|to| (*from, *to))
    })
}

/// What a test tries: TCP or UDP unless it names a protocol.
fn protocols(word: &str) -> Result<Vec<u8>, String> {
    if word.is_empty() {
        return Ok(vec![ports::TCP, ports::UDP]);
    }
    ports::protocol(word)
        .map(|number| vec![number])
        .ok_or_else(|| format!("proto {word:?} is unknown"))
}

/// A test tries one port; 0 stands for "none" where the protocol has no ports.
fn single_port(text: &str, protocols: &[u8]) -> Result<u16, String> {
    let has_ports = protocols.iter().all(|number| ports::has_ports(*number));
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let port = digits.then(|| text.parse::<u16>().ok()).flatten();
    match (port, has_ports) {
        (Some(0), false) => Ok(0),
        (Some(port), true) if port > 0 => Ok(port),
        (_, true) => Err(format!(
            "port {text:?}: a test tries one port, from 1 to 65535"
        )),
        (_, false) => Err(format!(
            "port {text:?}: write 0 for a protocol without ports"
        )),
    }
}
