//! Makes a table what another one is.

use core::iter;
use core::mem;

use super::change::{Change, Saved, Segment};
use super::counts::Counts;
use super::directory::Directory;
use super::leaf::{LEAF_ENTRIES, LEAF_MASK, LEAF_SHIFT};
use super::{TableError, TceTable};

/// All entries of a table, and what they count.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    directory: Directory,
    counts: Counts,
}

impl TceTable {
    /// Makes entries and call starts those of another table of the same geometry; `change` then says what that changed.
    ///
    /// Costs what is stored in either of them, however large they are.
    ///
    /// # Errors
    /// [`TableError::OtherGeometry`] if the other table lies elsewhere, [`TableError::EntryLimit`] if it stores too much.
    /// Nothing is stored then, and `change` is empty.
    pub fn replace(&mut self, mut with: Self, change: &mut Change) -> Result<(), TableError> {
        change.clear();
        if with.geometry != self.geometry {
            return Err(TableError::OtherGeometry);
        }
        with.share(None);
        let (room, limit) = self.stored.room(self.limit);
        if with.stored().saturating_sub(self.stored()) > room {
            return Err(TableError::EntryLimit { limit });
        }
        self.take_over(with, change);
        Ok(())
    }

    /// The same for a table that is known to have the same geometry, whatever it stores: for who replaces several tables
    /// of one budget, which may pass it only in between.
    pub(crate) fn take_over(&mut self, with: Self, change: &mut Change) {
        change.clear();
        change.list();
        self.version += 1;
        if !change.is_quiet() {
            let entries = self.differing_leaves(&with).flat_map(|(first, olds, news)| {
                (first..).zip(olds.iter().zip(news)).map(|(index, (old, new))| (index, *old, *new))
            });
            change.replaced(self.read, entries);
        }
        let new = Contents { counts: with.stored.counts(), directory: with.directory };
        let old = self.exchange(new);
        // All leaves at once: nothing else of the segment is looked at.
        change.saved(Segment { leaf: 0, lo: 0, hi: 0, saved: Saved::All(Box::new(old)) });
    }

    /// Puts other contents in; returns what was there.
    pub(super) fn exchange(&mut self, new: Contents) -> Contents {
        let counts = self.stored.counts();
        self.stored.replace(counts, new.counts);
        Contents { directory: mem::replace(&mut self.directory, new.directory), counts }
    }

    /// The leaves whose values differ: first entry, values here, values there.
    fn differing_leaves<'a>(&'a self, with: &'a Self) -> impl Iterator<Item = (u32, &'a [u64], &'a [u64])> {
        const ZEROS: &[u64] = &[0; LEAF_ENTRIES as usize];
        let (mut olds, mut news) = (self.directory.numbered().peekable(), with.directory.numbered().peekable());
        let pairs = iter::from_fn(move || {
            let next = [olds.peek().map(|(number, _)| *number), news.peek().map(|(number, _)| *number)];
            let number = next.into_iter().flatten().min()?;
            let old =
                olds.next_if(|(old, _)| *old == number).map_or(ZEROS, |(_, leaf)| leaf.entries.part(0, LEAF_MASK));
            let new =
                news.next_if(|(new, _)| *new == number).map_or(ZEROS, |(_, leaf)| leaf.entries.part(0, LEAF_MASK));
            Some((number << LEAF_SHIFT, old, new))
        });
        pairs.filter(|(_, old, new)| old != new)
    }
}

/// Tables are equal if they lie in the same place, and have the same entries and call starts.
impl PartialEq for TceTable {
    fn eq(&self, other: &Self) -> bool {
        // A leaf is there exactly if an entry of it is not zero, and its marks say nothing else.
        self.geometry == other.geometry
            && self.stored() == other.stored()
            && self.directory.blocks().eq(other.directory.blocks())
    }
}
