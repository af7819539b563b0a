//! One simulated host, and what control has acknowledged to it.

use std::net::SocketAddr;

use meshd_contract::node_api::{RegisterResponse, Report};

use super::dice::Dice;
use super::place::Place;
use crate::harness::Node;

/// A host that has been told that it is a node.
pub(super) struct Host {
    pub(super) node: Node,
    /// What it was told.
    pub(super) registered: RegisterResponse,
    /// Where it has told control that it is; control has said yes.
    pub(super) endpoint: Option<SocketAddr>,
    /// It has logged out, or somebody has deleted it.
    pub(super) is_gone: bool,
}

impl Host {
    pub(super) async fn join(number: usize, auth_key: &str, place: &mut Place) -> Self {
        let mut node = Node::new(place.now());
        let name = format!("host{number}");
        let registered = place.register(&mut node, auth_key, &name).await;
        Self {
            node,
            registered,
            endpoint: None,
            is_gone: false,
        }
    }

    /// Does this or that, as hosts do.
    pub(super) async fn live(&mut self, auth_key: &str, place: &mut Place, dice: &mut Dice) {
        match dice.below(16) {
            0..4 => self.report(place, dice).await,
            4 => self.log_out(place).await,
            5 => {
                self.log_out(place).await;
                let name = self.registered.name.to_string();
                self.registered = place.register(&mut self.node, auth_key, &name).await;
                self.is_gone = false;
            }
            _ => {}
        }
    }

    async fn report(&mut self, place: &mut Place, dice: &mut Dice) {
        let port = u16::try_from(1 + dice.below(60_000)).expect("a port");
        let endpoint = SocketAddr::from(([192, 0, 2, 1], port));
        let answer = self.tell(place, vec![endpoint]).await;
        assert_eq!(answer, 204);
        self.endpoint = Some(endpoint);
    }

    /// Signs something with the keys that it has; the status.
    pub(super) async fn tell(&mut self, place: &mut Place, endpoints: Vec<SocketAddr>) -> u16 {
        let report = Report {
            endpoints,
            wireguard_port: 51_820,
            ssh_host_keys: Vec::new(),
            release: "1.2.3".to_owned(),
        };
        let body = serde_json::to_vec(&report).expect("JSON");
        place.send(&mut self.node, "/v1/report", body).await.status
    }

    async fn log_out(&mut self, place: &mut Place) {
        let answer = place.send(&mut self.node, "/v1/logout", Vec::new()).await;
        // Gone it is where the first answer was lost.
        assert!([204, 410].contains(&answer.status), "{}", answer.text());
        self.is_gone = true;
    }
}
