//! What a person types on a laptop.

use std::time::Duration;

use meshd_lab::{DEADLINE, HostCommand, Mesh, wait_for};

/// For many bytes and slow languages on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// Runs a script on `laptop` of a new mesh that stops at its first failure.
pub(crate) fn run(script: &str) -> String {
    let mesh = Mesh::of_two().expect("a mesh");
    let output = on_laptop(&mesh, script).succeed();
    output.expect("an end").stdout
}

/// A script for `laptop` that stops at its first failure.
pub(crate) fn on_laptop(mesh: &Mesh, script: &str) -> HostCommand {
    let bash = mesh.host("laptop").command("bash").env("HOME", "/root");
    bash.args(["-euo", "pipefail", "-c", script])
}

/// What `mesh sessions` on `web1` says of each connection.
pub(crate) fn connections(mesh: &Mesh) -> Vec<String> {
    let shown = mesh.host("web1").command("mesh").arg("sessions").succeed();
    let shown = shown.expect("sessions").stdout;
    shown.lines().skip(1).map(str::to_owned).collect()
}

/// Waits until `mesh sessions` shows what is wanted.
pub(crate) fn wait_for_connections(mesh: &Mesh, wanted: impl Fn(&[String]) -> bool) {
    let mut last = Vec::new();
    wait_for("what mesh sessions shows", DEADLINE, || {
        last = connections(mesh);
        wanted(&last).then_some(())
    })
    .unwrap_or_else(|late| panic!("{late}: {last:#?}"));
}

/// Fails with the package to install where a program is missing.
pub(crate) fn need(mesh: &Mesh, programs: &[(&str, &str)]) {
    for (program, package) in programs {
        let found = mesh.host("laptop").sh(&format!("command -v {program}"));
        assert!(
            found.is_ok(),
            "{program} is missing: apt-get install --no-install-recommends {package}"
        );
    }
}
