//! The overflow-safe walk over an IOMMU that can only be asked address by address.
//!
//! QEMU's first replay loop, `for (addr = 0; addr < size; addr += granularity)` in 64 bits, never ends for a region of
//! 2^64 - 1 bytes: after the last page `addr` wraps to 0. Here the end of the walk is a state (`cursor` is `None`), not
//! the outcome of a comparison, so no size, granularity or answer can make it loop.

use crate::address::{Gpa, Iova, IovaRange};
use crate::perm::Perm;

/// One answer of an IOMMU: an entry that is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// The addresses that it translates. It may begin before the probed address and reach beyond what is walked.
    pub range: IovaRange,
    /// Where its first address points to.
    pub target: Gpa,
    /// What a device may do; not [`Perm::NONE`].
    pub perm: Perm,
    /// Its page size, as a power of two; at most 64, which means all of the space.
    pub page_shift: u8,
    /// A number for the address space of its target; entries join only within one.
    pub space: u32,
}

/// A run of neighbouring entries: equal permission, page size and space, adjoining targets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Run {
    /// The addresses of the run, cropped to what is walked.
    pub range: IovaRange,
    /// Where its first address points to.
    pub target: Gpa,
    /// What a device may do.
    pub perm: Perm,
    /// The page size of its entries, as a power of two.
    pub page_shift: u8,
    /// The number of its target's address space.
    pub space: u32,
    /// How many pages of that size it touches, less one: 2^64 pages of one byte do not fit 64 bits.
    pub pages_minus_1: u64,
}

/// What an IOMMU knows of the mappings beyond a hole.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NextMapped {
    /// It cannot tell: the walk goes on at the next multiple of the granularity.
    Unknown,
    /// Nothing is mapped further on.
    Nothing,
    /// The least mapped address. One that is not above the probed address helps nobody and is taken as `Unknown`.
    At(Iova),
}

/// Why an answer cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// The granularity is not a power of two.
    #[error("granularity {0:#x} is not a power of two")]
    Granularity(u64),
    /// The entry does not contain the address that was asked for.
    #[error("entry {range} does not contain the probed address {probe}")]
    WrongEntry {
        /// The address that was asked for.
        probe: Iova,
        /// What the entry translates.
        range: IovaRange,
    },
    /// The entry has no permission, or its page is larger than the space.
    #[error("entry at {0} has no permission or an impossible page size")]
    BadEntry(Iova),
    /// There was nothing to answer: the walk is over.
    #[error("the walk is over")]
    Over,
}

/// A walk over a range of addresses, in ascending order, by probing.
///
/// The walk performs no translation itself. Its owner asks [`probe`](Self::probe) for the next address, translates it,
/// and answers with [`answer_mapped`](Self::answer_mapped) or [`answer_hole`](Self::answer_hole), until `probe` says
/// `None`; then [`finish`](Self::finish) gives the last run. Each answer moves the walk forward by at least one byte,
/// whatever it says.
///
/// ```
/// use giommu_core::address::{Gpa, Iova, IovaRange};
/// use giommu_core::perm::Perm;
/// use giommu_core::walker::{Entry, NextMapped, Walker};
///
/// // All 2^64 bytes; only the last page is mapped, and the IOMMU knows it.
/// let last_page = IovaRange::new(Iova(u64::MAX - 0xfff), Iova(u64::MAX)).unwrap();
/// let mut walker = Walker::new(IovaRange::ALL, 4096)?;
/// assert_eq!(walker.probe(), Some(Iova(0)));
/// walker.answer_hole(NextMapped::At(last_page.start()))?;
/// assert_eq!(walker.probe(), Some(last_page.start()));
/// let entry = Entry { range: last_page, target: Gpa(0), perm: Perm::READ, page_shift: 12, space: 0 };
/// walker.answer_mapped(entry)?;
/// assert_eq!(walker.probe(), None);
/// assert_eq!(walker.finish().map(|run| run.range), Some(last_page));
/// # Ok::<(), giommu_core::walker::WalkError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Walker {
    last: Iova,
    /// Granularity less one; the granularity is a power of two.
    mask: u64,
    /// The next address to ask for; `None` at the end.
    cursor: Option<Iova>,
    /// Where the next entry may begin; at most `cursor`. An entry that is not aligned to the granularity may begin
    /// inside the hole that was probed last, so that hole counts only once the address behind it has been answered for.
    floor: Option<Iova>,
    /// The run that the next entry may join.
    open: Option<Run>,
    joins: bool,
}

impl Walker {
    /// A walk over `range` that looks into holes at the multiples of `granularity`, a power of two.
    ///
    /// # Errors
    /// [`WalkError::Granularity`] if it is none.
    pub fn new(range: IovaRange, granularity: u64) -> Result<Self, WalkError> {
        if !granularity.is_power_of_two() {
            return Err(WalkError::Granularity(granularity));
        }
        let start = Some(range.start());
        Ok(Self { last: range.last(), mask: granularity - 1, cursor: start, floor: start, open: None, joins: true })
    }

