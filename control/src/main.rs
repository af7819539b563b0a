//! The coordination server of meshd: who is part of the mesh, and what each node is told.

#![forbid(unsafe_code)]

mod address_pool;
mod admin;
mod agenda;
mod api;
mod audit;
mod auth_key;
mod backup;
mod checks;
mod cli;
mod clock;
mod compose;
mod document_stream;
mod endpoint;
mod engine;
mod ephemeral;
mod farewell;
mod host_key;
mod https;
mod hub;
mod issue;
mod join_server;
mod key_file;
mod last_seen;
mod mesh;
mod node_server;
mod oidc;
mod problem;
mod public_url;
mod publisher;
mod rate;
mod replay;
mod role;
mod serve;
mod signed_request;
mod signer;
mod state_dir;
mod store;
mod tls;
mod unread;
mod web;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::perform(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "meshd-control: {error}");
            ExitCode::FAILURE
        }
    }
}
