//! The fields of a packet, one after the other.

use super::status::{Refusal, Status};

/// What is left of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(packet: &'a [u8]) -> Self {
        Self(packet)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Refusal> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn number(&mut self) -> Result<u32, Refusal> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Result<u64, Refusal> {
        self.array().map(u64::from_be_bytes)
    }

    /// A string: any bytes.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Refusal> {
        let length = self.number()?;
        let length = usize::try_from(length).map_err(|_| short())?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(short)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (array, rest) = self.0.split_first_chunk().ok_or_else(short)?;
        self.0 = rest;
        Ok(*array)
    }
}

fn short() -> Refusal {
    Refusal::new(Status::BadMessage, "The request is too short")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_ends_where_its_packet_does() {
        let mut fields = Fields::of(b"\0\0\0\x02ab\0\0\0\x03ab");
        assert_eq!(fields.bytes().expect("a string"), b"ab");
        let error = fields.bytes().expect_err("one byte is missing");
        assert_eq!(error.status, Status::BadMessage);
        let mut huge = Fields::of(b"\xff\xff\xff\xffab");
        assert!(huge.bytes().is_err());
    }
}
