//! Hosts that follow their documents from one control to the next.

use std::collections::HashMap;

use meshd_contract::document::{Document, Version};
use meshd_contract::key::PublicKey;
use meshd_contract::network_document::NetworkDocument;
use meshd_contract::peer_document::PeerDocument;
use tokio::sync::mpsc;

use super::dice::Dice;
use super::place::Place;
use crate::harness::{Event, Node};

/// A host that checks each document that it gets.
pub(super) struct Follower {
    pub(super) node: Node,
    pub(super) key: PublicKey,
    pub(super) place: Place,
    pub(super) dice: Dice,
    /// Hears of the account in each peer document.
    pub(super) tell: mpsc::UnboundedSender<(u64, String)>,
}

/// The newest of a kind.
struct Newest {
    version: Version,
    text: String,
}

impl Follower {
    /// Follows as long as somebody listens.
    pub(super) async fn follow(mut self) {
        let mut newest: HashMap<String, Newest> = HashMap::new();
        let mut last: Option<String> = None;
        while !self.tell.is_closed() {
            self.node.address = self.place.now();
            // With and without knowledge of what came before.
            let resumed = last.as_deref().filter(|_| self.dice.below(2) == 0);
            let mut events = match self.node.attempt_documents(resumed).await {
                Ok(opened) => opened.unwrap_or_else(|answer| panic!("{}", answer.text())),
                Err(error) => {
                    self.place.next(error).await;
                    continue;
                }
            };
            while let Some(event) = events.next().await {
                self.examine(&event, &mut newest);
                last = Some(event.id);
                if self.tell.is_closed() {
                    return;
                }
            }
        }
    }

    /// A version never goes back, and never means two texts.
    fn examine(&self, event: &Event, newest: &mut HashMap<String, Newest>) {
        let version = match event.kind.as_str() {
            PeerDocument::KIND => {
                let document: PeerDocument = self.node.open(event, &self.key);
                let rule = document.rules.first();
                let account = rule.and_then(|rule| rule.logins.named.first());
                let account = account.map_or_else(String::new, ToString::to_string);
                let _ = self.tell.send((self.node.id().0, account));
                document.header.version
            }
            _ => {
                let document: NetworkDocument = self.node.open(event, &self.key);
                document.header.version
            }
        };
        let text = event.data.clone();
        let before = newest.insert(event.kind.clone(), Newest { version, text });
        if let Some(before) = before {
            assert!(version >= before.version, "version {version} comes again");
            if version == before.version {
                assert_eq!(
                    event.data, before.text,
                    "two documents of version {version}"
                );
            }
        }
    }
}
