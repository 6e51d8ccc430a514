//! What the host's IOMMU holds, as far as the logs tell it or the kernel's rules say it.

use super::by_start::ByStart;

/// Where a mapping goes in the guest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Target {
    /// The guest's page.
    pub(super) page: u64,
    /// Bit 0 read, bit 1 write; `None` where the log does not say.
    pub(super) perm: Option<u8>,
}

/// Who had something mapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Origin {
    /// An entry of the guest.
    Entry,
    /// Memory that devices see directly.
    Memory,
    /// Nobody that the log knows.
    Nobody,
}

/// One mapping: what one call to the kernel made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct HostMap {
    pub(super) last: u64,
    /// How many containers hold it.
    pub(super) copies: u32,
    pub(super) origin: Origin,
    /// Where it goes in the guest, once that is known.
    pub(super) target: Option<Target>,
    /// Where it goes in the host, if it is physically contiguous and the kernel's log tells it.
    pub(super) physical: Option<u64>,
    /// The line that told QEMU's listener, and the kernel's line.
    pub(super) line: u64,
    pub(super) kernel: u64,
    /// The findings that last as long as it does.
    pub(super) finding: Option<usize>,
    /// Pages of the guest that it is counted for.
    tracked: bool,
}

impl HostMap {
    pub(super) fn new(last: u64, origin: Origin, line: u64) -> Self {
        Self { last, copies: 1, origin, target: None, physical: None, line, kernel: 0, finding: None, tracked: false }
    }
}

/// Where a page of the guest is in the host, by the mappings that are there.
#[derive(Clone, Copy, Debug)]
struct Seen {
    physical: u64,
    iova: u64,
    users: u32,
}

/// Two bus addresses that should go to one place and do not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Contradiction {
    pub(super) page: u64,
    pub(super) other_iova: u64,
    pub(super) other_physical: u64,
}

/// The largest mapping whose pages are compared one by one.
const COMPARED: u64 = 1 << 16;

/// All mappings of the host.
#[derive(Debug, Default)]
pub(super) struct Host {
    maps: ByStart<HostMap>,
    pages: ByStart<Seen>,
    peak: usize,
}

impl Host {
    pub(super) fn len(&self) -> usize {
        self.maps.len()
    }

    pub(super) fn peak(&self) -> usize {
        self.peak
    }

    /// A mapping that shares an address with a range.
    #[inline(never)]
    pub(super) fn overlap(&self, start: u64, last: u64) -> Option<(u64, &HostMap)> {
        self.maps.upto(last).filter(|(_, map)| map.last >= start)
    }

    pub(super) fn get_mut(&mut self, start: u64) -> Option<&mut HostMap> {
        self.maps.get_mut(start)
    }

    pub(super) fn get(&self, start: u64) -> Option<&HostMap> {
        self.maps.get(start)
    }

    /// The mappings that share an address with a range, in ascending order.
    pub(super) fn within(&self, start: u64, last: u64) -> impl Iterator<Item = (u64, &HostMap)> {
        let from = self.maps.upto(start).filter(|(_, map)| map.last >= start).map_or(start, |(at, _)| at);
        self.maps.range(from, last)
    }

    /// The same, for who changes them meanwhile.
    #[inline(never)]
    pub(super) fn held(&self, start: u64, last: u64) -> Vec<(u64, HostMap)> {
        self.within(start, last).map(|(at, map)| (at, *map)).collect()
    }

    /// How many addresses of a range are mapped, at most 2^64 - 1, and whether a mapping lies across one of its ends.
    pub(super) fn measure(&self, start: u64, last: u64) -> (u64, bool) {
        let (mut bytes, mut across) = (0u64, false);
        for (at, map) in self.within(start, last) {
            bytes = bytes.saturating_add((map.last.min(last) - at.max(start)).saturating_add(1));
            across |= at < start || map.last > last;
        }
        (bytes, across)
    }

