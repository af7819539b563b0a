//! Accounts that nobody may use now.

use std::time::Duration;

use crate::servers::{self, Server};

/// Neither a look-up nor a refusal may take that long, on a slow machine either.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn probe() {
    let mesh = servers::start();
    for account in ["expired", "changing", "closed", "nobody-there"] {
        for server in [Server::Sshd, Server::Meshd] {
            for o in ["-T", "-tt"] {
                let x = server
                    .ssh(&mesh, &[o, "-o", "LogLevel=INFO"], account)
                    .arg("true")
                    .deadline(SOON)
                    .output();
                println!("{account} {server:?} {o}: {x:?}");
            }
        }
    }
}
