//! How long a login takes, how many there are at a time, and what an idle one costs.

use meshd_lab::{Mesh, Result};

use crate::client::on_laptop;
use crate::figures::{head, median, row};
use crate::memory;
use crate::server::Server;

const LOGINS: u32 = 30;
const AT_ONCE: u32 = 8;

pub(crate) fn measure(mesh: &Mesh) -> Result<()> {
    head()?;
    row("one login, ms", login_times(mesh)?)?;
    let [ours, theirs] = Server::BOTH.map(|server| logins_per_second(mesh, server));
    row("logins/s, 8 at once", (ours?, theirs?))?;
    let [ours, theirs] = Server::BOTH.map(|server| memory::kilobytes_per_session(mesh, server));
    row("PSS per idle session, kB", (ours?, theirs?))
}

/// One login after the other, by turns, so that both meet the same load of the machine.
fn login_times(mesh: &Mesh) -> Result<(f64, f64)> {
    let (ours, theirs) = (Server::Meshd.ssh(), Server::Sshd.ssh());
    let script = format!(
        "took() {{ local from=$EPOCHREALTIME; \"$@\" </dev/null || exit 1; \
         local to=$EPOCHREALTIME; echo $((${{to/./}} - ${{from/./}})); }}; \
         for i in {{0..{LOGINS}}}; do took {ours} true; took {theirs} true; done"
    );
    let output = on_laptop(mesh, &script).succeed()?;
    let micros: Vec<f64> = output
        .stdout
        .lines()
        .filter_map(|l| l.parse().ok())
        .collect();
    let every_second = |first: usize| {
        let taken = micros.iter().skip(first + 2).step_by(2);
        median(taken.map(|micros| micros / 1000.0).collect())
    };
    Ok((every_second(0), every_second(1)))
}

fn logins_per_second(mesh: &Mesh, server: Server) -> Result<f64> {
    let (logins, ssh) = (LOGINS * 4, server.ssh());
    let script = format!("seq {logins} | xargs -P {AT_ONCE} -I+ {ssh} true");
    let took = on_laptop(mesh, &script).succeed()?.took;
    Ok(f64::from(logins) / took.as_secs_f64())
}
