//! The CPU time that a server and what it starts use.

use meshd_lab::{Mesh, Result};

/// Clock ticks a second, as proc(5) counts them (USER_HZ).
const TICKS: f64 = 100.0;

/// Seconds of user and system time that all processes of web1 and the children that they have
/// waited for have used until now, the manager's left out: no byte of a session passes through it.
pub(crate) fn seconds(mesh: &Mesh) -> Result<f64> {
    let all = mesh
        .host("web1")
        .sh("cat /proc/[0-9]*/stat 2>/dev/null; :")?;
    Ok(all.stdout.lines().filter_map(ticks).sum::<f64>() / TICKS)
}

/// utime, stime, cutime and cstime of a line of proc_pid_stat(5).
fn ticks(line: &str) -> Option<f64> {
    let (name, fields) = line.split_once('(')?.1.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let times = fields
        .get(11..15)?
        .iter()
        .filter_map(|f| f.parse::<f64>().ok());
    (name != "meshd").then(|| times.sum())
}
