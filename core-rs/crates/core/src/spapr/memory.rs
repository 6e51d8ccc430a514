//! The bytes of guest RAM, as calls and devices reach them.

use crate::address::Gpa;

/// The bytes of guest RAM.
///
/// An access may lie outside RAM, wholly or partly, and may even pass the top of the space: what is not RAM reads as
/// zeros and drops what is written, and the rest of the access is done.
pub trait GuestMemory {
    /// Reads bytes; returns whether all of them are RAM.
    fn read(&self, at: Gpa, into: &mut [u8]) -> bool;

    /// Writes bytes; returns whether all of them are RAM.
    fn write(&mut self, at: Gpa, bytes: &[u8]) -> bool;
}

/// RAM from address 0, as a pseries guest has it.
impl GuestMemory for [u8] {
    fn read(&self, at: Gpa, into: &mut [u8]) -> bool {
        let found = usize::try_from(at.0).ok().and_then(|at| self.get(at..)).unwrap_or(&[]);
        let inside = found.len().min(into.len());
        let (ram, rest) = into.split_at_mut(inside);
        ram.iter_mut().zip(found).for_each(|(to, from)| *to = *from);
        rest.fill(0);
        rest.is_empty()
    }

    fn write(&mut self, at: Gpa, bytes: &[u8]) -> bool {
        let found = usize::try_from(at.0).ok().and_then(|at| self.get_mut(at..)).unwrap_or(&mut []);
        let whole = found.len() >= bytes.len();
        found.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        whole
    }
}

/// One big-endian word; 0 outside RAM.
pub(super) fn read_word(memory: &(impl GuestMemory + ?Sized), at: Gpa) -> u32 {
    let mut word = [0; 4];
    memory.read(at, &mut word);
    u32::from_be_bytes(word)
}
