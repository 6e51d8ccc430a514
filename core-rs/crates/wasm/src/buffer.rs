//! Bytes that JavaScript puts into the memory of WebAssembly, behind what is left of those before.

#![expect(clippy::cast_possible_truncation, reason = "WebAssembly counts in 32 bits")]

/// A buffer that JavaScript fills from its end and the core empties from its beginning.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// What is done with.
    pub(crate) at: usize,
    filled: usize,
    last: bool,
}

impl Buffer {
    /// Makes room for `length` bytes behind what is left; returns where they go.
    pub(crate) fn room(&mut self, length: u32) -> u32 {
        self.bytes.copy_within(self.at.min(self.filled)..self.filled, 0);
        self.filled -= self.at.min(self.filled);
        self.at = 0;
        let needed = self.filled + length as usize;
        if self.bytes.len() < needed {
            self.bytes.resize(needed, 0);
        }
        let place = self.bytes.get(self.filled..).unwrap_or_default();
        place.as_ptr() as usize as u32
    }

    /// Takes the bytes that were put there; `last` says that no others follow.
    pub(crate) fn fill(&mut self, length: u32, last: bool) {
        self.filled = (self.filled + length as usize).min(self.bytes.len());
        self.last = last;
    }

    /// What is there, the position in it, and whether it is the last.
    pub(crate) fn parts(&mut self) -> (&[u8], &mut usize, bool) {
        (self.bytes.get(..self.filled).unwrap_or_default(), &mut self.at, self.last)
    }
}
