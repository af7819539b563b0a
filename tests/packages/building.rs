//! The packages of this build, made once for all tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

pub(crate) const NAMES: [&str; 3] = ["meshd", "meshd-ssh", "meshd-control"];

/// The version that tests install first.
pub(crate) const OLD: &str = "0.1.0";
/// The version that they upgrade to; its programs are the same.
pub(crate) const NEW: &str = "0.1.1";

pub(crate) static OLD_DEBS: LazyLock<Vec<PathBuf>> = LazyLock::new(|| build("deb", OLD, "old"));
pub(crate) static OLD_RPMS: LazyLock<Vec<PathBuf>> = LazyLock::new(|| build("rpm", OLD, "old"));
pub(crate) static NEW_RPMS: LazyLock<Vec<PathBuf>> = LazyLock::new(|| build("rpm", NEW, "new"));
pub(crate) static NEW_DEBS: LazyLock<Vec<PathBuf>> = LazyLock::new(|| build("deb", NEW, "new"));

/// Where this program of tests has its packages: another one may run beside it, and clear and fill
/// its own.
pub(crate) fn packages() -> PathBuf {
    let programs = meshd_lab::build_directory().expect("the programs of this build");
    programs.join("packages").join(env!("CARGO_CRATE_NAME"))
}

/// Builds the packages of a family into a folder of their own.
///
/// # Panics
/// With what the build said, if it fails.
pub(crate) fn build(family: &str, version: &str, folder: &str) -> Vec<PathBuf> {
    let script = repository().join("packaging/build");
    build_by(&mut Command::new(script), family, version, folder)
}

/// The same by the script of another checkout.
pub(crate) fn build_by(
    script: &mut Command,
    family: &str,
    version: &str,
    folder: &str,
) -> Vec<PathBuf> {
    let programs = meshd_lab::build_directory().expect("the programs of this build");
    let output = packages().join(format!("{family}-{folder}"));
    let _ = fs::remove_dir_all(&output);
    succeed(
        script
            .arg(family)
            .args([&programs, &output])
            .env("MESHD_VERSION", version)
            .env("DPKG_DEB_COMPRESSOR_TYPE", "gzip")
            .env("DPKG_DEB_COMPRESSOR_LEVEL", "1"),
    );
    let entries = fs::read_dir(&output).expect("the packages");
    let mut packages: Vec<_> = entries
        .map(|entry| entry.expect("a package").path())
        .collect();
    packages.sort();
    assert_eq!(packages.len(), NAMES.len(), "{packages:?}");
    packages
}

/// Runs a command of this machine; its standard output.
///
/// # Panics
/// With what it said, if it fails.
pub(crate) fn succeed(command: &mut Command) -> String {
    const HINT: &str = "tests/lab/packages packages installs what is missing";
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}; {HINT}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}\n{HINT}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
