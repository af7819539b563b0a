//! The `mesh` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    meshd::cli::main()
}
