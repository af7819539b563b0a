//! A host's files, from outside.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

/// A host's root directory.
#[derive(Debug)]
pub(crate) struct Root(File);

impl Root {
    /// The root directory of a process.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/root")).map(Self)
    }

    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.open(path, OFlag::O_RDONLY)?
            .read_to_end(&mut content)?;
        Ok(content)
    }

    pub(crate) fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
        self.open(path, flags)?.write_all(content)
    }

    /// Opens a path as the host sees it: links, `..` and all stay in the host.
    pub(crate) fn open(&self, path: &Path, flags: OFlag) -> io::Result<File> {
        let created = if flags.contains(OFlag::O_CREAT) {
            Mode::from_bits_truncate(0o644)
        } else {
            Mode::empty()
        };
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .mode(created)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        Ok(openat2(self.0.as_fd(), path, how)?.into())
    }
}
