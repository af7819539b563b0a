//! Where control is, which changes with each kill, and how a host gets its answer all the same.

use std::net::SocketAddr;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use meshd_contract::node_api::RegisterResponse;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::harness::{Answer, Broken, Connection, Node, PATIENCE};

/// The address of the control that runs, and a connection to it.
pub(super) struct Place {
    address: watch::Receiver<SocketAddr>,
    connection: Option<Connection>,
}

impl Clone for Place {
    fn clone(&self) -> Self {
        Self::new(self.address.clone())
    }
}

impl Place {
    pub(super) fn new(address: watch::Receiver<SocketAddr>) -> Self {
        Self {
            address,
            connection: None,
        }
    }

    pub(super) fn now(&mut self) -> SocketAddr {
        *self.address.borrow_and_update()
    }

    /// Waits for the next control; something went wrong with the one that was asked. Only a kill is
    /// an excuse for it.
    pub(super) async fn next(&mut self, error: Broken) {
        let moved = timeout(PATIENCE, self.address.changed()).await;
        assert!(
            matches!(moved, Ok(Ok(()))),
            "nobody killed control: {error}"
        );
    }

    /// Sends until there is an answer, each time as a new request.
    pub(super) async fn send(&mut self, node: &mut Node, path: &str, body: Vec<u8>) -> Answer {
        loop {
            let kept = self.connection.take();
            let is_new = kept.is_none();
            let request = node.request("POST", path, body.clone());
            match self.attempt(kept, request).await {
                Ok(answer) => return answer,
                // Control closes a connection that is idle for a while.
                Err(_) if !is_new => {}
                Err(error) => self.next(error).await,
            }
        }
    }

    async fn attempt(
        &mut self,
        kept: Option<Connection>,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, Broken> {
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::open(self.now()).await?,
        };
        let answer = connection.send(request).await?;
        self.connection = Some(connection);
        Ok(answer)
    }

    /// Makes a host a node.
    pub(super) async fn register(
        &mut self,
        node: &mut Node,
        auth_key: &str,
        name: &str,
    ) -> RegisterResponse {
        let body = node.registration(auth_key, name);
        let answer = self.send(node, "/v1/register", body).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let registered: RegisterResponse = answer.json();
        node.id = Some(registered.node);
        registered
    }
}
