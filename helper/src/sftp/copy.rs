//! `copy-data` (draft-ietf-secsh-filexfer-extensions-00, section 7).

use std::io::{Read, Seek, SeekFrom, copy};

use super::handles::{Handle, OpenFile};
use super::requests::{Answered, Outcome, Request, Server};
use super::status::{Refusal, Status};

impl Server {
    /// Copies from one open file to another; a length of 0 is all up to the end. Not within one
    /// file, whose bytes would change under the reader.
    pub(super) fn copy_data(&mut self, mut request: Request<'_>) -> Outcome {
        let fields = &mut request.fields;
        let (from, start) = (Handle::read(fields)?, fields.long()?);
        let length = fields.long()?;
        let (to, target) = (Handle::read(fields)?, fields.long()?);
        let (source, sink) = (self.handles.file(from)?, self.handles.file(to)?);
        if from == to || source.path == sink.path {
            return Err(Refusal::new(
                Status::Failure,
                "The file cannot be copied to itself",
            ));
        }
        copy_between(source, start, length, sink, target)?;
        Ok(Answered::WithSuccess)
    }
}

/// The files' own positions are used for nothing else.
fn copy_between(
    source: &OpenFile,
    start: u64,
    length: u64,
    sink: &OpenFile,
    target: u64,
) -> Result<(), Refusal> {
    let (mut from, mut to) = (&source.file, &sink.file);
    from.seek(SeekFrom::Start(start))?;
    if !sink.appends {
        to.seek(SeekFrom::Start(target))?;
    }
    let most = if length == 0 { u64::MAX } else { length };
    copy(&mut from.take(most), &mut to)?;
    Ok(())
}
