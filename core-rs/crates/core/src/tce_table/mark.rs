//! Says anew where runs and calls begin in a part of a leaf, 64 entries at a time.

use core::mem;

use super::change::Change;
use super::counts::Counts;
use super::entry::Entries;
use super::leaf::LeafMut;
use super::marks::note;
use super::told::Word;

/// Where in a leaf a write happens.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The leaf's first entry.
    pub(super) base: u32,
    pub(super) lo: u32,
    pub(super) hi: u32,
    /// Whether the entry after `hi` is in the leaf and in the table. A call begins there from now on.
    pub(super) after: bool,
    /// The entry before `lo`.
    pub(super) before: u64,
    /// Whether a call begins at `lo`.
    pub(super) starts: bool,
}

/// Says anew which entries of a part begin runs and calls, records what changed, and returns what they counted and count
/// now. The leaf has its new values already; the old ones are in the undo log from `saved` on. Old words of notes go
/// there, too.
pub(super) fn mark(
    mut leaf: LeafMut<'_>,
    read: Entries,
    place: Place,
    saved: usize,
    change: &mut Change,
) -> (Counts, Counts) {
    let values = mem::take(&mut change.undo.values);
    let mut olds = values.get(saved..).unwrap_or(&[]);
    // The leaf counts what it had.
    let (none_was_mapped, all_stored_map) = (leaf.counts.mapped() == 0, leaf.counts.stored() == leaf.counts.mapped());
    let (mut old_stored, mut old_mapped, mut new_stored, mut new_mapped) = (0, 0, 0, 0);
    let mut before = place.before;
    let mut at = place.lo;
    while at <= place.hi {
        let last = place.hi.min(at | 63);
        let (shift, count) = (at & 63, last - at + 1);
        let (old, rest) = olds.split_at_checked(count as usize).unwrap_or((olds, &[]));
        olds = rest;
        let had = *leaf.marks_mut(at);
        let new = leaf.entries.part(at, last);
        // Bits of this word, from `at` on.
        let (is, boundary) = runs(read, before, new);
        before = new.last().copied().unwrap_or(0);
        let (was, changed) = if none_was_mapped { (0, u64::MAX) } else { compare(read, old, new) };
        old_mapped += was.count_ones();
        new_mapped += is.count_ones();
        old_stored += if all_stored_map { was.count_ones() } else { not_zero(old) };
        new_stored += if is.count_ones() == count { count } else { not_zero(new) };
        if !change.is_quiet() {
            let old = Word { values: old, boundary: had.boundary >> shift };
            let new = Word { values: new, boundary };
            change.replaced_word(read, place.base + at, (changed & was, old), (changed & is, new));
        }
        let mask = (u64::MAX >> (63 - (last & 63))) & (u64::MAX << shift);
        let calls = if at == place.lo && place.starts { is & 1 & !boundary } else { 0 };
        change.undo.notes.push(had.note);
        leaf.replace_marks(at, mask, boundary << shift, (boundary & !is | calls) << shift);
        at = last + 1;
    }
    change.undo.values = values;
    if place.after {
        let value = leaf.entries.get(at);
        let begins = !read.continues(before, value);
        if at & 63 == 0 {
            change.undo.notes.push(leaf.marks_mut(at).note);
        }
        leaf.set_mark(at, begins, note(begins, Entries::is_mapped(value), true));
    }
    (Counts::new(old_stored, old_mapped), Counts::new(new_stored, new_mapped))
}

fn not_zero(values: &[u64]) -> u32 {
    values.iter().map(|value| u32::from(*value != 0)).sum()
}

/// Which of up to 64 entries map, and which do not continue the one before it.
#[inline]
fn runs(read: Entries, before: u64, values: &[u64]) -> (u64, u64) {
    let (mut mapped, mut apart, mut union) = (0, 0, before);
    let mut last = before;
    let (eights, rest) = values.as_chunks::<8>();
    let mut shift = 0u32;
    for eight in eights {
        let (mut mapped_8, mut apart_8) = (0, 0);
        for (value, bit) in eight.iter().zip(0u32..) {
            mapped_8 |= u64::from(Entries::is_mapped(*value)) << bit;
            apart_8 |= u64::from(read.leaves_off(last, *value)) << bit;
            union |= *value;
            last = *value;
        }
        mapped |= mapped_8 << shift;
        apart |= apart_8 << shift;
        shift += 8;
    }
    for (value, bit) in rest.iter().zip(shift..) {
        mapped |= u64::from(Entries::is_mapped(*value)) << bit;
        apart |= u64::from(read.leaves_off(last, *value)) << bit;
        union |= *value;
        last = *value;
    }
    if read.may_end(union) {
        return (mapped, exact_boundary(read, before, values));
    }
    // What is not mapped goes on with what is not mapped, whatever its other bits.
    (mapped, apart & (mapped | mapped << 1 | u64::from(Entries::is_mapped(before))))
}

/// The same, where a target may be the last page of its space: nothing follows that.
#[cold]
#[inline(never)]
fn exact_boundary(read: Entries, before: u64, values: &[u64]) -> u64 {
    let mut boundary = 0;
    let mut last = before;
    for (value, bit) in values.iter().zip(0u32..) {
        boundary |= u64::from(!read.continues(last, *value)) << bit;
        last = *value;
    }
    boundary
}

/// Which of up to 64 old entries mapped, and which differ from the new ones in what they mean, if either maps.
#[inline]
fn compare(read: Entries, old: &[u64], new: &[u64]) -> (u64, u64) {
    let (mut mapped, mut differs) = (0, 0);
    let ((old_8, old_rest), (new_8, new_rest)) = (old.as_chunks::<8>(), new.as_chunks::<8>());
    let mut shift = 0u32;
    for (old, new) in old_8.iter().zip(new_8) {
        let (mut mapped_8, mut differs_8) = (0, 0);
        for ((old, new), bit) in old.iter().zip(new).zip(0u32..) {
            mapped_8 |= u64::from(Entries::is_mapped(*old)) << bit;
            differs_8 |= u64::from(read.differ(*old, *new)) << bit;
        }
        mapped |= mapped_8 << shift;
        differs |= differs_8 << shift;
        shift += 8;
    }
    for ((old, new), bit) in old_rest.iter().zip(new_rest).zip(shift..) {
        mapped |= u64::from(Entries::is_mapped(*old)) << bit;
        differs |= u64::from(read.differ(*old, *new)) << bit;
    }
    (mapped, differs)
}
