//! The manager: the unprivileged daemon that keeps a host in the mesh.

pub mod api;
pub mod atomic;
pub mod broker;
mod calls;
pub mod control;
pub mod daemon;
pub mod dns;
pub mod documents;
pub mod error;
mod expression;
pub mod fd_store;
pub mod firewall;
pub mod join;
pub mod link;
pub mod mesh;
pub mod names;
pub mod nft;
pub mod options;
pub mod privilege;
pub mod report;
mod reporting;
pub mod sandbox;
pub mod socket;
pub mod ssh;
pub mod state;
pub mod status;
pub mod wireguard;
