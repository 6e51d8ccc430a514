//! Stores what a guest call wrote, and keeps marks, counts, events and the undo log in step with it.

use core::mem;

use super::change::{Change, One, Saved, Segment, Word};
use super::directory::Marks;
use super::entry::Entries;
use super::leaf::{LEAF_ENTRIES, LEAF_FULL, LEAF_MASK, LEAF_SHIFT, Leaf, MarkWord};
use super::{TceTable, Values, leaves};

impl TceTable {
    /// Stores one entry, as a call of its own: what guests do most.
    #[inline]
    pub(super) fn write_call(&mut self, index: u32, value: u64, change: &mut Change) {
        if !self.store_at(index, value, true, true, change) {
            self.write_edge(index, value, true, change);
        }
    }

    /// Stores one entry; `starts` says whether a call begins at it. One begins at the entry after it.
    pub(super) fn write_one(&mut self, index: u32, value: u64, starts: bool, change: &mut Change) {
        if !self.store_one(index, value, starts, true, change) {
            self.write_edge(index, value, starts, change);
        }
    }

    /// Stores one entry at the edge of a leaf or of 64 entries, in an absent leaf, or the last of one.
    #[cold]
    fn write_edge(&mut self, index: u32, value: u64, starts: bool, change: &mut Change) {
        self.store(index >> LEAF_SHIFT, index & LEAF_MASK, index & LEAF_MASK, starts, Values::Same(value, 1), change);
        self.end_write(index, change);
    }

    /// Stores 0, at the price of what is there, not of what could be.
    pub(super) fn write_zeros(&mut self, first: u32, last: u32, change: &mut Change) {
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
        for (leaf, lo, hi) in leaves(first, last) {
            let starts = leaf << LEAF_SHIFT | lo == first;
            let whole = hi - lo == LEAF_MASK;
            if whole && (change.is_quiet() || self.directory.leaf(leaf).is_none_or(|old| old.mapped == 0)) {
                self.fill_leaf(leaf, value, starts, change);
            } else {
                self.store(leaf, lo, hi, starts, Values::Same(value, hi - lo + 1), change);
            }
        }
        self.end_write(last, change);
    }

    pub(super) fn write_list(&mut self, first: u32, last: u32, list: &[u64], change: &mut Change) {
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
        self.store_at(index, new, cut, next_cut, change)
    }

