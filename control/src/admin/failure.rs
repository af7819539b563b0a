//! Why an operation was not carried out.

use thiserror::Error;

use super::protocol::Answer;
use crate::store::StoreError;

/// Nothing was changed, and why.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// What was asked for cannot be; the sentence says what to do.
    #[error("{0}")]
    Unfit(String),
    /// A tag that the policy does not have.
    #[error(
        "the policy does not define {0}; add it under \"tagOwners\" with `meshd-control policy set`"
    )]
    UnknownTag(String),
    /// A part of control does not do what it should.
    #[error("{0}")]
    Broken(String),
    /// Everything that is wrong with a policy, each with its place.
    #[error("this policy is refused: {}", .0.join("; "))]
    PolicyRefused(Vec<String>),
    /// What a policy would take from those who administer the mesh.
    #[error("this policy would cut what an administrator has now: {}", .0.join("; "))]
    WouldCut(Vec<String>),
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    NoRandom(#[from] getrandom::Error),
    /// The store refused, or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::PolicyRefused(problems) => Self::PolicyRefused(problems),
            Failure::WouldCut(losses) => Self::WouldCut(losses),
            Failure::Store(StoreError::Refused(_)) | Failure::Unfit(_) | Failure::UnknownTag(_) => {
                Self::Failed(failure.to_string())
            }
            Failure::NoRandom(_) | Failure::Broken(_) | Failure::Store(_) => {
                tracing::error!(error = %failure, "a command failed");
                Self::Failed(failure.to_string())
            }
        }
    }
}
