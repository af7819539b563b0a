//! The manager: keeps this host in its mesh.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use meshd::manager::daemon::Daemon;
use meshd::manager::error::Error;
use meshd::manager::fd_store;
use meshd::manager::options::{Arguments, Command, Options};
use meshd::manager::privilege;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr();
    let command = arguments.command;
    let options = arguments.options();
    let done = match command {
        Some(Command::Check) => options.map(drop),
        None => options.and_then(|options| run(options, fd_store::left())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            exit_code(&error)
        }
    }
}

/// What a person has to put right first ends with EX_CONFIG (sysexits.h), so that systemd does not
/// try it again (RestartPreventExitStatus=).
fn exit_code(error: &Error) -> ExitCode {
    const EX_CONFIG: u8 = 78;
    if error.needs_a_person() {
        ExitCode::from(EX_CONFIG)
    } else {
        ExitCode::FAILURE
    }
}

/// Of the libraries only what nobody can cause at will: hickory writes a line for each query, and
/// gotatun one for each packet that it cannot send.
fn log_to_stderr() {
    let targets = Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("hickory_server", LevelFilter::ERROR)
        .with_target("gotatun", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false);
    tracing_subscriber::registry()
        .with(lines.with_filter(targets))
        .init();
}

fn run(options: Options, left: Vec<fd_store::Left>) -> Result<(), Error> {
    privilege::check()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::network("starting", error))?;
    runtime.block_on(async { Daemon::new(options, left).await?.run().await })
}
