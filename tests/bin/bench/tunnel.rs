//! What a session carries through the tunnel. Where WireGuard is the userspace one, it is what is
//! measured; the row shows that neither server makes it worse.

use meshd_lab::{Mesh, Result};

use crate::client::{Connection, seconds};
use crate::figures::{by_turns, head, row};
use crate::server::Server;

const MEGABYTES: u32 = 32;

pub(crate) fn measure(mesh: &Mesh) -> Result<()> {
    head()?;
    let [ours, theirs] = Connection::open_both(mesh, "ssh", "")?;
    let options = |server| match server {
        Server::Meshd => ours.options(),
        Server::Sshd => theirs.options(),
    };
    let down = |server| {
        let ssh = format!("ssh {} web1", options(server));
        speed(
            mesh,
            &format!("{ssh} head -c {MEGABYTES}M /dev/zero >/dev/null"),
        )
    };
    row("down, MiB/s", by_turns(down)?)?;
    let up = |server| {
        let ssh = format!("ssh {} web1", options(server));
        speed(
            mesh,
            &format!("head -c {MEGABYTES}M /dev/zero | {ssh} 'cat >/dev/null'"),
        )
    };
    row("up, MiB/s", by_turns(up)?)
}

fn speed(mesh: &Mesh, line: &str) -> Result<f64> {
    Ok(f64::from(MEGABYTES) / seconds(mesh, line)?)
}
