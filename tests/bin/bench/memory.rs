//! What an idle session costs.

use meshd_lab::{Mesh, Result, Running};

use crate::client::number;
use crate::server::Server;

const IDLE: usize = 20;

/// What one of [`IDLE`] idle sessions adds to the memory of all processes of a server; pages that
/// several share are divided among them (PSS).
pub(crate) fn kilobytes_per_session(mesh: &Mesh, server: Server) -> Result<f64> {
    let before = kilobytes(mesh, server)?;
    let mut sessions: Vec<Running> = Vec::new();
    for number in 0..IDLE {
        let ssh = server.ssh();
        let line = format!("exec {ssh} 'touch /tmp/idle.{number}; sleep 1000'");
        let shell = mesh.host("laptop").command("sh").args(["-c", &line]);
        sessions.push(shell.spawn()?);
        mesh.wait_for_file("web1", &format!("/tmp/idle.{number}"))?;
    }
    let after = kilobytes(mesh, server)?;
    drop(sessions);
    // sshd leaves a command without a terminal alone when its client leaves.
    mesh.host("web1")
        .sh("pkill -KILL -u alice; rm /tmp/idle.*")?;
    mesh.wait_until_empty("web1", "alice")?;
    Ok((after - before) / IDLE as f64)
}

fn kilobytes(mesh: &Mesh, server: Server) -> Result<f64> {
    let web1 = mesh.host("web1");
    let processes = web1.processes()?;
    let pids = processes
        .iter()
        .filter(|process| server.owns(&process.name));
    let files: Vec<_> = pids
        .map(|p| format!("/proc/{}/smaps_rollup", p.pid))
        .collect();
    let summed = web1.sh(&format!(
        "cat /dev/null {} | awk '$1 == \"Pss:\" {{sum += $2}} END {{print sum + 0}}'",
        files.join(" ")
    ))?;
    number(&summed.stdout)
}
