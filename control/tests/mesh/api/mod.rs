//! The API for programs.

mod changes;
mod described;
mod keys;
mod policies;

use std::net::SocketAddr;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::Value;

use crate::harness::{Answer, Control, send};

/// A program with an API key.
struct Program {
    address: SocketAddr,
    key: String,
}

impl Program {
    /// One that may do this.
    fn with(control: &Control, scopes: &str) -> Self {
        let key = control.admin(&["apikeys", "create", "--scope", scopes]);
        Self {
            address: control.address,
            key: key.trim().to_owned(),
        }
    }

    /// One that may do everything.
    fn of(control: &Control) -> Self {
        let scopes = "users:write,nodes:write,auth-keys:write,policy:write,audit:read";
        Self::with(control, scopes)
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Vec::new()).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], Vec::new()).await
    }

    async fn json(&self, method: &str, path: &str, body: Value) -> Answer {
        let json = [("content-type", "application/json")];
        self.send(method, path, &json, body.to_string().into())
            .await
    }

    /// With this key, these headers and this body.
    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let bearer = format!("Bearer {}", self.key);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("host", "control")
            .header("authorization", bearer);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(Bytes::from(body)));
        send(self.address, request.expect("a request")).await
    }
}

/// The kind of the problem, which has a type of its own.
fn problem(answer: &Answer) -> String {
    assert_eq!(answer.header("content-type"), "application/problem+json");
    answer.problem().0
}
