//! What comes in, cut into packets.

use std::io::{self, ErrorKind, Read};

/// The longest packet, in bytes, without its length.
pub(super) const LONGEST: usize = 256 << 10;

/// The bytes of a packet's length.
const LENGTH: usize = 4;

/// Room for two of the longest packets: what is left of one is moved seldom.
const ROOM: usize = 2 * (LONGEST + LENGTH);

/// A packet of at least this many bytes is read to its end and no further, so that nothing of
/// the next one has to be moved.
const LARGE: usize = 64 << 10;

/// Packets from a stream, in a buffer of a fixed size.
pub(super) struct Packets<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: Read> Packets<R> {
    pub(super) fn of(input: R) -> Self {
        Self {
            input,
            buffer: vec![0; ROOM],
            start: 0,
            end: 0,
        }
    }

    /// The next packet that has come, without its length.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] if it is longer than [`LONGEST`].
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let Some(length) = self.length()? else {
            return Ok(None);
        };
        let (from, to) = (self.start + LENGTH, self.start + LENGTH + length);
        if to > self.end {
            return Ok(None);
        }
        self.start = to;
        Ok(Some(&self.buffer[from..to]))
    }

    /// The length that the next packet says it has.
    fn length(&self) -> io::Result<Option<usize>> {
        let here = &self.buffer[self.start..self.end];
        let Some(length) = here.first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        match usize::try_from(u32::from_be_bytes(*length)) {
            Ok(length) if length <= LONGEST => Ok(Some(length)),
            _ => Err(io::Error::new(
                ErrorKind::InvalidData,
                "the client sent a packet of more than 256 KiB",
            )),
        }
    }

    /// Waits for more; false when there will be none.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        self.make_room();
        let to = match self.length()? {
            Some(length) if length >= LARGE => self.start + LENGTH + length,
            _ => self.buffer.len(),
        };
        loop {
            match self.input.read(&mut self.buffer[self.end..to]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Moves what is left to the front when the longest packet has no room behind it.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buffer.len() - self.start < LONGEST + LENGTH {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives some bytes at a time.
    struct Dripping<'a>(&'a [u8], usize);

    impl Read for Dripping<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len()).min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn framed(lengths: &[usize]) -> Vec<u8> {
        let packet = |(number, length): (usize, &usize)| {
            let mut bytes = (*length as u32).to_be_bytes().to_vec();
            bytes.resize(LENGTH + length, number as u8);
            bytes
        };
        lengths.iter().enumerate().flat_map(packet).collect()
    }

    #[test]
    fn packets_come_whole_however_their_bytes_come() {
        let lengths = [
            0,
            1,
            5,
            30_000,
            LARGE,
            LONGEST,
            7,
            LARGE - 1,
            LONGEST,
            3,
            LONGEST,
            0,
        ];
        let bytes = framed(&lengths);
        for step in [7, 4096, 65_536, usize::MAX] {
            let mut packets = Packets::of(Dripping(&bytes, step));
            let mut come = Vec::new();
            loop {
                while let Some(packet) = packets.next().expect("short enough") {
                    let number = come.len() as u8;
                    assert!(packet.iter().all(|byte| *byte == number));
                    come.push(packet.len());
                }
                if !packets.fill().expect("more") {
                    break;
                }
            }
            assert_eq!(come, lengths, "{step} at a time");
        }
    }

    #[test]
    fn a_packet_that_would_be_longer_is_refused_before_it_has_come() {
        let mut packets = Packets::of(&b"\0\x04\0\x01"[..]);
        assert!(packets.next().expect("nothing yet").is_none());
        assert!(packets.fill().expect("more"));
        let error = packets.next().expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}
