//! The programs at the ends of a forward, and who types.

use meshd_lab::{Host, HostCommand, Mesh, Result, Running, wait_for};

use crate::client::number;

const PROGRAM: &str = include_str!("streams.py");
/// Where the program is on a host.
pub(crate) const PLACE: &str = "/tmp/streams.py";

/// Puts the program on both hosts.
pub(crate) fn install(mesh: &Mesh) -> Result<()> {
    for host in ["laptop", "web1"] {
        mesh.host(host).write(PLACE, PROGRAM)?;
    }
    Ok(())
}

/// Serves echoes, sources and sinks at a loopback port of a host.
pub(crate) fn serve(host: &Host, port: u16) -> Result<Running> {
    let serving = program(host).args(["serve", &port.to_string()]).spawn()?;
    wait_for_port(host, port)?;
    Ok(serving)
}

/// Waits until a host listens at a port.
pub(crate) fn wait_for_port(host: &Host, port: u16) -> Result<()> {
    let listens = format!("ss -Hltn sport = :{port} | grep -q .");
    wait_for(&format!("port {port}"), meshd_lab::DEADLINE, || {
        host.sh(&listens).ok().map(drop)
    })
}

/// The figure that the program prints when it is told this.
pub(crate) fn figure(host: &Host, words: &[&str]) -> Result<f64> {
    let asked = program(host).args(words.iter().copied()).succeed()?;
    number(&asked.stdout)
}

fn program(host: &Host) -> HostCommand {
    host.command("python3").arg(PLACE)
}
