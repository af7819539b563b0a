//! What the client has open.

use std::fs::{File, ReadDir};
use std::path::PathBuf;

use nix::errno::Errno;

use super::fields::Fields;
use super::status::{Refusal, Status};

/// The most that a client has open, whatever the process's limit: directories take 32 KiB each.
pub(super) const MOST: usize = 4096;

/// What a handle stands for.
pub(super) enum Opened {
    File(OpenFile),
    Directory(OpenDirectory),
}

pub(super) struct OpenFile {
    pub(super) file: File,
    pub(super) path: Vec<u8>,
    /// Every write goes to the end, whatever offset it says.
    pub(super) appends: bool,
}

pub(super) struct OpenDirectory {
    pub(super) path: PathBuf,
    /// What the system has not told yet.
    pub(super) entries: ReadDir,
    /// What comes next of `.` and `..`, which the standard library leaves out.
    pub(super) dots: std::slice::Iter<'static, &'static str>,
}

/// Which of them a client means; none if it is none that this server can have given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle(Option<usize>);

/// What is open, by number; the client is told the number as four bytes.
#[derive(Default)]
pub(super) struct Handles(Vec<Option<Opened>>);

impl Handles {
    /// The number that something is open by from now on.
    ///
    /// # Errors
    /// [`Errno::EMFILE`] if too much is.
    pub(super) fn add(&mut self, opened: Opened) -> Result<u32, Refusal> {
        let free = self.0.iter().position(Option::is_none);
        let number = free.unwrap_or(self.0.len());
        if number == MOST {
            return Err(Errno::EMFILE.into());
        }
        if free.is_none() {
            self.0.push(None);
        }
        self.0[number] = Some(opened);
        u32::try_from(number).map_err(|_| Errno::EMFILE.into())
    }

    /// What a handle stands for, which is open no more.
    pub(super) fn take(&mut self, handle: Handle) -> Result<Opened, Refusal> {
        let opened = self.slot(handle).and_then(Option::take);
        opened.ok_or_else(|| no_handle(Status::NoSuchFile))
    }

    /// The file that a handle stands for.
    pub(super) fn file(&self, Handle(number): Handle) -> Result<&OpenFile, Refusal> {
        match number.and_then(|number| self.0.get(number)) {
            Some(Some(Opened::File(file))) => Ok(file),
            _ => Err(no_handle(Status::Failure)),
        }
    }

    /// The directory that a handle stands for.
    pub(super) fn directory(&mut self, handle: Handle) -> Result<&mut OpenDirectory, Refusal> {
        match self.slot(handle) {
            Some(Some(Opened::Directory(directory))) => Ok(directory),
            _ => Err(no_handle(Status::Failure)),
        }
    }

    fn slot(&mut self, Handle(number): Handle) -> Option<&mut Option<Opened>> {
        number.and_then(|number| self.0.get_mut(number))
    }
}

impl Handle {
    /// Reads the field that says which.
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Refusal> {
        let number = <[u8; 4]>::try_from(fields.bytes()?).ok();
        let number = number.map(u32::from_be_bytes).map(usize::try_from);
        Ok(Self(number.and_then(Result::ok)))
    }
}

fn no_handle(status: Status) -> Refusal {
    Refusal::new(status, "No such handle")
}
