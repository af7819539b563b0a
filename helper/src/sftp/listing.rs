//! Directories.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use super::accounts::Accounts;
use super::attributes::Attributes;
use super::handles::{Handle, OpenDirectory, Opened};
use super::long_name::{Clock, long_name};
use super::paths::path;
use super::replies::Names;
use super::requests::{Answered, Outcome, Request, Server};
use super::status::Status;

/// The size in bytes at which a list of names is sent: every client takes packets of 34,000 bytes
/// (draft-ietf-secsh-filexfer-02, section 3), and one more name fits.
const ENOUGH: usize = 32_000;

const DOTS: [&str; 2] = [".", ".."];

impl Server {
    pub(super) fn opendir(&mut self, mut request: Request<'_>) -> Outcome {
        let path = path(request.fields.bytes()?);
        let number = self.handles.add(Opened::Directory(OpenDirectory {
            path: path.to_owned(),
            entries: fs::read_dir(path)?,
            dots: DOTS.iter(),
        }))?;
        request.replies.handle(request.id, number);
        Ok(Answered::Already)
    }

    pub(super) fn readdir(&mut self, mut request: Request<'_>) -> Outcome {
        let handle = Handle::read(&mut request.fields)?;
        let directory = self.handles.directory(handle)?;
        let Some(first) = directory.next_entry() else {
            return Err(Status::Eof.into());
        };
        let (accounts, clock) = (&mut self.accounts, Clock::now());
        request.replies.names(request.id, |names| {
            let mut entry = Some(first);
            while let Some((name, file)) = entry {
                add(names, &name, &file, accounts, clock);
                entry = (names.len() < ENOUGH)
                    .then(|| directory.next_entry())
                    .flatten();
            }
        });
        Ok(Answered::Already)
    }
}

fn add(
    names: &mut Names<'_, '_>,
    name: &[u8],
    file: &Metadata,
    accounts: &mut Accounts,
    clock: Clock,
) {
    let user = accounts.user_or_number(file.uid());
    let group = accounts.group_or_number(file.gid());
    let long = long_name(name, file, &user, &group, clock);
    names.add(name, &long, &Attributes::from(file));
}

impl OpenDirectory {
    /// The next name that something can be said about: what went meanwhile is left out.
    fn next_entry(&mut self) -> Option<(Vec<u8>, Metadata)> {
        for dot in self.dots.by_ref() {
            if let Ok(file) = fs::symlink_metadata(self.path.join(dot)) {
                return Some((dot.as_bytes().to_vec(), file));
            }
        }
        let mut entries = self.entries.by_ref().map_while(Result::ok);
        entries.find_map(|entry| {
            let file = entry.metadata().ok()?;
            Some((entry.file_name().as_bytes().to_vec(), file))
        })
    }
}