    #[inline(never)]
    pub(super) fn insert(&mut self, start: u64, map: HostMap) {
        self.maps.insert(start, map);
        self.peak = self.peak.max(self.maps.len());
    }

    /// Removes exactly one mapping that one container holds.
    pub(super) fn remove_whole(&mut self, start: u64, last: u64) -> Option<HostMap> {
        self.maps.get(start).filter(|map| map.last == last && map.copies <= 1)?;
        self.remove(start)
    }

    #[inline(never)]
    pub(super) fn remove(&mut self, start: u64) -> Option<HostMap> {
        let map = self.maps.remove(start)?;
        self.untrack(start, &map);
        Some(map)
    }

    /// A mapping goes where the guest's entry goes. Returns the first contradiction with another mapping.
    pub(super) fn set_target(&mut self, start: u64, target: Target) -> Option<Contradiction> {
        let map = self.maps.get_mut(start)?;
        map.target = Some(target);
        let physical = map.physical?;
        let last = map.last;
        if map.tracked || last - start >= COMPARED {
            return None;
        }
        map.tracked = true;
        let mut contradiction = None;
        for page in (0..=(last - start) >> 12).map(|page| page << 12) {
            let (guest, host) = (target.page.wrapping_add(page), physical.wrapping_add(page));
            match self.pages.get_mut(guest) {
                None => self.pages.insert(guest, Seen { physical: host, iova: start + page, users: 1 }),
                Some(seen) if seen.physical == host => seen.users += 1,
                Some(seen) if contradiction.is_none() => {
                    contradiction =
                        Some(Contradiction { page: guest, other_iova: seen.iova, other_physical: seen.physical });
                }
                Some(_) => {}
            }
        }
        contradiction
    }

    fn untrack(&mut self, start: u64, map: &HostMap) {
        let (Some(target), Some(physical), true) = (map.target, map.physical, map.tracked) else { return };
        for page in (0..=(map.last - start) >> 12).map(|page| page << 12) {
            let guest = target.page.wrapping_add(page);
            if let Some(seen) = self.pages.get_mut(guest)
                && seen.physical == physical.wrapping_add(page)
            {
                seen.users -= 1;
                if seen.users == 0 {
                    self.pages.remove(guest);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(maps: &[(u64, u64)]) -> Host {
        let mut host = Host::default();
        for (start, last) in maps {
            host.insert(*start, HostMap::new(*last, Origin::Entry, 1));
        }
        host
    }

    #[test]
    fn overlaps_are_found_wherever_they_begin() {
        let host = host(&[(0x1000, 0x2fff), (0x8000, 0x8fff)]);
        assert_eq!(host.overlap(0x2000, 0x2fff).map(|(at, _)| at), Some(0x1000));
        assert_eq!(host.overlap(0x3000, 0x7fff), None);
        assert_eq!(host.overlap(0, u64::MAX).map(|(at, _)| at), Some(0x8000));
        assert_eq!(host.measure(0x2000, 0x8fff), (0x2000, true));
        assert_eq!(host.measure(0x1000, 0x8fff), (0x3000, false));
    }

    #[test]
    fn one_page_of_the_guest_at_two_places_contradicts() {
        let mut host = host(&[(0x1000, 0x1fff), (0x2000, 0x2fff), (0x3000, 0x3fff)]);
        let target = Target { page: 0x10_0000, perm: Some(3) };
        for (start, physical) in [(0x1000, 0x7000), (0x2000, 0x7000), (0x3000, 0x9000)] {
            host.get_mut(start).unwrap().physical = Some(physical);
        }
        assert_eq!(host.set_target(0x1000, target), None);
        assert_eq!(host.set_target(0x2000, target), None);
        let found = host.set_target(0x3000, target).unwrap();
        assert_eq!((found.other_iova, found.other_physical), (0x1000, 0x7000));
        host.remove(0x1000);
        host.remove(0x2000);
        host.remove(0x3000);
        assert!(host.pages.is_empty());
    }
}
