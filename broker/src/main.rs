//! `meshd-broker`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    meshd_broker::main(std::env::args_os().skip(1))
}
