//! What a container did, in numbers.

use core::hash::{Hash, Hasher};

/// Totals since the container was made. Undoing counts as well: each call is one that the host really saw.
///
/// Two containers are equal whatever they counted: how one got there is no part of its state, and a model checker must
/// not see a new state in every call.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Counters {
    /// MAP calls that succeeded.
    pub maps: u64,
    /// UNMAP calls that succeeded.
    pub unmaps: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Maps that were unmapped whole although only a part had to go.
    pub holes: u64,
    /// Guest pages that were without translation meanwhile, with the device running.
    pub exposed_pages: u64,
    /// Times the device was stopped for such a hole.
    pub quiesced: u64,
    /// Guest pages mapped read-write because the host has no write-only.
    pub widened_pages: u64,
}

impl PartialEq for Counters {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Counters {}

impl Hash for Counters {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
