//! Writes a section of a migration stream.

use super::StreamTable;

/// Writes a `spapr_iommu` section in pieces, byte for byte as QEMU does.
#[derive(Debug)]
pub struct SectionWriter {}

impl SectionWriter {
    /// A writer at the start of the section of a table; `id` is the section's number in its stream.
    #[must_use]
    pub fn new(id: u32, of: &StreamTable) -> Self {
        let _ = (id, of);
        todo!()
    }

    /// Appends the next bytes, `max` of them at most; returns whether there are more.
    pub fn next(&mut self, into: &mut Vec<u8>, max: usize) -> bool {
        let _ = (into, max);
        todo!()
    }
}
