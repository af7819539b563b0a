//! The lab's program inside its hosts; tests start it, people do not.

use std::process::ExitCode;

fn main() -> ExitCode {
    meshd_lab::inside::run(std::env::args_os().skip(1).collect())
}
