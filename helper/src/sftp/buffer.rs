//! Bytes that are written at the end, over and over.

/// A buffer that keeps its memory, and its bytes: room for a large read is zeroed once, not for
/// each read.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    end: usize,
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.end
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.end]
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }

    /// So many bytes more, which hold anything until they are written.
    pub(super) fn room(&mut self, size: usize) -> &mut [u8] {
        let start = self.end;
        self.end += size;
        if self.bytes.len() < self.end {
            self.bytes.resize(self.end, 0);
        }
        &mut self.bytes[start..self.end]
    }

    /// Writes over what was put at `at`.
    pub(super) fn put_at(&mut self, at: usize, bytes: [u8; 4]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(&bytes);
    }

    /// Forgets everything from `end` on.
    pub(super) fn truncate(&mut self, end: usize) {
        self.end = self.end.min(end);
    }
}
