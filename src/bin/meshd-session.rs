//! Speaks SSH on one connection, with no privilege. Started by meshd-broker.

use std::process::ExitCode;

use meshd::session;

fn main() -> ExitCode {
    match session::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            session::log("", &error.to_string());
            ExitCode::FAILURE
        }
    }
}
