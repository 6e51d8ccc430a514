//! Stores what a guest call wrote, and keeps marks, counts, events and the undo log in step with it.

use core::{iter, mem};

use super::bitmap::put_bit;
use super::block::{BLOCK_MASK, BLOCK_SHIFT};
use super::change::{Change, One, Saved, Segment};
use super::counts::Counts;
use super::entry::Entries;
use super::leaf::{LEAF_ENTRIES, LEAF_MASK, LEAF_SHIFT, LEAF_WORDS, Leaf};
use super::mark::{Place, mark};
use super::marks::{MarkWord, note};
use super::{TceTable, Values, leaves};
use crate::address::Iova;

impl TceTable {
    /// Stores one entry; `starts` says whether a call begins at it. One begins at the entry after it.
    pub(super) fn write_one(&mut self, index: u32, value: u64, starts: bool, change: &mut Change) {
        if !self.store_one(index, value, starts, true, change) {
            self.write_edge(index, value, starts, change);
        }
    }

    /// Stores one entry at the edge of a leaf, in an absent leaf, or the last of one.
    #[cold]
    #[inline(never)]
    fn write_edge(&mut self, index: u32, value: u64, starts: bool, change: &mut Change) {
        change.list();
        let (number, at) = (index >> LEAF_SHIFT, index & LEAF_MASK);
        let read = self.read;
        let before = index.checked_sub(1).map_or(0, |before| self.get(before));
        let absent = self.directory.leaf(number).is_none();
        let saved = if absent { Saved::Absent } else { Saved::Part { values: 0, notes: 0 } };
        change.saved(Segment { leaf: number, lo: at, hi: at, saved });
        if absent && value == 0 {
            return self.end_write(index, change);
        }
        let after = at < LEAF_MASK && index < self.geometry.entries - 1;
        let Some(mut leaf) = self.directory.leaf_or_new(number) else { return };
        let old = mem::replace(leaf.entries.entry_mut(at), value);
        let (counted, counts) = (Counts::of(old), Counts::of(value));
        leaf.counts.replace(counted, counts);
        change.undo.values.push(old);
        change.undo.notes.push(leaf.marks_mut(at).note);
        let begins = !read.continues(before, value);
        leaf.set_mark(at, begins, note(begins, Entries::is_mapped(value), starts));
        if after {
            let next = leaf.entries.get(at + 1);
            if (at + 1) & 63 == 0 {
                change.undo.notes.push(leaf.marks_mut(at + 1).note);
            }
            let begins = !read.continues(value, next);
            leaf.set_mark(at + 1, begins, note(begins, Entries::is_mapped(next), true));
        }
        let empty = leaf.counts.stored() == 0;
        self.stored.replace(counted, counts);
        if !change.is_quiet() {
            change.replaced(read, iter::once((index, old, value)));
        }
        if empty {
            self.drop_leaf(number);
        } else {
            self.directory.settle_two(index);
        }
        self.end_write(index, change);
    }

    /// Stores 0, at the price of what is there, not of what could be.
    pub(super) fn write_zeros(&mut self, first: u32, last: u32, change: &mut Change) {
        change.list();
        let mut next = self.directory.next_present(first >> LEAF_SHIFT);
        while let Some(leaf) = next.filter(|leaf| *leaf <= last >> LEAF_SHIFT) {
            let base = leaf << LEAF_SHIFT;
            let block = base & !BLOCK_MASK;
            let (lo, hi) = (first.max(base) - base, last.min(base | LEAF_MASK) - base);
            let mut done = leaf;
            if first <= block && block | BLOCK_MASK <= last {
                self.empty_block(block >> BLOCK_SHIFT, change);
                done = (block | BLOCK_MASK) >> LEAF_SHIFT;
            } else if hi - lo == LEAF_MASK {
                self.empty_leaf(leaf, change);
            } else {
                self.store(leaf, lo, hi, base | lo == first, Values::Same(0, hi - lo + 1), change);
            }
            self.end_absent(done, hi);
            next = self.directory.next_present(done + 1);
        }
        self.end_write(last, change);
    }

