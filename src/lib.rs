//! The manager, the session process and the `mesh` command.

pub mod session;
