//! The manager: keeps this host in its mesh.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use meshd::manager::daemon::Daemon;
use meshd::manager::error::Error;
use meshd::manager::options::Options;
use meshd::manager::privilege;

fn main() -> ExitCode {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), Error> {
    privilege::check()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::network("starting", error))?;
    runtime.block_on(async { Daemon::new(options)?.run().await })
}
