//! The manager, the session process and the `mesh` command.

pub mod cli;
pub mod known_hosts;
pub mod local_api;
pub mod manager;
pub mod regular_file;
pub mod session;
