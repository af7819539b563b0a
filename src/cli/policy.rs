//! `mesh policy`: looks into a policy file without asking control.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::CliError;

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Say whether a policy can be saved; line and column of the first fault.
    Check {
        /// The policy.
        file: PathBuf,
    },
}

pub(super) fn run(command: &Policy) -> Result<ExitCode, CliError> {
    match command {
        Policy::Check { file } => {
            let text = std::fs::read_to_string(file).map_err(|error| CliError::File {
                path: file.clone(),
                verb: "read",
                reason: error.to_string(),
            })?;
            drop(text);
            Err(CliError::Policy(String::new()))
        }
    }
}
