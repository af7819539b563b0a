//! File transfer by sftp and scp.

use meshd_lab::{Mesh, Result};

use crate::bulk::{CIPHERS, FILE, negotiated, prepare};
use crate::client::{Connection, seconds};
use crate::figures::{by_turns, head, row, say};
use crate::server::Server;

const MEGABYTES: f64 = 256.0;

/// The many small files, on both hosts.
const SMALL: &str = "/dev/shm/small";

pub(crate) fn measure(mesh: &Mesh) -> Result<()> {
    prepare(mesh)?;
    head()?;
    for cipher in &CIPHERS {
        say(&negotiated(mesh, cipher)?)?;
        let connections = Connection::open_both(mesh, cipher.program, cipher.option)?;
        let rows = [
            ("sftp get", "sftp -q OPTIONS web1:FILE /dev/null"),
            (
                "sftp put",
                "echo put FILE /dev/shm/put | sftp -q -b - OPTIONS web1",
            ),
            ("scp down", "scp -q OPTIONS web1:FILE /dev/null"),
            ("scp up", "scp -q OPTIONS FILE web1:/dev/shm/put"),
            ("scp -O down", "scp -O -q OPTIONS web1:FILE /dev/null"),
            ("scp -O up", "scp -O -q OPTIONS FILE web1:/dev/shm/put"),
        ];
        for (what, line) in rows {
            let speeds = by_turns(|server| {
                let line = line.replace("FILE", FILE);
                Ok(MEGABYTES / took(mesh, &connections, server, &line)?)
            })?;
            row(&format!("  {what}, MiB/s"), speeds)?;
        }
    }
    many(mesh)
}

/// A hundred small files; most of it is waiting for each other's answers.
fn many(mesh: &Mesh) -> Result<()> {
    for host in ["laptop", "web1"] {
        mesh.host(host).sh(&format!(
            "mkdir {SMALL} && for i in $(seq 100); do head -c 1000 /dev/zero >{SMALL}/$i; done"
        ))?;
    }
    let connections = Connection::open_both(mesh, "ssh", "")?;
    let rows = [
        (
            "scp -r, 100 files down, ms",
            "scp -q -r OPTIONS web1:SMALL /dev/shm/got",
        ),
        (
            "scp -r, 100 files up, ms",
            "scp -q -r OPTIONS SMALL web1:/dev/shm/got",
        ),
    ];
    for (what, line) in rows {
        let line = line.replace("SMALL", SMALL);
        let times = by_turns(|server| Ok(1000.0 * took(mesh, &connections, server, &line)?))?;
        row(what, times)?;
    }
    Ok(())
}

fn took(mesh: &Mesh, connections: &[Connection; 2], server: Server, line: &str) -> Result<f64> {
    let [ours, theirs] = connections;
    let options = match server {
        Server::Meshd => ours.options(),
        Server::Sshd => theirs.options(),
    };
    seconds(mesh, &line.replace("OPTIONS", options))
}
