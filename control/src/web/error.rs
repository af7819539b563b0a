//! What a person is told when a page cannot be shown, or a form does not count.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::html;
use thiserror::Error;

use super::local_path::LocalPath;
use super::page::{page, redirect};
use crate::problem::ApiError;
use crate::store::StoreError;

/// Why there is no page.
#[derive(Debug, Error)]
pub(crate) enum WebError {
    /// Nobody is signed in; the way leads over the page for it and back.
    #[error("sign in first")]
    SignInFirst(LocalPath),
    /// The last sign-in is too long ago.
    #[error("sign in again")]
    SignInAgain(LocalPath),
    /// A form that no page of this server can have sent, or an old one.
    #[error(
        "This form has come from elsewhere, or its page was too old. Open {0} in your browser \
         and try again."
    )]
    Forged(String),
    /// A form that cannot be read.
    #[error("This form cannot be read. Go back, and try again.")]
    Unreadable,
    /// Nothing is there; one sentence.
    #[error("{0}")]
    NotFound(&'static str),
    /// The person may not do this; one sentence.
    #[error("{0}")]
    Forbidden(String),
    /// Too many tries.
    #[error("There were too many tries. Wait {0} seconds, and try again.")]
    TooMany(u64),
    /// Somebody else is away; one sentence.
    #[error("{0}")]
    Away(String),
    /// Too much to do.
    #[error("Control has too much to do at the moment. Try again in a few seconds.")]
    Busy,
    /// The body was too long or too late.
    #[error(transparent)]
    Request(#[from] ApiError),
    /// The store refused, or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something of control's own; the log has it.
    #[error("{0}")]
    Fault(String),
}

impl From<getrandom::Error> for WebError {
    fn from(error: getrandom::Error) -> Self {
        Self::Fault(error.to_string())
    }
}

impl WebError {
    fn status(&self) -> StatusCode {
        match self {
            Self::SignInFirst(_) | Self::SignInAgain(_) => StatusCode::SEE_OTHER,
            Self::Forged(_) | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Unreadable | Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Store(StoreError::Refused(_)) => StatusCode::CONFLICT,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy | Self::Away(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(_) | Self::Fault(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for WebError {
    fn into_response(self) -> Response {
        match &self {
            Self::SignInFirst(next) => return redirect(&next.sign_in(false)),
            Self::SignInAgain(next) => return redirect(&next.sign_in(true)),
            _ => {}
        }
        let status = self.status();
        let sentence = match status {
            StatusCode::INTERNAL_SERVER_ERROR => {
                tracing::error!(error = %self, "a page failed");
                "Control has a fault of its own; its log says more.".to_owned()
            }
            _ => self.to_string(),
        };
        let content = html! {
            p { (sentence) }
            p { a href="/" { "Start page" } }
        };
        let mut response = (status, page("This did not work", &content)).into_response();
        if let Self::TooMany(seconds) = self {
            let seconds = HeaderValue::from(seconds);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}
