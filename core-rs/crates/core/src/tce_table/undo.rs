//! Puts back what a write changed.

use super::TceTable;
use super::block::BLOCK_LEAVES;
use super::change::{Change, One, Saved, Segment};
use super::counts::Counts;
use super::entry::Entries;
use super::leaf::{LEAF_MASK, LEAF_SHIFT};
use super::marks::note;

impl TceTable {
    /// Puts back what `change` recorded: every entry with all its bits, and where calls began. Tells nobody.
    ///
    /// Only for the newest write to this table, and once.
    pub fn undo(&mut self, change: &Change) {
        self.version += 1;
        if let Some(one) = change.undo_one() {
            self.restore_one(one);
        }
        for segment in &change.undo.segments {
            let mut last = segment.leaf;
            match &segment.saved {
                Saved::Absent => self.restore_absent(segment.leaf),
                Saved::Leaf { entries, counts, marks } => {
                    self.remove(segment.leaf);
                    self.stored.replace(Counts::NONE, *counts);
                    self.directory.insert(segment.leaf, entries.clone(), *counts);
                    if let Some(marks) = change.undo.marks.get(*marks) {
                        self.directory.set_marks(segment.leaf, marks);
                    }
                }
                Saved::Block(old) => {
                    last |= BLOCK_LEAVES - 1;
                    // A write that clears blocks leaves no leaf in them.
                    self.stored.replace(Counts::NONE, old.counts());
                    self.directory.insert_block(segment.leaf / BLOCK_LEAVES, old.clone());
                    // The write may have cleared what is before the block first, and with it the mark of an absent leaf.
                    if self.directory.leaf(segment.leaf).is_none() {
                        self.mark_absent(segment.leaf);
                    }
                }
                Saved::All(old) => {
                    self.exchange((**old).clone());
                }
                Saved::Part { values, notes } => {
                    let values = change.undo.values.get(*values..).unwrap_or(&[]);
                    let notes = change.undo.notes.get(*notes..).unwrap_or(&[]);
                    self.restore_part(segment, values, notes);
                }
            }
            self.end_absent(last, segment.hi);
        }
        if let Some((index, note)) = change.undo.after {
            self.mark_first(index >> LEAF_SHIFT, note);
        }
    }

    fn restore_one(&mut self, one: One) {
        let mut quiet = Change::quiet();
        let notes = one.notes.rotate_right(one.index & 63);
        self.store_one(one.index, one.value, notes & 1 != 0, notes & 2 != 0, &mut quiet);
    }

    fn remove(&mut self, number: u32) {
        if let Some((_, counts)) = self.directory.take(number) {
            self.stored.replace(counts, Counts::NONE);
        }
    }

    fn restore_absent(&mut self, number: u32) {
        self.remove(number);
        self.mark_absent(number);
    }

    fn restore_part(&mut self, segment: &Segment, values: &[u64], notes: &[u64]) {
        let (number, lo, hi) = (segment.leaf, segment.lo, segment.hi);
        let read = self.read;
        let base = number << LEAF_SHIFT;
        let end = self.geometry.entries;
        let first_before = self.before(number);
        let Some(mut leaf) = self.directory.leaf_or_new(number) else { return };
        let mut before = lo.checked_sub(1).map_or(first_before, |at| leaf.entries.get(at));
        let top = if hi < LEAF_MASK && base + hi + 1 < end { hi + 1 } else { hi };
        let mut values = values.iter();
        for at in lo..=top {
            if at <= hi {
                let old = values.next().copied().unwrap_or(0);
                let now = core::mem::replace(leaf.entries.entry_mut(at), old);
                leaf.counts.replace(Counts::of(now), Counts::of(old));
                self.stored.replace(Counts::of(now), Counts::of(old));
            }
            let value = leaf.entries.get(at);
            let begins = !read.continues(before, value);
            let word = notes.get(((at >> 6) - (lo >> 6)) as usize).copied().unwrap_or(0);
            leaf.set_mark(at, begins, note(begins, Entries::is_mapped(value), word >> (at & 63) & 1 != 0));
            before = value;
        }
        if leaf.counts.stored() == 0 {
            self.restore_absent(number);
        } else {
            self.directory.settle(number);
        }
    }
}
