//! Bodies that nobody has read.
//!
//! A request may be refused by its head while its body is still on the way. If the connection were
//! closed then, the client might find it broken and never see the answer, or send its next request
//! into it (RFC 9112, section 9.6). So the rest is read and thrown away before the answer goes out;
//! if that is too much, the answer says that the connection ends.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, HeaderMap, HeaderValue};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The most that is thrown away, in bytes.
const MOST: usize = 1 << 20;
/// How long it may take to come.
const PATIENCE: Duration = Duration::from_secs(5);

/// The body of a request, which goes back to [`Unread`] when it is dropped before its end.
pub(crate) struct Lent {
    body: Option<Incoming>,
    back: Option<oneshot::Sender<Incoming>>,
}

/// What is left of a request's body when the request was answered.
pub(crate) struct Unread {
    rest: oneshot::Receiver<Incoming>,
    /// The client sends the body only when it is asked to (RFC 9110, section 10.1.1).
    is_held_back: bool,
}

/// Lends the body of a request with this head.
pub(crate) fn lend(head: &HeaderMap, body: Incoming) -> (Lent, Unread) {
    let (back, rest) = oneshot::channel();
    let lent = Lent {
        body: Some(body),
        back: Some(back),
    };
    let unread = Unread {
        rest,
        is_held_back: head.contains_key(hyper::header::EXPECT),
    };
    (lent, unread)
}

impl Unread {
    /// Reads what the answer has not waited for.
    pub(crate) async fn settle<B>(mut self, response: &mut Response<B>) {
        let Ok(rest) = self.rest.try_recv() else {
            return;
        };
        if self.is_held_back || timeout(PATIENCE, throw_away(rest)).await != Ok(true) {
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Whether it came to its end.
async fn throw_away(mut body: Incoming) -> bool {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > MOST {
            return false;
        }
    }
    true
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take())
            && !body.is_end_stream()
        {
            // Nobody waits for it when the connection is gone.
            let _ = back.send(body);
        }
    }
}