    /// The same walk, but every entry is a run of its own.
    #[must_use]
    pub fn without_joining(mut self) -> Self {
        self.joins = false;
        self
    }

    /// The next address to be translated; `None` at the end.
    #[must_use]
    pub fn probe(&self) -> Option<Iova> {
        self.cursor
    }

    /// The first address that is not settled: not part of a returned run or of a hole, other than the hole probed last.
    /// `None` once everything is.
    #[must_use]
    pub fn position(&self) -> Option<Iova> {
        self.open.map_or(self.floor, |run| Some(run.range.start()))
    }

    /// The probed address is mapped by `entry`. Returns the run before it, if the entry did not join that.
    ///
    /// The entry is cropped to what lies ahead; the walk goes on right behind its end. So an entry larger than the
    /// granularity is met once, and so is every entry of at least the granularity's length, whatever its alignment.
    ///
    /// # Errors
    /// [`WalkError::WrongEntry`], [`WalkError::BadEntry`], [`WalkError::Over`]; the walk stays where it is.
    pub fn answer_mapped(&mut self, entry: Entry) -> Result<Option<Run>, WalkError> {
        let probe = self.cursor.ok_or(WalkError::Over)?;
        if !entry.range.contains(probe) {
            return Err(WalkError::WrongEntry { probe, range: entry.range });
        }
        if entry.perm.is_none() || entry.page_shift > 64 {
            return Err(WalkError::BadEntry(probe));
        }
        let start = entry.range.start().max(self.floor.unwrap_or(probe));
        let last = entry.range.last().min(self.last);
        let range = IovaRange::new(start, last).ok_or(WalkError::BadEntry(probe))?;
        let cut = start.0 - entry.range.start().0;
        let run = Run {
            range,
            target: entry.target.wrapping_add(cut),
            perm: entry.perm,
            page_shift: entry.page_shift,
            space: entry.space,
            pages_minus_1: page_of(last.0 - entry.range.start().0, entry.page_shift) - page_of(cut, entry.page_shift),
        };
        self.cursor = self.after(last);
        self.floor = self.cursor;
        match self.open {
            Some(open) => match self.join(open, run) {
                Some(joined) => {
                    self.open = Some(joined);
                    Ok(None)
                }
                None => Ok(self.open.replace(run)),
            },
            None => {
                self.open = Some(run);
                Ok(None)
            }
        }
    }

    /// Nothing is mapped at the probed address. Returns the run that ends there, if one does.
    ///
    /// # Errors
    /// [`WalkError::Over`] if nothing was asked for.
    pub fn answer_hole(&mut self, next: NextMapped) -> Result<Option<Run>, WalkError> {
        let probe = self.cursor.ok_or(WalkError::Over)?;
        match next {
            NextMapped::Nothing => (self.cursor, self.floor) = (None, None),
            NextMapped::At(address) if address > probe => {
                self.cursor = (address <= self.last).then_some(address);
                self.floor = self.cursor;
            }
            NextMapped::Unknown | NextMapped::At(_) => {
                // The end of the granule that the probe lies in; `after` knows the end of the walk and of the space.
                self.cursor = self.after(Iova(probe.0 | self.mask));
                self.floor = self.cursor.and(Some(probe));
            }
        }
        Ok(self.open.take())
    }

    /// Gives out the run that is still open, and settles the hole probed last; the walk can go on, but nothing joins
    /// that run any more, and an entry that begins inside that hole is cropped.
    pub fn finish(&mut self) -> Option<Run> {
        self.floor = self.cursor;
        self.open.take()
    }

    /// The address behind `last`; `None` at the end of the walk, which may be the top of the space.
    fn after(&self, last: Iova) -> Option<Iova> {
        if last >= self.last { None } else { last.checked_add(1) }
    }

    fn join(&self, open: Run, next: Run) -> Option<Run> {
        let follows = open.range.last().checked_add(1) == Some(next.range.start());
        let length = next.range.start().0.wrapping_sub(open.range.start().0);
        let joins = self.joins
            && follows
            && open.perm == next.perm
            && open.page_shift == next.page_shift
            && open.space == next.space
            && open.target.wrapping_add(length) == next.target;
        if !joins {
            return None;
        }
        // Both are at most the bytes of their runs; the sum is at most 2^64 - 1.
        let pages_minus_1 = open.pages_minus_1.saturating_add(next.pages_minus_1).saturating_add(1);
        let range = IovaRange::new(open.range.start(), next.range.last())?;
        Some(Run { range, pages_minus_1, ..open })
    }
}

/// Which page an offset lies in.
fn page_of(offset: u64, page_shift: u8) -> u64 {
    offset.checked_shr(u32::from(page_shift)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
