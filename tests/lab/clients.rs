//! SSH clients that are no package of this machine, brought to `laptop`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Mesh;

/// How long files may take on a busy machine.
const LONG: Duration = Duration::from_secs(180);

/// Where a client was fetched to; it is there on `laptop` too.
///
/// # Panics
/// If it cannot be fetched.
#[must_use]
pub fn prepared(mesh: &Mesh, client: &str) -> PathBuf {
    let directory = fetched(client);
    share(mesh, &directory);
    directory
}

/// One of the lab's own programs on a client library.
///
/// # Panics
/// If it cannot be brought to `laptop`.
#[must_use]
pub fn program(mesh: &Mesh, name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/clients");
    share(mesh, &path);
    path.join(name).to_string_lossy().into_owned()
}

/// A host has homes and temporary directories of its own, and the repository may lie in one.
fn share(mesh: &Mesh, directory: &Path) {
    let laptop = mesh.host("laptop");
    if laptop.exists(directory) {
        return;
    }
    let place = directory.to_string_lossy();
    let packed = Command::new("tar")
        .args(["-C", &place, "-cf", "-", "."])
        .output();
    let packed = packed.expect("an archive").stdout;
    let unpack = format!("mkdir -p '{place}' && tar -C '{place}' -xf -");
    let unpack = laptop.command("sh").args(["-c", &unpack]);
    unpack
        .input(packed)
        .deadline(LONG)
        .succeed()
        .expect("unpacked");
}

fn fetched(client: &str) -> PathBuf {
    let prepare = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/clients/prepare");
    let output = Command::new(prepare).arg(client).output();
    let output = output.expect("the script runs");
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{why}");
    PathBuf::from(said)
}
