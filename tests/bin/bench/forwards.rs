//! What a forwarded connection carries, and how long a round trip through it takes.

use meshd_lab::{Host, Mesh, Result};

use crate::bulk::prepare;
use crate::client::Connection;
use crate::figures::{by_turns, head, row};
use crate::server::Server;
use crate::streams;

const MEGABYTES: f64 = 256.0;
const ROUND_TRIPS: &str = "1000";

/// Where the programs at the far ends listen.
const SERVED: u16 = 8000;

pub(crate) fn measure(mesh: &Mesh) -> Result<()> {
    prepare(mesh)?;
    streams::install(mesh)?;
    let (laptop, web1) = (mesh.host("laptop"), mesh.host("web1"));
    let _there = streams::serve(web1, SERVED)?;
    let _here = streams::serve(laptop, SERVED)?;
    head()?;
    for (direction, near) in [("-L", laptop), ("-R", web1)] {
        let open = |server| {
            let forward = format!("{direction} {}:127.0.0.1:{SERVED}", port(server));
            let connection = Connection::open(mesh, server, "ssh", &forward)?;
            streams::wait_for_port(near, port(server))?;
            Ok(connection)
        };
        let _connections = Server::BOTH
            .map(open)
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        rows(direction, near)?;
    }
    Ok(())
}

/// At the end where connections are made.
fn rows(direction: &str, near: &Host) -> Result<()> {
    for (what, way) in [("from the far end", "S"), ("to the far end", "D")] {
        let speeds = by_turns(|server| {
            let words = ["ask", &port(server).to_string(), way];
            Ok(MEGABYTES / streams::figure(near, &words)?)
        })?;
        row(&format!("{direction} {what}, MiB/s"), speeds)?;
    }
    let times = by_turns(|server| {
        let words = ["echo", &port(server).to_string(), ROUND_TRIPS];
        streams::figure(near, &words)
    })?;
    row(&format!("{direction} round trip, us"), times)
}

/// Where each server's forward listens.
fn port(server: Server) -> u16 {
    match server {
        Server::Meshd => 7001,
        Server::Sshd => 7002,
    }
}
