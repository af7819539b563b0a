//! What processes of different privilege must agree on.
//!
//! Signed documents and their verification, the SSH rules and their evaluation, the messages
//! between manager, worker and session process, and the API between a node and control. Nothing
//! here reads a clock, a file or the network; only [`wire`] touches descriptors, to pass them on,
//! and [`log`], to write a line.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod address;
pub mod broker;
pub mod check;
pub mod document;
pub mod duration;
pub mod filter;
pub mod forward;
pub mod helper;
pub mod host_key;
pub mod identity;
pub mod key;
pub mod keyring;
pub mod log;
pub mod login;
pub mod login_event;
pub mod network_document;
pub mod node_api;
pub mod paths;
pub mod peer_document;
pub mod signed;
pub mod ssh_rule;
pub mod time;
pub mod trust;
pub mod wire;