    /// Stores one value that is not 0 in several entries.
    pub(super) fn write_same(&mut self, first: u32, last: u32, value: u64, change: &mut Change) {
        change.list();
        for (leaf, lo, hi) in leaves(first, last) {
            let starts = leaf << LEAF_SHIFT | lo == first;
            let whole = hi - lo == LEAF_MASK;
            if whole && (change.is_quiet() || self.directory.leaf(leaf).is_none_or(|old| old.counts.mapped() == 0)) {
                self.fill_leaf(leaf, value, starts, change);
            } else {
                self.store(leaf, lo, hi, starts, Values::Same(value, hi - lo + 1), change);
            }
        }
        self.end_write(last, change);
    }

    pub(super) fn write_list(&mut self, first: u32, last: u32, list: &[u64], change: &mut Change) {
        change.list();
        let mut rest = list;
        for (leaf, lo, hi) in leaves(first, last) {
            let Some((part, more)) = rest.split_at_checked((hi - lo + 1) as usize) else { break };
            self.store(leaf, lo, hi, leaf << LEAF_SHIFT | lo == first, Values::List(part), change);
            rest = more;
        }
        self.end_write(last, change);
    }

    /// The value of the entry before the first of a leaf.
    pub(super) fn before(&self, leaf: u32) -> u64 {
        (leaf << LEAF_SHIFT).checked_sub(1).map_or(0, |index| self.directory.get(index))
    }

    /// Stores one entry that maps where nothing is stored (`MAP`), or nothing where an entry maps: what guests do most. Both
    /// only inside a leaf that is there and stays; otherwise does nothing. The entry has a next one, and the table's own limit is
    /// not reached; `iova` is the entry's address. A call begins at the entry and at the one after it.
    #[inline(always)]
    pub(super) fn turn<const MAP: bool>(&mut self, index: u32, iova: Iova, new: u64, change: &mut Change) -> bool {
        let at = index & LEAF_MASK;
        let read = self.read;
        // Neither the first nor the last of a leaf.
        if at.wrapping_sub(1) >= LEAF_MASK - 1 {
            return false;
        }
        let Some(mut leaf) = self.directory.near_leaf_mut(index >> LEAF_SHIFT) else { return false };
        let Some([before, entry, after]) = leaf.entries.around(at) else { return false };
        let (before, old, after) = (*before, *entry, *after);
        let marks = if MAP {
            if old != 0 || !self.stored.add_mapped() {
                return false;
            }
            *entry = new;
            leaf.counts.replace(Counts::NONE, Counts::MAPPED);
            let (begins, next) = (!read.goes_on(before, new), !read.goes_on(new, after));
            let next_note = !next | !Entries::is_mapped(after);
            MarkWord {
                boundary: u64::from(begins) | u64::from(next) << 1,
                note: u64::from(!begins) | u64::from(next_note) << 1,
            }
        } else {
            if !Entries::is_mapped(old) || leaf.counts.stored() == 1 {
                return false;
            }
            *entry = 0;
            leaf.counts.replace(Counts::MAPPED, Counts::NONE);
            self.stored.replace(Counts::MAPPED, Counts::NONE);
            // What follows is not mapped either, or begins a run.
            let (begins, next) = (Entries::is_mapped(before), Entries::is_mapped(after));
            MarkWord { boundary: u64::from(begins) | u64::from(next) << 1, note: u64::from(begins) }
        };
        let (notes, flips) = leaf.swap_two(at, marks);
        change.turned::<MAP>(read, iova, One { index, value: old, notes }, new);
        if flips {
            self.settle(index);
        }
        true
    }

