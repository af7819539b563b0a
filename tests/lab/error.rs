//! What can go wrong in the lab.

use std::io;
use std::time::Duration;

use thiserror::Error;

/// What the lab's functions return.
pub type Result<T> = std::result::Result<T, LabError>;

/// Why the lab could not do what a test asked for.
#[derive(Debug, Error)]
pub enum LabError {
    /// This machine cannot run the lab.
    #[error("{0}")]
    Unfit(String),
    /// A call to the system failed.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A host did not start.
    #[error("the host {host} did not start: {why}")]
    Start {
        /// The host.
        host: String,
        /// What it said.
        why: String,
    },
    /// A command in a host failed.
    #[error("{0}")]
    Failed(String),
    /// Something did not happen in time.
    #[error("after {} s there was still no {what}", .deadline.as_secs_f32())]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        deadline: Duration,
    },
}

impl LabError {
    /// Makes an error of a failed call; `doing` completes "cannot ...".
    pub fn system(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System {
            doing: doing.into(),
            source: source.into(),
        }
    }
}

/// Says what was tried when a call fails.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| LabError::system(what(), source))
    }
}
