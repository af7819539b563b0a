//! Requests that a node has signed.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use meshd_contract::identity::NodeId;
use meshd_contract::key::PublicKey;
use meshd_contract::node_api::{
    MAX_CLOCK_SKEW, NODE_HEADER, SIGNATURE_HEADER, TIME_HEADER, request_text,
};
use meshd_contract::time::Timestamp;

use crate::problem::ApiError;

/// The longest body, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 64 << 10;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a request came from, as the kernel says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Observed(pub(crate) IpAddr);

/// A request as it came, with the headers of its signature; nothing is checked yet.
#[derive(Debug)]
pub(crate) struct SignedRequest {
    /// The number that the node claims.
    pub(crate) node: Option<NodeId>,
    /// When the node says that it signed.
    pub(crate) time: Timestamp,
    /// Its signature.
    pub(crate) signature: [u8; 64],
    /// What it sends.
    pub(crate) body: Bytes,
    /// Where it came from.
    pub(crate) observed: IpAddr,
    method: String,
    path: String,
}

impl SignedRequest {
    /// Reads a whole request.
    ///
    /// # Errors
    /// [`ApiError`] when a header of the signature is missing, or the body is too long or late.
    pub(crate) async fn read(request: Request<Body>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let Some(Observed(observed)) = parts.extensions.get().copied() else {
            return Err(ApiError::Malformed("it came from nowhere".to_owned()));
        };
        let signature = header(&parts.headers, SIGNATURE_HEADER)?;
        let signature = STANDARD
            .decode(signature)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(ApiError::Header(SIGNATURE_HEADER))?;
        let node = match parts.headers.contains_key(NODE_HEADER) {
            true => Some(NodeId(number(&parts.headers, NODE_HEADER)?)),
            false => None,
        };
        Ok(Self {
            node,
            time: Timestamp(number(&parts.headers, TIME_HEADER)?),
            signature,
            body: read_body(body).await?,
            observed,
            method: parts.method.to_string(),
            path: parts
                .uri
                .path_and_query()
                .map_or_else(String::new, ToString::to_string),
        })
    }

    /// Checks time and signature.
    ///
    /// # Errors
    /// [`ApiError::ClockSkew`] or [`ApiError::Signature`].
    pub(crate) fn verify(&self, key: &PublicKey, now: Timestamp) -> Result<(), ApiError> {
        let difference = self.time.0.abs_diff(now.0);
        if difference > MAX_CLOCK_SKEW {
            return Err(ApiError::ClockSkew { difference, now });
        }
        let text = request_text(&self.method, &self.path, self.node, self.time, &self.body);
        if key.verifies(&text, &self.signature) {
            Ok(())
        } else {
            Err(ApiError::Signature)
        }
    }

    /// Whether it asks for something and changes nothing (RFC 9110, section 9.2.1).
    pub(crate) fn only_reads(&self) -> bool {
        self.method == "GET" || self.method == "HEAD"
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// [`ApiError::Malformed`].
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.body).map_err(|error| ApiError::Malformed(error.to_string()))
    }
}

/// Reads a body that is neither too long nor too late.
///
/// # Errors
/// [`ApiError::TooLarge`], [`ApiError::Timeout`] or [`ApiError::Malformed`].
pub(crate) async fn read_body(body: Body) -> Result<Bytes, ApiError> {
    Ok(read_at_most(body, MAX_BODY_BYTES).await?)
}

/// Why a body cannot be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// It is too long.
    TooLarge,
    /// It did not come in time.
    Timeout,
    /// The connection broke.
    Broken(String),
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooLarge => Self::TooLarge(MAX_BODY_BYTES),
            ReadError::Timeout => Self::Timeout,
            ReadError::Broken(reason) => Self::Malformed(reason),
        }
    }
}

/// Reads a body of at most `most` bytes, which has to come in time.
///
/// # Errors
/// [`ReadError`].
pub(crate) async fn read_at_most(body: Body, most: usize) -> Result<Bytes, ReadError> {
    let collected = Limited::new(body, most).collect();
    match tokio::time::timeout(BODY_TIMEOUT, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ReadError::TooLarge),
        Ok(Err(error)) => Err(ReadError::Broken(error.to_string())),
        Err(_) => Err(ReadError::Timeout),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, ApiError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| ApiError::Header(name)),
        _ => Err(ApiError::Header(name)),
    }
}

/// A number without sign or leading zeros, so that one number has one text.
fn number(headers: &HeaderMap, name: &'static str) -> Result<u64, ApiError> {
    let text = header(headers, name)?;
    let number: u64 = text.parse().map_err(|_| ApiError::Header(name))?;
    if number.to_string() == text {
        Ok(number)
    } else {
        Err(ApiError::Header(name))
    }
}

#[cfg(test)]
mod tests {
    use meshd_contract::key::PrivateKey;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn request(time: u64, node: &str, body: Vec<u8>) -> Request<Body> {
        let id = node.parse().ok().map(NodeId);
        let text = request_text("POST", "/v1/report?x=1", id, Timestamp(time), &body);
        let signature = PrivateKey::from_seed(&[1; 32]).sign(&text);
        let mut request = Request::builder()
            .method("POST")
            .uri("/v1/report?x=1")
            .header(TIME_HEADER, time.to_string())
            .header(SIGNATURE_HEADER, STANDARD.encode(signature))
            .header(NODE_HEADER, node)
            .body(Body::from(body))
            .expect("a request");
        let observed = Observed([192, 0, 2, 1].into());
        request.extensions_mut().insert(observed);
        request
    }

    fn verify(request: &SignedRequest, seed: u8) -> Result<(), ApiError> {
        request.verify(&PrivateKey::from_seed(&[seed; 32]).public(), NOW)
    }

    #[tokio::test]
    async fn a_signed_request_is_believed_within_the_time_window() {
        for time in [NOW.0 - MAX_CLOCK_SKEW, NOW.0, NOW.0 + MAX_CLOCK_SKEW] {
            let read = SignedRequest::read(request(time, "7", b"{}".to_vec())).await;
            let read = read.expect("reads");
            assert_eq!(read.node, Some(NodeId(7)));
            assert!(verify(&read, 1).is_ok());
            assert!(matches!(verify(&read, 2), Err(ApiError::Signature)));
        }
        for time in [NOW.0 - MAX_CLOCK_SKEW - 1, NOW.0 + MAX_CLOCK_SKEW + 1] {
            let read = SignedRequest::read(request(time, "7", Vec::new())).await;
            let verified = verify(&read.expect("reads"), 1);
            assert!(matches!(verified, Err(ApiError::ClockSkew { .. })));
        }
    }

    #[tokio::test]
    async fn a_number_has_one_text() {
        for node in ["+7", "07", "-7", "", "7 7"] {
            let read = SignedRequest::read(request(NOW.0, node, Vec::new())).await;
            assert!(matches!(read, Err(ApiError::Header(NODE_HEADER))), "{node}");
        }
    }

    #[tokio::test]
    async fn a_long_body_is_refused() {
        let read = SignedRequest::read(request(NOW.0, "7", vec![0; MAX_BODY_BYTES + 1])).await;
        assert!(matches!(read, Err(ApiError::TooLarge(_))));
    }
}
