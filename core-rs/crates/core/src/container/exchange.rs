//! Changes in place on a host that exchanges: the new map takes the place of the old one, and no address is without
//! translation meanwhile.
//!
//! A guest call that changes an entry in place is told as an UNMAP, then a MAP. On such a host the caller says beforehand what will
//! be mapped again ([`Container::expect`]); an UNMAP of that is held until the MAP comes.

use crate::address::{Iova, IovaRange};

use super::Container;
use super::host_map::{HostMap, HostMaps};
use super::host_op::{Intent, Step};
use super::limits::merged;
use super::undo::Entry;

impl Container {
    /// Says that the open transaction is going to map `range` again after it unmapped it: where the host exchanges, the UNMAP
    /// waits for the MAP. Else, and outside of a transaction, it changes nothing.
    pub fn expect(&mut self, range: IovaRange) {
        if !self.limits.exchange || self.journal.is_none() {
            return;
        }
        let pages = self.limits.page_hull(range);
        if self.expected_in(pages).next().is_none() {
            let at = self.expected.partition_point(|one| one.start() < pages.start());
            self.expected.insert(at, pages); // at the end, as changes are told in order
        }
    }

    /// Maps that the guest unmapped in the open transaction and that a MAP is expected to take the place of; the host holds
    /// them beside [`Container::maps`]. None outside of a transaction.
    #[must_use]
    pub fn held(&self) -> &HostMaps {
        &self.held
    }

    /// The parts of `range` in which a MAP is expected, in order.
    fn expected_in(&self, range: IovaRange) -> impl Iterator<Item = IovaRange> {
        let from = self.expected.partition_point(|one| one.last() < range.start());
        self.expected.iter().skip(from).map_while(move |one| one.intersection(range))
    }

    /// Takes what is mapped in `range` and expected to be mapped again out of the maps, for a MAP to take its place. The host
    /// is asked nothing.
    pub(super) fn hold(&mut self, range: IovaRange) {
        if self.failure.is_some() {
            return; // no MAP will come
        }
        // Joined, as a map that is held in one piece counts once.
        let parts = merged(self.expected_in(range).collect());
        for part in parts {
            let held = self.maps.cut(part);
            if held.is_empty() {
                continue;
            }
            for map in &held {
                self.held.insert(*map);
            }
            if let Some(journal) = &mut self.journal {
                journal.push(Entry::Held(held));
            }
        }
    }

    /// How many held maps, or rests of one, stay on the host beside a new map in `range`.
    pub(super) fn held_beside(&self, range: IovaRange) -> usize {
        let (mut met, mut rests) = (0, 0);
        for map in self.held.overlapping(range) {
            met += 1;
            rests += map.outside(range).into_iter().flatten().count();
        }
        self.held.len() - met + rests
    }

    /// What is held counts as mapped again, as it is on the host.
    pub(super) fn release_held(&mut self) {
        for map in core::mem::take(&mut self.held).iter() {
            self.maps.insert(*map);
        }
    }

    /// Queues what puts the last one of `old` back in the place of what was mapped in `range`: one by one, as each cuts the
    /// same new map. What is new above it, and below the first one, is unmapped before: a host that counts its maps has no room
    /// for both.
    pub(super) fn queue_exchange_back(&mut self, range: IovaRange, mut old: Vec<HostMap>) {
        let Some(map) = old.pop() else {
            self.undo.push(Entry::Mapped(range));
            return;
        };
        let below = map.range.start().0.checked_sub(1).and_then(|last| IovaRange::new(range.start(), Iova(last)));
        let above = map.range.last().checked_add(1).and_then(|start| IovaRange::new(start, range.last()));
        let new = above.or(below.filter(|_| old.is_empty()));
        if let Some(new) = new {
            let rest = if above.is_some() { IovaRange::new(range.start(), map.range.last()) } else { Some(map.range) };
            old.push(map);
            self.undo.extend(rest.map(|rest| Entry::Exchanged(rest, old)));
            self.undo.push(Entry::Mapped(new));
            return;
        }
        self.undo.extend(below.map(|below| Entry::Exchanged(below, old)));
        let removed: Vec<HostMap> = self.maps.overlapping(map.range).copied().collect();
        let rests = removed.iter().flat_map(|new| new.outside(map.range)).flatten();
        let inserted = core::iter::once(map).chain(rests).collect();
        self.queue(Step { removed, inserted, ..Step::map(map, Intent::UndoExchange) });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Coalesce, GuestRun, HolePolicy, HostLimits, HostOp, Kind, Split};
    use super::*;
    use crate::address::Gpa;
    use crate::perm::Perm;

    const K4: u64 = 0x1000;

    fn container(exchange: bool) -> Container {
        let limits = HostLimits {
            page_sizes: K4,
            iova_ranges: vec![IovaRange::ALL],
            max_mappings: None,
            split: Split::Atomic,
            unmap_wide: true,
            write_only: true,
            exchange,
        };
        let mut container = Container::new(limits, Coalesce::Full, HolePolicy::Forbid).expect("container");
        container.map(run(0, 8, 100), Kind::Iommu).expect("map");
        container.report(1, false);
        container
    }

