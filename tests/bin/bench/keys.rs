//! How long a typed letter takes to be shown.

use meshd_lab::{Mesh, Result, Running};

use crate::bulk::prepare;
use crate::client::on_laptop;
use crate::figures::{by_turns, head, row};
use crate::server::Server;
use crate::streams::{self, PLACE};

/// Fewer than a line of a terminal holds.
const LETTERS: &str = "300";

/// Where the source of the downloads listens, and the forward to it.
const SERVED: u16 = 8000;
const BUSY: u16 = 7001;

/// A client that hides when letters are typed sends them late, to any server.
const AT_ONCE: &str = "-o IgnoreUnknown=ObscureKeystrokeTiming -o ObscureKeystrokeTiming=no";

pub(crate) fn measure(mesh: &Mesh) -> Result<()> {
    prepare(mesh)?;
    streams::install(mesh)?;
    let _source = streams::serve(mesh.host("web1"), SERVED)?;
    head()?;
    let alone = by_turns(|server| typed(mesh, server, ""))?;
    row("echo of a letter, us", alone)?;
    let busy = by_turns(|server| {
        let _downloads = downloads(mesh)?;
        typed(mesh, server, &format!("-L {BUSY}:127.0.0.1:{SERVED}"))
    })?;
    row("beside a download, us", busy)
}

/// The median of the letters of one terminal session.
fn typed(mesh: &Mesh, server: Server, options: &str) -> Result<f64> {
    let ssh = server
        .ssh()
        .replacen("ssh", &format!("ssh -tt {AT_ONCE} {options}"), 1);
    let words = ["keys", LETTERS].into_iter().chain(ssh.split_whitespace());
    let words: Vec<&str> = words.chain(["echo ready; exec cat"]).collect();
    streams::figure(mesh.host("laptop"), &words)
}

/// Downloads without end through a forward of the same connection, as soon as there is one.
fn downloads(mesh: &Mesh) -> Result<Running> {
    let again = format!("while :; do python3 {PLACE} ask {BUSY} S 2>/dev/null || sleep 0.05; done");
    on_laptop(mesh, &again).spawn()
}
