//! Where the programs under test are, and where they belong in a host.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use meshd_contract::paths;

use crate::error::{Doing, LabError, Result};

/// The project's programs and their places in an installed system.
const PLACES: [(&str, &str); 8] = [
    ("mesh", "/usr/bin/mesh"),
    ("meshd", "/usr/sbin/meshd"),
    ("meshd-control", "/usr/sbin/meshd-control"),
    ("meshd-broker", "/usr/sbin/meshd-broker"),
    ("meshd-session", paths::SESSION_PROGRAM),
    ("meshd-helper", paths::HELPER_PROGRAM),
    ("portrait", "/usr/lib/meshd/portrait"),
    ("puppet", "/usr/lib/meshd/puppet"),
];

/// The directory with the programs of this build: that of the running program, or its parent
/// when cargo runs a test.
///
/// # Errors
/// [`LabError::System`] if the running program cannot be found.
pub fn build_directory() -> Result<PathBuf> {
    let own = std::env::current_exe().doing(|| "find the running program".to_owned())?;
    let mut directory = own.parent().unwrap_or(Path::new("/"));
    if directory.ends_with("deps") {
        directory = directory.parent().unwrap_or(directory);
    }
    Ok(directory.to_owned())
}

/// The lab's own program, [`crate::inside`].
pub(crate) fn lab_init() -> Result<PathBuf> {
    program("lab-init")
}

/// A program of this build.
///
/// # Errors
/// [`LabError::Unfit`] if it is not built.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = build_directory()?.join(name);
    if path.exists() {
        return Ok(path);
    }
    Err(LabError::Unfit(format!(
        "{} is missing: build it with cargo build --workspace",
        path.display()
    )))
}

/// The programs that are built, each with its place in a host.
pub(crate) fn built() -> Result<Vec<(PathBuf, PathBuf)>> {
    let directory = build_directory()?;
    Ok(PLACES
        .iter()
        .map(|(name, place)| (directory.join(name), PathBuf::from(place)))
        .filter(|(source, _)| source.exists())
        .collect())
}

/// Programs and their places as one text, for an environment variable.
pub(crate) fn encode(programs: &[(PathBuf, PathBuf)]) -> OsString {
    let mut text = OsString::new();
    for (source, place) in programs {
        for path in [source, place] {
            text.push(path);
            text.push("\n");
        }
    }
    text
}

/// What [`encode`] made a text of.
pub(crate) fn decode(text: &OsStr) -> Vec<(PathBuf, PathBuf)> {
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let paths: Vec<_> = text.as_bytes().split(|b| *b == b'\n').collect();
    paths
        .chunks_exact(2)
        .map(|pair| (path(pair[0]), path(pair[1])))
        .collect()
}
