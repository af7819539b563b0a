//! What a connection forwards, for people.

use std::collections::BTreeMap;

use meshd_contract::broker::ForwardDescription;
use meshd_contract::forward::Endpoint;

use super::{Ask, Forwards, Made};

/// More are not described, so that a description fits into a message.
const MOST: usize = 128;

impl Forwards {
    /// What listens, and where open connections lead to or come from.
    pub(in crate::worker) fn describe(&self) -> Vec<ForwardDescription> {
        let mut found: BTreeMap<(&str, String), u32> = BTreeMap::new();
        for listening in self
            .helper
            .iter()
            .flat_map(|helper| helper.listening.values())
        {
            found.entry(listening.name()).or_default();
        }
        for open in self.open.all() {
            *found.entry(open.name()).or_default() += 1;
        }
        let describe =
            |((kind, endpoint), connections): ((&str, String), u32)| ForwardDescription {
                kind: kind.to_owned(),
                endpoint,
                connections,
            };
        found.into_iter().take(MOST).map(describe).collect()
    }
}

impl Made {
    /// Its kind, as rules have it, and where.
    fn name(&self) -> (&'static str, String) {
        match &self.ask {
            Ask::Connect(target) => ("local", target.to_string()),
            Ask::Listen(Endpoint::Tcp { host, port: 0 }) => {
                let (host, port) = (host.clone(), self.port);
                ("remote", Endpoint::Tcp { host, port }.to_string())
            }
            Ask::Listen(at) => ("remote", at.to_string()),
            Ask::Agent(_) => ("agent", String::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_shown_with_the_port_that_it_has() {
        let at = |port| Endpoint::Tcp {
            host: "localhost".to_owned(),
            port,
        };
        let name = |ask, port| Made { ask, port }.name();
        let listening = ("remote", "localhost:7001".to_owned());
        assert_eq!(name(Ask::Listen(at(0)), 7001), listening);
        assert_eq!(name(Ask::Listen(at(7001)), 7001), listening);
        assert_eq!(
            name(Ask::Connect(at(1)), 0),
            ("local", "localhost:1".to_owned())
        );
        assert_eq!(name(Ask::Agent(0), 0), ("agent", String::new()));
    }
}
