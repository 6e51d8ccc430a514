//! Values by where they begin.

use std::collections::BTreeMap;
use std::collections::btree_map;

/// Values by the address at which they begin. All of them share the code of one tree, whose nodes are small; the values
/// lie beside it.
#[derive(Debug)]
pub(super) struct ByStart<V> {
    places: BTreeMap<u64, usize>,
    values: Vec<V>,
    /// Places in `values` of what was removed.
    free: Vec<usize>,
}

impl<V> Default for ByStart<V> {
    fn default() -> Self {
        Self { places: BTreeMap::new(), values: Vec::new(), free: Vec::new() }
    }
}

impl<V: Copy> ByStart<V> {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn contains(&self, start: u64) -> bool {
        find(&self.places, start).is_some()
    }

    pub(super) fn get(&self, start: u64) -> Option<&V> {
        self.values.get(find(&self.places, start)?)
    }

    pub(super) fn get_mut(&mut self, start: u64) -> Option<&mut V> {
        self.values.get_mut(find(&self.places, start)?)
    }

    /// What begins at an address, or nearest before it.
    pub(super) fn upto(&self, address: u64) -> Option<(u64, &V)> {
        let (start, place) = upto(&self.places, address)?;
        Some((start, self.values.get(place)?))
    }

    /// What begins in a range, both ends included, in ascending order.
    pub(super) fn range(&self, start: u64, last: u64) -> impl Iterator<Item = (u64, &V)> {
        range(&self.places, start, last).filter_map(|(start, place)| Some((*start, self.values.get(*place)?)))
    }

    /// Puts a value in the place of the one that begins there too.
    pub(super) fn insert(&mut self, start: u64, value: V) {
        let place = self.free.pop().unwrap_or(self.values.len());
        match self.values.get_mut(place) {
            Some(free) => *free = value,
            None => self.values.push(value),
        }
        self.free.extend(insert(&mut self.places, start, place));
    }

    pub(super) fn remove(&mut self, start: u64) -> Option<V> {
        let place = remove(&mut self.places, start)?;
        self.free.push(place);
        self.values.get(place).copied()
    }
}

// What follows is the same for all values: once in a program, and not once for each of them.

#[inline(never)]
fn find(places: &BTreeMap<u64, usize>, start: u64) -> Option<usize> {
    places.get(&start).copied()
}

#[inline(never)]
fn upto(places: &BTreeMap<u64, usize>, address: u64) -> Option<(u64, usize)> {
    places.range(..=address).next_back().map(|(start, place)| (*start, *place))
}

#[inline(never)]
fn range(places: &BTreeMap<u64, usize>, start: u64, last: u64) -> btree_map::Range<'_, u64, usize> {
    places.range(start..=last)
}

#[inline(never)]
fn insert(places: &mut BTreeMap<u64, usize>, start: u64, place: usize) -> Option<usize> {
    places.insert(start, place)
}

#[inline(never)]
fn remove(places: &mut BTreeMap<u64, usize>, start: u64) -> Option<usize> {
    places.remove(&start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_start_whatever_was_removed_before() {
        let mut values = ByStart::default();
        for start in [0x3000, 0x1000, 0x2000] {
            values.insert(start, start + 1);
        }
        assert_eq!((values.remove(0x1000), values.remove(0x1000)), (Some(0x1001), None));
        values.insert(0x4000, 0x4001);
        values.insert(0x3000, 0x3002);
        values.insert(0x5000, 0x5001);
        assert_eq!(
            values.range(0, u64::MAX).map(|(_, value)| *value).collect::<Vec<_>>(),
            [0x2001, 0x3002, 0x4001, 0x5001]
        );
        assert_eq!((values.upto(0x2fff), values.upto(0x1fff)), (Some((0x2000, &0x2001)), None));
        assert_eq!((values.len(), values.values.len()), (4, 4), "places are used again");
        assert_eq!((values.get(0x1000), values.get(0x4000)), (None, Some(&0x4001)));
    }
}
