//! Which memory an I/O address space reaches, so that it is not given back before.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::memory::Memory;

/// Memory by the I/O addresses at which it is mapped.
///
/// The kernel pins the pages, but keeps the process's address as well, and iommufd looks there again when another device
/// joins. If other memory was there by then, the device would reach that.
#[derive(Debug, Default)]
pub(crate) struct Held(BTreeMap<u64, (u64, Arc<Memory>)>);

impl Held {
    /// Holds memory for `size` bytes from `first` on, where nothing is held.
    pub(crate) fn add(&mut self, first: u64, size: u64, memory: Arc<Memory>) {
        if let Some(last) = last_of(first, size) {
            self.0.insert(first, (last, memory));
        }
    }

    /// Lets go of the memory for `size` bytes from `first` on; what reaches beyond them stays held there.
    pub(crate) fn remove(&mut self, first: u64, size: u64) {
        if let Some(last) = last_of(first, size) {
            self.remove_up_to(first, last);
        }
    }

    fn remove_up_to(&mut self, first: u64, last: u64) {
        if let Some((start, (end, memory))) = self.0.range(..first).next_back().map(|(at, held)| (*at, held.clone())) {
            if end >= first {
                self.0.insert(start, (first - 1, Arc::clone(&memory)));
            }
            if end > last {
                self.0.insert(last + 1, (end, memory));
                return;
            }
        }
        while let Some((&start, &(end, _))) = self.0.range(first..=last).next() {
            let Some((_, memory)) = self.0.remove(&start) else { return };
            if end > last {
                self.0.insert(last + 1, (end, memory));
            }
        }
    }

    /// How many mappings there are, as far as is known here.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.len()
    }
}

/// The last of `size` addresses; none if there are none. The kernel takes no range that wraps around.
fn last_of(first: u64, size: u64) -> Option<u64> {
    size.checked_sub(1).map(|length| first.saturating_add(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(held: &Held) -> Vec<(u64, u64)> {
        held.0.iter().map(|(first, (last, _))| (*first, *last)).collect()
    }

    #[test]
    fn memory_is_let_go_when_nothing_reaches_it_any_more() {
        let memory = Arc::new(Memory::anonymous(0x4000, 0).unwrap());
        let mut held = Held::default();
        held.add(0x1000, 0x3000, Arc::clone(&memory));
        held.add(0x4000, 0x1000, Arc::clone(&memory));
        held.remove(0x2000, 0);
        held.remove(0x2000, 0x1000);
        assert_eq!(ranges(&held), [(0x1000, 0x1fff), (0x3000, 0x3fff), (0x4000, 0x4fff)]);
        held.remove(0x1800, 0x2400);
        assert_eq!(ranges(&held), [(0x1000, 0x17ff), (0x3c00, 0x3fff), (0x4000, 0x4fff)]);
        held.remove(0x3c00, u64::MAX);
        assert_eq!(held.len(), 1);
        held.remove(0, u64::MAX);
        assert_eq!((held.len(), Arc::strong_count(&memory)), (0, 1));
    }

    #[test]
    fn a_cut_up_to_the_last_address_leaves_the_beginning() {
        let mut held = Held::default();
        held.add(0, u64::MAX, Arc::new(Memory::anonymous(0x1000, 0).unwrap()));
        held.remove(0x1000, u64::MAX);
        assert_eq!(ranges(&held), [(0, 0xfff)]);
    }
}
