//! The policy language: from the text of a policy file to what each node must know.
//!
//! The language is the one of Tailscale's and Headscale's policy files. [`Policy::parse`] reads a
//! text, or says everything that is wrong with it; [`Policy::compile`] applies it to a
//! [`Topology`]. Nothing here reads a file, a clock or the network.

#![forbid(unsafe_code)]

mod assertions;
mod check;
mod compile;
mod diff;
mod duration;
mod endpoint;
mod explain;
mod format;
mod hujson;
mod mesh;
mod model;
mod nodeset;
mod packet;
mod policy;
mod ports;
mod problem;
mod ranges;
mod read;
mod selector;
mod suggest;
mod topology;

pub use assertions::{TestFailure, TestReport};
pub use check::{CheckReport, check, test};
pub use compile::{Compiled, NodeView};
pub use diff::{
    ChangeKind, DiffError, Difference, Endpoint, LoginClass, NetworkChange, SshAccess, SshChange,
    Traffic, diff,
};
pub use endpoint::{EndpointError, NodeLabel};
pub use explain::{
    ExplainError, Explanation, Near, NetworkGate, Question, RuleLabel, SshGate, SshOutcome, explain,
};
pub use format::format;
pub use hujson::{MAX_DEPTH, MAX_POLICY_BYTES};
pub use policy::{Actor, Policy};
pub use problem::{Errors, MAX_PROBLEMS, Position, Problem};
pub use topology::{Node, Role, Topology, User};