    fn range(first: u64, pages: u64) -> IovaRange {
        IovaRange::new(Iova(first * K4), Iova((first + pages) * K4 - 1)).expect("range")
    }

    fn run(first: u64, pages: u64, target: u64) -> GuestRun {
        GuestRun {
            range: range(first, pages),
            target: Gpa(target * K4),
            perm: Perm::READ_WRITE,
            page_shift: 12,
            phase: 0,
            readonly: false,
            backing: 0,
        }
    }

    fn calls(container: &Container) -> Vec<(char, u64, u64)> {
        let call = |op| match op {
            HostOp::Map { range, target, .. } => ('m', range.start().0 / K4, target.0 / K4),
            HostOp::Unmap { range, bytes } => ('u', range.start().0 / K4, u64::try_from(bytes).expect("bytes") / K4),
            HostOp::Quiesce => ('q', 0, 0),
        };
        container.pending().map(call).collect()
    }

    fn targets(container: &Container) -> Vec<(u64, u64)> {
        container.maps().iter().map(|map| (map.range.start().0 / K4, map.target.0 / K4)).collect()
    }

    #[test]
    fn a_change_in_place_is_one_map_where_the_host_exchanges() {
        for exchange in [true, false] {
            let mut container = container(exchange);
            container.begin().expect("begin");
            container.expect(range(2, 2));
            // Pages 1 to 3 go by one call, 2 and 3 come again.
            container.unmap(range(1, 3)).expect("unmap");
            assert_eq!(calls(&container), [('u', 1, if exchange { 1 } else { 3 })]);
            container.report(1, false);
            container.map(run(2, 2, 200), Kind::Iommu).expect("map");
            assert_eq!(calls(&container), [('m', 2, 200)]);
            container.report(1, false);
            container.commit();
            assert!(container.is_idle());
            assert_eq!(targets(&container), [(0, 100), (2, 200), (4, 104)]);
        }
    }

    #[test]
    fn a_refused_exchange_leaves_the_old_map_where_it_was() {
        let mut container = container(true);
        container.begin().expect("begin");
        container.expect(range(2, 1));
        container.unmap(range(2, 1)).expect("unmap");
        assert!(container.is_idle());
        container.map(run(2, 1, 200), Kind::Iommu).expect("map");
        container.report(0, true);
        container.rollback();
        assert!(container.is_idle(), "nothing was changed on the host");
        assert_eq!(targets(&container), [(0, 100), (2, 102), (3, 103)]);
    }

    #[test]
    fn a_rollback_exchanges_back_and_unmaps_what_was_new() {
        let mut container = container(true);
        container.begin().expect("begin");
        container.expect(range(6, 2));
        container.unmap(range(6, 2)).expect("unmap");
        container.map(run(6, 4, 200), Kind::Iommu).expect("map");
        container.report(1, false);
        container.rollback();
        let mut made = Vec::new();
        while !container.is_idle() {
            made.extend(calls(&container));
            let pending = container.pending().len();
            container.report(pending, false);
        }
        assert_eq!(made, [('u', 8, 2), ('m', 6, 106)]);
        assert_eq!(targets(&container), [(0, 100), (6, 106)]);
        assert!(container.lost().is_empty());
    }

    #[test]
    fn what_cannot_be_exchanged_back_becomes_nothing() {
        let mut container = container(true);
        container.begin().expect("begin");
        container.expect(range(6, 1));
        container.unmap(range(6, 1)).expect("unmap");
        container.map(run(6, 1, 200), Kind::Iommu).expect("map");
        container.report(1, false);
        container.rollback();
        container.report(0, true);
        assert_eq!(calls(&container), [('u', 6, 1)]);
        container.report(1, false);
        assert_eq!(container.lost(), [range(6, 1)]);
        assert_eq!(targets(&container), [(0, 100), (7, 107)]);
    }

    #[test]
    fn what_was_expected_and_does_not_come_is_unmapped_in_the_end() {
        let mut container = container(true);
        container.begin().expect("begin");
        container.expect(range(2, 1));
        container.unmap(range(2, 1)).expect("unmap");
        assert_eq!(container.held().len(), 1);
        container.commit();
        assert_eq!(calls(&container), [('u', 2, 1)]);
        container.report(1, false);
        assert_eq!(targets(&container), [(0, 100), (3, 103)]);
    }

    #[test]
    fn an_unmap_does_not_pass_over_what_is_held() {
        let mut container = container(true);
        container.begin().expect("begin");
        container.expect(range(3, 1));
        container.unmap(range(1, 5)).expect("unmap");
        assert_eq!(calls(&container), [('u', 1, 2), ('u', 4, 2)]);
        container.cancel();
        container.clear();
        assert!(container.held().is_empty());
    }
}
