//! The answers, collected until they are sent together.

use std::io::{self, Write};

use super::attributes::Attributes;
use super::buffer::Buffer;
use super::status::Refusal;

const VERSION: u8 = 2;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED_REPLY: u8 = 201;

/// Answers that have not been sent.
#[derive(Default)]
pub(super) struct Replies {
    buffer: Buffer,
}

/// The fields of one answer, as they are written.
pub(super) struct Body<'a>(&'a mut Buffer);

impl Replies {
    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Sends all.
    ///
    /// # Errors
    /// What the system said: the client is gone.
    pub(super) fn send(&mut self, output: &mut impl Write) -> io::Result<()> {
        output.write_all(self.buffer.bytes())?;
        self.buffer.truncate(0);
        Ok(())
    }

    pub(super) fn version(&mut self, version: u32, extensions: &[(&str, &str)]) {
        self.packet(VERSION, |body| {
            body.number(version);
            for (name, value) in extensions {
                body.string(name.as_bytes());
                body.string(value.as_bytes());
            }
        });
    }

    pub(super) fn status(&mut self, id: u32, refusal: &Refusal) {
        self.answer(STATUS, id, |body| {
            body.number(refusal.status as u32);
            body.string(refusal.words.as_bytes());
            body.string(b"");
        });
    }

    pub(super) fn handle(&mut self, id: u32, handle: u32) {
        self.answer(HANDLE, id, |body| body.string(&handle.to_be_bytes()));
    }

    pub(super) fn attributes(&mut self, id: u32, attributes: &Attributes) {
        self.answer(ATTRS, id, |body| attributes.write(body));
    }

    /// One name, about which nothing is said.
    pub(super) fn name(&mut self, id: u32, name: &[u8]) {
        self.names(id, |names| {
            names.add(name, name, &Attributes::default());
        });
    }

    /// The names that `list` adds.
    pub(super) fn names(&mut self, id: u32, list: impl FnOnce(&mut Names<'_, '_>)) {
        self.answer(NAME, id, |body| {
            let at = body.0.len();
            body.number(0);
            let mut names = Names {
                body,
                start: at,
                count: 0,
            };
            list(&mut names);
            let count = names.count;
            body.0.put_at(at, count.to_be_bytes());
        });
    }

    pub(super) fn extended(&mut self, id: u32, fields: impl FnOnce(&mut Body<'_>)) {
        self.answer(EXTENDED_REPLY, id, fields);
    }

    /// As many bytes as `read` puts into a buffer of this size; no answer if it fails.
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) fn data<E>(
        &mut self,
        id: u32,
        size: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let start = self.buffer.len();
        let mut outcome = Ok(());
        self.answer(DATA, id, |body| {
            let at = body.0.len();
            body.number(0);
            outcome = read(body.0.room(size)).map(|count| {
                body.0.truncate(at + 4 + count);
                body.0.put_at(at, length(count));
            });
        });
        if outcome.is_err() {
            self.buffer.truncate(start);
        }
        outcome
    }

    fn answer(&mut self, kind: u8, id: u32, fields: impl FnOnce(&mut Body<'_>)) {
        self.packet(kind, |body| {
            body.number(id);
            fields(body);
        });
    }

    fn packet(&mut self, kind: u8, fields: impl FnOnce(&mut Body<'_>)) {
        let at = self.buffer.len();
        self.buffer.put(&[0, 0, 0, 0, kind]);
        fields(&mut Body(&mut self.buffer));
        let size = self.buffer.len() - at - 4;
        self.buffer.put_at(at, length(size));
    }
}

/// No answer is longer than a number can say.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

impl<'a> Body<'a> {
    /// Fields at the end of these bytes.
    pub(super) fn of(buffer: &'a mut Buffer) -> Self {
        Self(buffer)
    }

    pub(super) fn number(&mut self, number: u32) {
        self.0.put(&number.to_be_bytes());
    }

    pub(super) fn long(&mut self, number: u64) {
        self.0.put(&number.to_be_bytes());
    }

    pub(super) fn string(&mut self, bytes: &[u8]) {
        self.0.put(&length(bytes.len()));
        self.0.put(bytes);
    }
}

/// The names of one answer.
pub(super) struct Names<'a, 'b> {
    body: &'a mut Body<'b>,
    start: usize,
    count: u32,
}

impl Names<'_, '_> {
    /// The size of this answer up to here, in bytes.
    pub(super) fn len(&self) -> usize {
        self.body.0.len() - self.start
    }

    pub(super) fn add(&mut self, name: &[u8], long_name: &[u8], attributes: &Attributes) {
        self.body.string(name);
        self.body.string(long_name);
        attributes.write(self.body);
        self.count += 1;
    }
}
