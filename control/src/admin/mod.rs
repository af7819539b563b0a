//! The local commands: what they ask for, who may ask, and what is done.
//!
//! One connection is one request: a JSON text from the client up to its end of stream, and a JSON
//! text back.

mod accounts;
mod api_keys;
mod checks;
pub(crate) mod client;
pub(crate) mod failure;
mod keys;
pub(crate) mod operations;
mod policy;
pub(crate) mod protocol;
pub(crate) mod server;
