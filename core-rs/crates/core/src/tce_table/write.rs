//! Stores what a guest call wrote, and keeps marks, counts, events and the undo log in step with it.

use super::change::{Change, One, Saved, Segment};
use super::counts::Counts;
use super::entry::Entries;
use super::leaf::{LEAF_ENTRIES, LEAF_MASK, LEAF_SHIFT, Leaf, MarkWord};
use super::mark::{Place, mark};
use super::{TceTable, Values, leaves};

impl TceTable {
    /// Stores one entry; `starts` says whether a call begins at it. One begins at the entry after it.
    pub(super) fn write_one(&mut self, index: u32, value: u64, starts: bool, change: &mut Change) {
        if !self.store_one(index, value, starts, true, change) {
            self.write_edge(index, value, starts, change);
        }
    }

    /// Stores one entry at the edge of a leaf or of 64 entries, in an absent leaf, or the last of one.
    #[cold]
    #[inline(never)]
    pub(super) fn write_edge(&mut self, index: u32, value: u64, starts: bool, change: &mut Change) {
        change.list();
        self.store(index >> LEAF_SHIFT, index & LEAF_MASK, index & LEAF_MASK, starts, Values::Same(value, 1), change);
        self.end_write(index, change);
    }

    /// Stores 0, at the price of what is there, not of what could be.
    pub(super) fn write_zeros(&mut self, first: u32, last: u32, change: &mut Change) {
        change.list();
        let mut next = self.directory.next_present(first >> LEAF_SHIFT);
        while let Some(leaf) = next.filter(|leaf| *leaf <= last >> LEAF_SHIFT) {
            let base = leaf << LEAF_SHIFT;
            let (lo, hi) = (first.max(base) - base, last.min(base | LEAF_MASK) - base);
            if hi - lo == LEAF_MASK {
                self.empty_leaf(leaf, change);
            } else {
                self.store(leaf, lo, hi, base | lo == first, Values::Same(0, hi - lo + 1), change);
            }
            self.end_absent(leaf, hi);
            next = self.directory.next_present(leaf + 1);
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

    /// Stores one entry where that is simple: inside a leaf that is there and stays. Otherwise does nothing.
    ///
    /// `cut` and `next_cut` say whether a call begins at the entry and at the one after it.
    pub(super) fn store_one(&mut self, index: u32, new: u64, cut: bool, next_cut: bool, change: &mut Change) -> bool {
        self.store_at::<false>(index, new, cut, next_cut, change)
    }

    /// The same; does nothing either if it is `LIMITED` and there is no room for one more.
    #[inline(always)]
    pub(super) fn store_at<const LIMITED: bool>(
        &mut self,
        index: u32,
        new: u64,
        cut: bool,
        next_cut: bool,
        change: &mut Change,
    ) -> bool {
        let at = index & LEAF_MASK;
        let read = self.read;
        // Neither the first nor the last of a leaf.
        if at.wrapping_sub(1) >= LEAF_MASK - 1 || index >= self.simple_end {
            return false;
        }
        let Some(leaf) = self.directory.leaf_mut(index >> LEAF_SHIFT) else { return false };
        let (before, old, after) = (leaf.get(at - 1), leaf.get(at), leaf.get(at + 1));
        let (counted, counts) = (Counts::of(old), Counts::of(new));
        if counted != counts {
            if new == 0 && leaf.counts.stored() == 1 {
                return false;
            }
            if LIMITED && old == 0 && self.stored.is_full(self.limit) {
                return false;
            }
            leaf.counts.replace(counted, counts);
            self.stored.replace(counted, counts);
        }
        *leaf.entry_mut(at) = new;
        let follows = Entries::is_mapped(after);
        // Whether runs begin at the entry and at the one after it, and calls.
        let (begins, next, starts) = if Entries::is_mapped(new) {
            let begins = !read.goes_on(before, new);
            (begins, !read.goes_on(new, after), begins | cut)
        } else {
            let begins = Entries::is_mapped(before);
            (begins, follows, begins)
        };
        let boundary = u64::from(begins) | u64::from(next) << 1;
        let cuts = u64::from(starts) | u64::from(next | follows & next_cut) << 1;
        let (had_cuts, flips) = leaf.swap_two(at, MarkWord { boundary, cut: cuts });
        change.only_entry(read, One { index, value: old, cuts: had_cuts }, new);
        if flips {
            self.flip(index >> LEAF_SHIFT);
        }
        true
    }

    /// Sets the summary bits of a leaf whose first or last mark may have come or gone.
    #[cold]
    fn flip(&mut self, number: u32) {
        let Some(leaf) = self.directory.leaf(number) else { return };
        let marks = leaf.any_marks();
        if self.directory.marks(number) != marks {
            self.directory.mark(number, marks);
        }
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
        let (saved_values, saved_cuts) = (change.undo.values.len(), change.undo.cuts.len());
        let saved = if absent { Saved::Absent } else { Saved::Part { values: saved_values, cuts: saved_cuts } };
        change.saved(Segment { leaf: number, lo, hi, saved });
        if absent && nothing {
            if lo == 0 {
                let ends = Entries::is_mapped(first_before);
                self.directory.mark(number, (ends, ends));
            }
            return;
        }
        let end = self.geometry.entries;
        let read = self.read;
        let Some(leaf) = self.directory.leaf_or_new(number) else { return };
        let had = leaf.any_marks();
        let before = lo.checked_sub(1).map_or(first_before, |at| leaf.get(at));
        // Old values go to the undo log, new ones into the leaf; then both are looked at side by side.
        let part = leaf.part_mut(lo, hi);
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
        leaf.counts.replace(counted, counts);
        self.stored.replace(counted, counts);
        let (has, empty) = (leaf.any_marks(), leaf.counts.stored() == 0);
        if empty && let Some(empty) = self.directory.take(number) {
            self.directory.keep(empty);
            self.directory.mark(number, has);
        } else if has != had {
            self.directory.mark(number, has);
        }
    }

    /// Makes all entries of a leaf 0.
    fn empty_leaf(&mut self, number: u32, change: &mut Change) {
        let Some(old) = self.directory.take(number) else { return };
        if !change.is_quiet() && old.counts.mapped() != 0 {
            old.each_run(|at, pages, tce, begins| {
                if Entries::is_mapped(tce) {
                    change.unmapped(self.read, number << LEAF_SHIFT | at, pages, tce, begins);
                }
            });
        }
        self.forget(&old);
        change.saved(Segment { leaf: number, lo: 0, hi: LEAF_MASK, saved: Saved::Whole(old) });
        let ends = Entries::is_mapped(self.before(number));
        self.directory.mark(number, (ends, ends));
    }

    /// Makes all entries of a leaf one value that is not 0; whoever calls has made sure that no old mapping is told.
    fn fill_leaf(&mut self, number: u32, value: u64, starts: bool, change: &mut Change) {
        let saved = match self.directory.take(number) {
            Some(old) => {
                self.forget(&old);
                Saved::Whole(old)
            }
            None => Saved::Absent,
        };
        change.saved(Segment { leaf: number, lo: 0, hi: LEAF_MASK, saved });
        let mut leaf = Leaf::new();
        let is = Entries::is_mapped(value);
        if is {
            // Equal targets do not adjoin: every entry is a run.
            leaf.fill(value, MarkWord { boundary: u64::MAX, cut: u64::MAX });
            leaf.counts = Counts::new(LEAF_ENTRIES, LEAF_ENTRIES);
            change.mapped_each(self.read, number << LEAF_SHIFT, LEAF_ENTRIES, value);
        } else {
            leaf.fill(value, MarkWord::NONE);
            leaf.counts = Counts::new(LEAF_ENTRIES, 0);
        }
        let begins = !self.read.continues(self.before(number), value);
        leaf.set_marks(0, begins, begins || (is && starts));
        self.remember(&leaf);
        let marks = leaf.any_marks();
        self.directory.insert(number, leaf);
        self.directory.mark(number, marks);
    }

    /// Takes a leaf out of the table's counts.
    pub(super) fn forget(&mut self, leaf: &Leaf) {
        self.stored.replace(leaf.counts, Counts::default());
    }

    /// Takes a leaf into the table's counts.
    pub(super) fn remember(&mut self, leaf: &Leaf) {
        self.stored.replace(Counts::default(), leaf.counts);
    }

    /// Lets the entry after a write begin a call of its own, where it is the first of another leaf.
    fn end_write(&mut self, last: u32, change: &mut Change) {
        if last & LEAF_MASK != LEAF_MASK || last >= self.geometry.entries - 1 {
            return;
        }
        let cut = self.mark_first((last + 1) >> LEAF_SHIFT, true);
        change.undo.after = Some((last + 1, cut));
    }

    /// Says anew whether a leaf's last entry ends a run, where the leaf after it is absent and nobody else says it.
    pub(super) fn end_absent(&mut self, leaf: u32, hi: u32) {
        if hi == LEAF_MASK
            && leaf < (self.geometry.entries - 1) >> LEAF_SHIFT
            && self.directory.leaf(leaf + 1).is_none()
        {
            self.mark_first(leaf + 1, false);
        }
    }

    /// Says anew whether the first entry of a leaf begins a run or a call; returns whether it began one.
    pub(super) fn mark_first(&mut self, number: u32, calls: bool) -> bool {
        let before = self.before(number);
        let read = self.read;
        let Some(leaf) = self.directory.leaf_mut(number) else {
            let ends = Entries::is_mapped(before);
            self.directory.mark(number, (ends, ends));
            return false;
        };
        let value = leaf.get(0);
        let is = Entries::is_mapped(value);
        let begins = !read.continues(before, value);
        let was_cut = leaf.set_marks(0, begins, begins || (is && calls));
        let marks = leaf.any_marks();
        self.directory.mark(number, marks);
        was_cut
    }
}