    #[inline(always)]
    fn store_at(&mut self, index: u32, new: u64, cut: bool, next_cut: bool, change: &mut Change) -> bool {
        let at = index & LEAF_MASK;
        let read = self.read;
        if at == 0 || at == LEAF_MASK || index >= self.geometry.entries - 1 || read.shares_bits() {
            return false;
        }
        let Some(leaf) = self.directory.leaf_mut(index >> LEAF_SHIFT) else { return false };
        let (before, old, after) = (leaf.get(at - 1), leaf.get(at), leaf.get(at + 1));
        let (was, follows) = (Entries::is_mapped(old), Entries::is_mapped(after));
        // Whether runs begin at the entry and at the one after it, and calls.
        let (begins, next, starts) = if Entries::is_mapped(new) {
            if old == 0 {
                leaf.stored += 1;
                self.stored.replace(0, 1);
            }
            if !was {
                leaf.mapped += 1;
                self.mapped += 1;
            }
            let begins = !read.goes_on(before, new);
            (begins, !read.goes_on(new, after), begins | cut)
        } else {
            if (new == 0) != (old == 0) {
                if new == 0 && leaf.stored == 1 {
                    return false;
                }
                leaf.stored = leaf.stored + u16::from(new != 0) - u16::from(old != 0);
                self.stored.replace(u32::from(old != 0), u32::from(new != 0));
            }
            if was {
                leaf.mapped -= 1;
                self.mapped -= 1;
            }
            let begins = Entries::is_mapped(before);
            (begins, follows, begins)
        };
        *leaf.entry_mut(at) = new;
        let boundary = u64::from(begins) | u64::from(next) << 1;
        let cuts = u64::from(starts) | u64::from(next | follows & next_cut) << 1;
        let (had_cuts, flips) = leaf.swap_two(at, MarkWord { boundary, cut: cuts });
        change.undo.one = Some(One { index, value: old, cuts: had_cuts });
        change.only_entry(read, index, old, new);
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
        change.undo.segments.push(Segment { leaf: number, lo, hi, saved });
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
            Values::List(list) => part.iter_mut().zip(list).for_each(|(entry, value)| *entry = *value),
        }
        let base = number << LEAF_SHIFT;
        let after = hi < LEAF_MASK && base + hi + 1 < end;
        let place = Place { base, lo, hi, after, before, starts };
        let counts = mark(leaf, read, place, saved_values, change);
        leaf.stored = leaf.stored + counts.new.stored - counts.old.stored;
        leaf.mapped = leaf.mapped + counts.new.mapped - counts.old.mapped;
        self.stored.replace(u32::from(counts.old.stored), u32::from(counts.new.stored));
        self.mapped = self.mapped + u32::from(counts.new.mapped) - u32::from(counts.old.mapped);
        let has = leaf.any_marks();
        if leaf.stored == 0
            && let Some(empty) = self.directory.take(number)
        {
            self.directory.keep(empty);
            self.directory.mark(number, has);
        } else if has != had {
            self.directory.mark(number, has);
        }
    }

    /// Makes all entries of a leaf 0.
    fn empty_leaf(&mut self, number: u32, change: &mut Change) {
        let Some(old) = self.directory.take(number) else { return };
        if !change.is_quiet() && old.mapped != 0 {
            let mut at = 0;
            while at < LEAF_ENTRIES {
                let tce = old.get(at);
                let next = old.next(Marks::Boundary, at + 1).unwrap_or(LEAF_ENTRIES);
                if Entries::is_mapped(tce) {
                    change.unmapped(self.read, number << LEAF_SHIFT | at, next - at, tce);
                }
                at = next;
            }
        }
        self.forget(&old);
        change.undo.segments.push(Segment { leaf: number, lo: 0, hi: LEAF_MASK, saved: Saved::Whole(old) });
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
        change.undo.segments.push(Segment { leaf: number, lo: 0, hi: LEAF_MASK, saved });
        let mut leaf = Leaf::new();
        leaf.stored = LEAF_FULL;
        let is = Entries::is_mapped(value);
        if is {
            // Equal targets do not adjoin: every entry is a run.
            leaf.fill(value, MarkWord { boundary: u64::MAX, cut: u64::MAX });
            leaf.mapped = LEAF_FULL;
            change.mapped_each(self.read, number << LEAF_SHIFT, LEAF_ENTRIES, value);
        } else {
            leaf.fill(value, MarkWord::NONE);
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
        self.stored.replace(u32::from(leaf.stored), 0);
        self.mapped -= u32::from(leaf.mapped);
    }

    /// Takes a leaf into the table's counts.
    pub(super) fn remember(&mut self, leaf: &Leaf) {
        self.stored.replace(0, u32::from(leaf.stored));
        self.mapped += u32::from(leaf.mapped);
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

/// Where in a leaf a write happens.
#[derive(Clone, Copy)]
struct Place {
    /// The leaf's first entry.
    base: u32,
    lo: u32,
    hi: u32,
    /// Whether the entry after `hi` is in the leaf and in the table. A call begins there from now on.
    after: bool,
    /// The entry before `lo`.
    before: u64,
    /// Whether a call begins at `lo`.
    starts: bool,
}

/// What a part of a leaf counts.
#[derive(Clone, Copy, Default)]
struct Count {
    stored: u16,
    mapped: u16,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    old: Count,
    new: Count,
}

/// Says anew which entries of a part begin runs and calls, records what changed, and counts it before and after. The leaf
/// has its new values already; the old ones are in the undo log from `saved` on. Old words of cuts go there, too.
fn mark(leaf: &mut Leaf, read: Entries, place: Place, saved: usize, change: &mut Change) -> Counts {
    let mut counts = Counts::default();
    let mut expected = read.after(read.key_of(place.before));
    let values = mem::take(&mut change.undo.values);
    let mut olds = values.get(saved..).unwrap_or(&[]);
    let mut at = place.lo;
    while at <= place.hi {
        let last = place.hi.min(at | 63);
        let shift = at & 63;
        let (old, rest) = olds.split_at_checked((last - at + 1) as usize).unwrap_or((olds, &[]));
        olds = rest;
        let new = leaf.part(at, last);
        // Bits of this word, from `at` on.
        let (mut boundary, mut changed, mut was, mut is) = (0u64, 0u64, 0u64, 0u64);
        for ((new, old), bit) in new.iter().zip(old).zip(0u32..) {
            let (key, old_key) = (read.key_of(*new), read.key_of(*old));
            boundary |= u64::from(expected != key) << bit;
            changed |= u64::from(old_key != key) << bit;
            was |= u64::from(old_key != 0) << bit;
            is |= u64::from(key != 0) << bit;
            counts.old.stored += u16::from(*old != 0);
            counts.new.stored += u16::from(*new != 0);
            expected = read.after(key);
        }
        counts.old.mapped += ones(was);
        counts.new.mapped += ones(is);
        let had = leaf.marks(at);
        if !change.is_quiet() && changed != 0 {
            let old = Word { values: old, mapped: was, boundary: had.boundary >> shift };
            let new = Word { values: new, mapped: is, boundary };
            change.replaced_word(read, place.base + at, changed, old, new);
        }
        let mask = (u64::MAX >> (63 - (last & 63))) & (u64::MAX << shift);
        let calls = if at == place.lo && place.starts { is & 1 } else { 0 };
        change.undo.cuts.push(had.cut);
        leaf.replace_marks(at, mask, boundary << shift, (boundary | calls) << shift);
        at = last + 1;
    }
    change.undo.values = values;
    if place.after {
        let key = read.key_of(leaf.get(at));
        let begins = expected != key;
        if at & 63 == 0 {
            change.undo.cuts.push(leaf.marks(at).cut);
        }
        leaf.set_marks(at, begins, begins | (key != 0));
    }
    counts
}

/// How many bits are set.
fn ones(word: u64) -> u16 {
    u16::try_from(word.count_ones()).unwrap_or(0)
}
