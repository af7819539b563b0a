//! Where the time of one login goes, as the client sees it: the moments of the lines that
//! `ssh -vv` writes, which are the same by both servers.

use std::io::{BufRead, BufReader};
use std::time::Instant;

use meshd_lab::{DEADLINE, LabError, Mesh, Result};

use crate::client::on_laptop;
use crate::figures::{head, median, row};
use crate::server::Server;

const LOGINS: usize = 15;

/// What ends a step, in their order, and the step's name. The first begins with ssh's first line.
const STEPS: [(&str, &str); 6] = [
    ("Connection established", "name, TCP connection"),
    ("Remote protocol version", "server begins to speak"),
    ("SSH2_MSG_NEWKEYS received", "key exchange"),
    ("Authenticated to", "decision and account"),
    ("exec request accepted", "PAM session and start"),
    ("rtype exit-status", "program, its end"),
];

/// The last step ends with the client.
const LAST: &str = "connection closed";

pub(crate) fn measure(mesh: &Mesh) -> Result<()> {
    head()?;
    let [ours, theirs] = Server::BOTH.map(|server| medians(mesh, server));
    for ((name, ours), (_, theirs)) in ours?.into_iter().zip(theirs?) {
        row(&format!("{name}, ms"), (ours, theirs))?;
    }
    Ok(())
}

/// Each step with the median of its milliseconds, in their order.
fn medians(mesh: &Mesh, server: Server) -> Result<Vec<(&'static str, f64)>> {
    let logins: Vec<_> = (0..LOGINS)
        .map(|_| one_login(mesh, server))
        .collect::<Result<_>>()?;
    let names = STEPS.iter().map(|(_, name)| *name).chain([LAST]);
    let steps = names.enumerate().map(|(number, name)| {
        let taken = logins.iter().map(|steps| steps[number]);
        (name, median(taken.collect()))
    });
    Ok(steps.collect())
}

/// The milliseconds of each step of one login.
fn one_login(mesh: &Mesh, server: Server) -> Result<Vec<f64>> {
    let ssh = server.ssh().replace("LogLevel=ERROR", "LogLevel=DEBUG2");
    let mut running = on_laptop(mesh, &format!("exec {ssh} true")).spawn()?;
    drop(running.stdin.take());
    let lines = running.stderr.take().into_iter();
    let mut moments: Vec<Instant> = Vec::new();
    for line in lines.flat_map(|stderr| BufReader::new(stderr).lines()) {
        let line = line.map_err(|error| LabError::system("read what ssh says", error))?;
        match moments.len().checked_sub(1) {
            None => moments.push(Instant::now()),
            Some(step) if STEPS.get(step).is_some_and(|(end, _)| line.contains(end)) => {
                moments.push(Instant::now());
            }
            Some(_) => {}
        }
    }
    running.wait(DEADLINE)?;
    moments.push(Instant::now());
    if moments.len() != STEPS.len() + 2 {
        return Err(LabError::Failed(format!(
            "ssh by {server:?} has not said when it did what"
        )));
    }
    let pairs = moments.windows(2);
    Ok(pairs
        .map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1000.0)
        .collect())
}