    /// Stores one entry where that is simple: inside a leaf that is there and stays. Otherwise does nothing.
    ///
    /// `calls` and `next_calls` say whether a call begins at the entry and at the one after it.
    pub(super) fn store_one(
        &mut self,
        index: u32,
        new: u64,
        calls: bool,
        next_calls: bool,
        change: &mut Change,
    ) -> bool {
        let at = index & LEAF_MASK;
        let read = self.read;
        // Neither the first nor the last of a leaf.
        if at.wrapping_sub(1) >= LEAF_MASK - 1 || index >= self.simple_end {
            return false;
        }
        let Some(mut leaf) = self.directory.leaf_mut(index >> LEAF_SHIFT) else { return false };
        let Some([before, entry, after]) = leaf.entries.around(at) else { return false };
        let (before, old, after) = (*before, *entry, *after);
        let (counted, counts) = (Counts::of(old), Counts::of(new));
        if counted != counts {
            if new == 0 && leaf.counts.stored() == 1 {
                return false;
            }
            leaf.counts.replace(counted, counts);
            self.stored.replace(counted, counts);
        }
        *entry = new;
        let follows = Entries::is_mapped(after);
        // Whether the entry and the one after it are boundaries, and the notes of both.
        let (begins, next, notes) = if Entries::is_mapped(new) {
            let (begins, next) = (!read.goes_on(before, new), !read.goes_on(new, after));
            let next_note = if next { !follows } else { next_calls };
            (begins, next, u64::from(!begins & calls) | u64::from(next_note) << 1)
        } else {
            // What follows is not mapped either, or begins a run.
            let begins = Entries::is_mapped(before);
            (begins, follows, u64::from(begins))
        };
        let boundary = u64::from(begins) | u64::from(next) << 1;
        let (notes, flips) = leaf.swap_two(at, MarkWord { boundary, note: notes });
        change.only_entry(read, One { index, value: old, notes }, new);
        if flips {
            self.settle(index);
        }
        true
    }

    #[cold]
    #[inline(never)]
    fn settle(&mut self, index: u32) {
        self.directory.settle_two(index);
    }

    /// Stores values in entries `lo` to `hi` of a leaf, and says anew where runs begin among them.
    ///
    /// `starts` says whether a call begins at `lo`; the entry after `hi` is seen to as well if it is in the same leaf.
    pub(super) fn store(
        &mut self,
        number: u32,
        lo: u32,
        hi: u32,
        starts: bool,
        values: Values<'_>,
        change: &mut Change,
    ) {
        let nothing = match values {
            Values::Same(value, _) => value == 0,
            Values::List(list) => list.iter().all(|value| *value == 0),
        };
        let first_before = if lo == 0 { self.before(number) } else { 0 };
        let absent = self.directory.leaf(number).is_none();
        let (saved_values, saved_notes) = (change.undo.values.len(), change.undo.notes.len());
        let saved = if absent { Saved::Absent } else { Saved::Part { values: saved_values, notes: saved_notes } };
        change.saved(Segment { leaf: number, lo, hi, saved });
        if absent && nothing {
            if lo == 0 {
                self.directory.mark_absent(number, Entries::is_mapped(first_before));
            }
            return;
        }
        let end = self.geometry.entries;
        let read = self.read;
        let Some(leaf) = self.directory.leaf_or_new(number) else { return };
        let before = lo.checked_sub(1).map_or(first_before, |at| leaf.entries.get(at));
        // Old values go to the undo log, new ones into the leaf; then both are looked at side by side.
        let part = leaf.entries.part_mut(lo, hi);
        change.undo.values.extend_from_slice(part);
        match values {
            Values::Same(value, _) => part.fill(value),
            Values::List(list) if list.len() == part.len() => part.copy_from_slice(list),
            Values::List(list) => part.iter_mut().zip(list).for_each(|(entry, value)| *entry = *value),
        }
        let base = number << LEAF_SHIFT;
        let after = hi < LEAF_MASK && base + hi + 1 < end;
        let place = Place { base, lo, hi, after, before, starts };
        let (counted, counts) = mark(leaf, read, place, saved_values, change);
        self.stored.replace(counted, counts);
        let Some(leaf) = self.directory.leaf_mut(number) else { return };
        leaf.counts.replace(counted, counts);
        if leaf.counts.stored() != 0 {
            self.directory.settle(number);
        } else {
            self.drop_leaf(number);
        }
    }

    /// Takes a leaf out, all entries of which are 0.
    fn drop_leaf(&mut self, number: u32) {
        if let Some((zeros, _)) = self.directory.take(number) {
            self.directory.keep(zeros);
            self.mark_absent(number);
        }
    }

    /// Says anew whether a run ends where a leaf begins that is not there.
    pub(super) fn mark_absent(&mut self, leaf: u32) {
        let ends = Entries::is_mapped(self.before(leaf));
        self.directory.mark_absent(leaf, ends);
    }

