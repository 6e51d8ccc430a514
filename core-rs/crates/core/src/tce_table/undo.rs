//! Puts back what a write changed.

use super::TceTable;
use super::change::{Change, One, Saved, Segment};
use super::entry::Entries;
use super::leaf::{LEAF_MASK, LEAF_SHIFT};

impl TceTable {
    /// Puts back what `change` recorded: every entry with all its bits, and where calls began. Tells nobody.
    ///
    /// Only for the newest write to this table, and once.
    pub fn undo(&mut self, change: &Change) {
        self.version += 1;
        if let Some(one) = change.undo.one {
            self.restore_one(one);
        }
        for segment in &change.undo.segments {
            match &segment.saved {
                Saved::Absent => self.restore_absent(segment.leaf),
                Saved::Whole(old) => {
                    self.remove(segment.leaf);
                    self.remember(old);
                    self.directory.insert(segment.leaf, old.clone());
                    self.directory.mark(segment.leaf, old.any_marks());
                }
                Saved::All(old) => {
                    self.exchange((**old).clone());
                }
                Saved::Part { values, cuts } => {
                    let values = change.undo.values.get(*values..).unwrap_or(&[]);
                    let cuts = change.undo.cuts.get(*cuts..).unwrap_or(&[]);
                    self.restore_part(segment, values, cuts);
                }
            }
            self.end_absent(segment.leaf, segment.hi);
        }
        if let Some((index, cut)) = change.undo.after {
            self.mark_first(index >> LEAF_SHIFT, cut);
        }
    }

    fn restore_one(&mut self, one: One) {
        let mut quiet = Change::quiet();
        self.store_one(one.index, one.value, one.cuts & 1 != 0, one.cuts & 2 != 0, &mut quiet);
    }

    fn remove(&mut self, number: u32) {
        if let Some(now) = self.directory.take(number) {
            self.forget(&now);
        }
    }

    fn restore_absent(&mut self, number: u32) {
        self.remove(number);
        let ends = Entries::is_mapped(self.before(number));
        self.directory.mark(number, (ends, ends));
    }

    fn restore_part(&mut self, segment: &Segment, values: &[u64], cuts: &[u64]) {
        let (number, lo, hi) = (segment.leaf, segment.lo, segment.hi);
        let read = self.read;
        let base = number << LEAF_SHIFT;
        let end = self.geometry.entries;
        let first_before = self.before(number);
        let Some(leaf) = self.directory.leaf_or_new(number) else { return };
        let mut before = lo.checked_sub(1).map_or(first_before, |at| leaf.get(at));
        let top = if hi < LEAF_MASK && base + hi + 1 < end { hi + 1 } else { hi };
        let mut values = values.iter();
        for at in lo..=top {
            if at <= hi {
                let old = values.next().copied().unwrap_or(0);
                let now = core::mem::replace(leaf.entry_mut(at), old);
                let change = |count: u16, is: bool, was: bool| count + u16::from(is) - u16::from(was);
                leaf.stored = change(leaf.stored, old != 0, now != 0);
                leaf.mapped = change(leaf.mapped, Entries::is_mapped(old), Entries::is_mapped(now));
                self.stored.replace(u32::from(now != 0), u32::from(old != 0));
                self.mapped = self.mapped + u32::from(Entries::is_mapped(old)) - u32::from(Entries::is_mapped(now));
            }
            let value = leaf.get(at);
            let begins = !read.continues(before, value);
            let word = cuts.get(((at >> 6) - (lo >> 6)) as usize).copied().unwrap_or(0);
            leaf.set_marks(at, begins, begins || word >> (at & 63) & 1 != 0);
            before = value;
        }
        let marks = leaf.any_marks();
        if leaf.stored == 0 {
            self.remove(number);
        }
        self.directory.mark(number, marks);
    }
}