    /// Makes all entries of a block 0.
    fn empty_block(&mut self, number: u32, change: &mut Change) {
        let Some(old) = self.directory.take_block(number) else { return };
        let first = number << BLOCK_SHIFT;
        if !change.is_quiet() {
            old.each_mapped(0, BLOCK_MASK, |mapped| change.unmapped(self.read, first, mapped));
        }
        self.stored.replace(old.counts(), Counts::NONE);
        let leaf = first >> LEAF_SHIFT;
        change.saved(Segment { leaf, lo: 0, hi: LEAF_MASK, saved: Saved::Block(old) });
        self.mark_absent(leaf);
    }

    /// Makes all entries of a leaf 0.
    fn empty_leaf(&mut self, number: u32, change: &mut Change) {
        let base = number << LEAF_SHIFT;
        let in_block = base & BLOCK_MASK;
        if !change.is_quiet()
            && let Some(block) = self.directory.block(base >> BLOCK_SHIFT)
        {
            let first = base & !BLOCK_MASK;
            block.each_mapped(in_block, in_block | LEAF_MASK, |mapped| change.unmapped(self.read, first, mapped));
        }
        self.save_leaf(number, change);
        self.mark_absent(number);
    }

    /// Moves a leaf into what is to be put back, and out of what is counted; its marks are the caller's to set.
    fn save_leaf(&mut self, number: u32, change: &mut Change) {
        let marks = change.undo.marks.len();
        if let Some(leaf) = self.directory.leaf(number) {
            change.undo.marks.push(*leaf.marks);
        }
        let saved = match self.directory.take(number) {
            Some((entries, counts)) => {
                self.stored.replace(counts, Counts::NONE);
                Saved::Leaf { entries, counts, marks }
            }
            None => Saved::Absent,
        };
        change.saved(Segment { leaf: number, lo: 0, hi: LEAF_MASK, saved });
    }

    /// Makes all entries of a leaf one value that is not 0; whoever calls has made sure that no old mapping is told.
    fn fill_leaf(&mut self, number: u32, value: u64, starts: bool, change: &mut Change) {
        self.save_leaf(number, change);
        let mut leaf = Leaf::new();
        leaf.fill(value);
        let is = Entries::is_mapped(value);
        let begins = !self.read.continues(self.before(number), value);
        // Equal targets do not adjoin: every entry that maps is a run.
        let mut marks = [MarkWord { boundary: if is { u64::MAX } else { 0 }, note: 0 }; LEAF_WORDS];
        let [first, ..] = &mut marks;
        put_bit(&mut first.boundary, 0, begins);
        put_bit(&mut first.note, 0, note(begins, is, starts));
        let counts = Counts::new(LEAF_ENTRIES, if is { LEAF_ENTRIES } else { 0 });
        if is {
            change.mapped_each(self.read, number << LEAF_SHIFT, LEAF_ENTRIES, value);
        }
        self.stored.replace(Counts::NONE, counts);
        self.directory.insert(number, leaf, counts);
        self.directory.set_marks(number, &marks);
    }

    /// Lets the entry after a write begin a call of its own, where it is the first of another leaf.
    fn end_write(&mut self, last: u32, change: &mut Change) {
        if last & LEAF_MASK != LEAF_MASK || last >= self.geometry.entries - 1 {
            return;
        }
        let note = self.mark_first((last + 1) >> LEAF_SHIFT, true);
        change.undo.after = Some((last + 1, note));
    }

    /// Says anew whether a leaf's last entry ends a run, where the leaf after it is absent and nobody else says it.
    pub(super) fn end_absent(&mut self, leaf: u32, hi: u32) {
        if hi == LEAF_MASK
            && leaf < (self.geometry.entries - 1) >> LEAF_SHIFT
            && self.directory.leaf(leaf + 1).is_none()
        {
            self.mark_absent(leaf + 1);
        }
    }

    /// Says anew whether the first entry of a leaf is a boundary, and its note; returns its note as it was.
    pub(super) fn mark_first(&mut self, number: u32, calls: bool) -> bool {
        let before = self.before(number);
        let read = self.read;
        let Some(mut leaf) = self.directory.leaf_mut(number) else {
            self.directory.mark_absent(number, Entries::is_mapped(before));
            return false;
        };
        let value = leaf.entries.get(0);
        let begins = !read.continues(before, value);
        let had = leaf.set_mark(0, begins, note(begins, Entries::is_mapped(value), calls));
        self.directory.settle_two(number << LEAF_SHIFT);
        had
    }
}
