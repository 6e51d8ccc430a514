//! Random guests against a plain model and a model host that fails at any call.
//!
//! After every guest call the host holds exactly what the guest's table says, or the container is failed and names
//! exactly what differs; and no single host call takes a translation away that the guest did not change.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};

use giommu_core::address::{Gpa, Iova, IovaRange};
use giommu_core::container::{Coalesce, Container, FailureKind, GuestRun, HolePolicy, HostLimits, HostOp, Kind, Split};
use giommu_core::perm::Perm;
use proptest::prelude::*;

const PAGES: u64 = 24;
const RAM_AT: u64 = 0x4000_0000;
const RAM_PAGES: u64 = 16;
const HOST_SHIFT: u32 = 12;

/// What one page reaches: its target and permission.
type Page = (u64, Perm);

/// A host that knows nothing of containers: maps by address, and the rules of a kernel.
#[derive(Clone, Debug)]
struct ModelHost {
    split: Split,
    wide: bool,
    exchange: bool,
    max: Option<u32>,
    maps: BTreeMap<u64, (u64, u64, Perm)>,
}

#[derive(PartialEq, Eq, Debug)]
struct Refused(&'static str);

impl ModelHost {
    fn map(&mut self, range: IovaRange, target: Gpa, perm: Perm) -> Result<(), Refused> {
        let mut maps = self.maps.clone();
        if Self::cut(&mut maps, range) > 0 && !self.exchange {
            return Err(Refused("EEXIST"));
        }
        maps.insert(range.start().0, (range.last().0, target.0, perm));
        if self.max.is_some_and(|max| maps.len() > max as usize) {
            return Err(Refused("ENOSPC"));
        }
        self.maps = maps; // all at once: nobody sees an address without translation, and a refused call changes nothing
        Ok(())
    }

    fn unmap(&mut self, range: IovaRange) -> Result<u128, Refused> {
        let (from, to) = (range.start().0, range.last().0);
        let hit: Vec<_> = self
            .maps
            .iter()
            .map(|(start, map)| (*start, *map))
            .filter(|(start, (last, _, _))| *start <= to && from <= *last)
            .collect();
        let partial = hit.iter().any(|(start, (last, _, _))| *start < from || *last > to);
        if partial && self.split == Split::None {
            return Err(Refused("EINVAL"));
        }
        if !self.wide && (hit.len() != 1 || hit[0].0 > from || hit[0].1.0 < to) {
            return Err(Refused("one map exactly"));
        }
        Ok(Self::cut(&mut self.maps, range))
    }

    /// Takes what lies in `range` out of the maps; returns how many bytes that was.
    fn cut(maps: &mut BTreeMap<u64, (u64, u64, Perm)>, range: IovaRange) -> u128 {
        let (from, to) = (range.start().0, range.last().0);
        let hit: Vec<_> =
            maps.range(..=to).filter(|(_, map)| from <= map.0).map(|(start, map)| (*start, *map)).collect();
        let mut bytes = 0;
        for (start, (last, target, perm)) in hit {
            maps.remove(&start);
            if start < from {
                maps.insert(start, (from - 1, target, perm));
            }
            if last > to {
                maps.insert(to + 1, (last, target + (to + 1 - start), perm));
            }
            bytes += u128::from(last.min(to) - start.max(from)) + 1;
        }
        bytes
    }

    fn translate(&self, iova: u64) -> Option<Page> {
        let (start, (last, target, perm)) = self.maps.range(..=iova).next_back()?;
        (iova <= *last).then(|| (target + (iova - start), *perm))
    }
}

/// One call of the guest or of the machine.
#[derive(Clone, Debug)]
enum Call {
    /// Stores neighbouring entries, each its own value; `None` clears.
    Store { first: u64, values: Vec<Option<Page>> },
    /// RAM appears on the bus.
    AddRam { first: u64, pages: u64 },
    /// A part of what RAM is there goes.
    RemoveRam { first: u64, pages: u64 },
    /// Guest memory under IOMMU entries goes.
    RemoveTargets { first: u64, pages: u64 },
    /// It comes back.
    ReturnTargets { first: u64, pages: u64 },
}

struct World {
    container: Container,
    host: ModelHost,
    shift: u32,
    base: u64,
    /// The guest's table.
    table: BTreeMap<u64, Page>,
    /// Guest memory that entries may point to and that is not there, by page.
    gone: BTreeSet<u64>,
    /// RAM pages on the bus.
    ram: BTreeMap<u64, u64>,
    holes_forbidden: bool,
    exchanges: bool,
    /// What changes in place by the call under way, old and new: on a host that exchanges, always one of them.
    in_place: BTreeMap<u64, (Page, Page)>,
    /// Host calls that will fail, by number.
    fail: Vec<u32>,
    calls: u32,
}

impl World {
    fn page(&self) -> u64 {
        1 << self.shift
    }

    fn iova(&self, index: u64) -> u64 {
        self.base + index * self.page()
    }

    /// Makes every pending call on the host; after each single one, all `untouched` addresses still translate.
    fn drain(&mut self, untouched: &BTreeMap<u64, Page>) {
        while !self.container.is_idle() {
            let ops: Vec<_> = self.container.pending().collect();
            let mut done = 0;
            let mut failed = false;
            for op in ops {
                self.calls += 1;
                failed = self.fail.contains(&self.calls) || self.make(op).is_err();
                if self.holes_forbidden {
                    for (iova, page) in untouched {
                        assert_eq!(self.host.translate(*iova), Some(*page), "{iova:#x} lost by {op:x?}");
                    }
                }
                if self.exchanges && self.fail.is_empty() {
                    for (iova, (old, new)) in &self.in_place {
                        let found = self.host.translate(*iova);
                        assert!(found == Some(*old) || found == Some(*new), "{iova:#x} lost by {op:x?}");
                    }
                }
                if failed {
                    break;
                }
                done += 1;
            }
            self.container.report(done, failed);
        }
        let memory: BTreeMap<_, _> = self
            .container
            .maps()
            .iter()
            .chain(self.container.held().iter())
            .map(|map| (map.range.start().0, (map.range.last().0, map.target.0, map.perm)))
            .collect();
        // A map of which a part is held is one on the host still.
        let (memory, host) = if self.exchanges {
            (pages_of(&memory), pages_of(&self.host.maps))
        } else {
            (memory, self.host.maps.clone())
        };
        assert_eq!(memory, host, "the container's memory is what the host holds");
    }

    fn make(&mut self, op: HostOp) -> Result<(), Refused> {
        match op {
            HostOp::Map { range, target, perm, .. } => self.host.map(range, target, perm),
            HostOp::Unmap { range, bytes } => {
                let unmapped = self.host.unmap(range)?;
                assert_eq!(unmapped, bytes, "{range} unmapped");
                Ok(())
            }
            HostOp::Quiesce => Ok(()),
        }
    }

    /// Every address that should translate, at one address per host page.
    fn expected(&self) -> BTreeMap<u64, Page> {
        let mut all = BTreeMap::new();
        for (index, (target, perm)) in &self.table {
            if self.gone.contains(&(target >> self.shift)) {
                continue;
            }
            for offset in (0..self.page()).step_by(1 << HOST_SHIFT) {
                all.insert(self.iova(*index) + offset, (target + offset, *perm));
            }
        }
        for (index, target) in &self.ram {
            all.insert(RAM_AT + (index << HOST_SHIFT), (*target, Perm::READ_WRITE));
        }
        all
    }

    fn run(&self, first: u64, pages: u64, page: Page) -> GuestRun {
        GuestRun {
            range: IovaRange::new(Iova(self.iova(first)), Iova(self.iova(first + pages) - 1)).expect("range"),
            target: Gpa(page.0),
            perm: page.1,
            page_shift: u8::try_from(self.shift).expect("shift"),
            phase: self.base % self.page(),
            readonly: false,
            backing: 0,
        }
    }

    /// Maps a run; whether all of it is mapped now. What a host refuses by its own rules is known before it is asked.
    fn map(&mut self, run: GuestRun, kind: Kind, untouched: &BTreeMap<u64, Page>) -> bool {
        let planned = self.container.map(run, kind);
        self.drain(untouched);
        let refused = self.container.refused();
        assert!(refused.is_none() || !self.fail.is_empty(), "{refused:x?} was not checked");
        planned.is_ok() && refused.is_none()
    }

    /// A guest call as the dispatcher delivers it: all unmaps, then all maps, all or nothing.
    fn store(&mut self, first: u64, values: &[Option<Page>]) {
        let old = self.table.clone();
        let mut changed = Vec::new();
        for (offset, value) in values.iter().enumerate() {
            let index = first + offset as u64;
            let value = value.filter(|(_, perm)| !perm.is_none());
            if old.get(&index).copied() != value {
                changed.push((index, value));
            }
        }
        let mut untouched = self.expected();
        for (index, _) in &changed {
            let (start, last) = (self.iova(*index), self.iova(index + 1) - 1);
            untouched.retain(|iova, _| *iova < start || *iova > last);
        }
        self.container.begin().expect("begin");
        self.in_place.clear();
        for (index, value) in &changed {
            let (Some(before), Some(value)) = (old.get(index), value) else { continue };
            if self.gone.contains(&(value.0 >> self.shift)) {
                continue;
            }
            self.container.expect(self.run(*index, 1, *value).range);
            if !self.gone.contains(&(before.0 >> self.shift)) {
                self.in_place.insert(self.iova(*index), (*before, *value));
            }
        }
        // Neighbouring unmaps are one event whatever they reached.
        let mut unmaps: Vec<(u64, u64)> = Vec::new();
        for (index, _) in changed.iter().filter(|(index, _)| old.contains_key(index)) {
            match unmaps.last_mut() {
                Some((start, pages)) if *start + *pages == *index => *pages += 1,
                _ => unmaps.push((*index, 1)),
            }
        }
        for (start, pages) in unmaps {
            // Also after a failure: the guest removed these as well.
            self.container.unmap(self.run(start, pages, (0, Perm::READ)).range).expect("unmap");
            self.drain(&untouched);
        }
        for (index, _) in &changed {
            self.table.remove(index);
        }
        if self.container.failure().is_some() {
            self.in_place.clear();
            self.container.commit();
            self.drain(&untouched);
            return;
        }
        let mut maps: Vec<(u64, u64, Page)> = Vec::new();
        for (index, value) in &changed {
            let Some((target, perm)) = *value else { continue };
            match maps.last_mut() {
                Some((start, pages, page))
                    if *start + *pages == *index
                        && page.1 == perm
                        && page.0 + *pages * (1 << self.shift) == target
                        && self.gone.contains(&(page.0 >> self.shift))
                            == self.gone.contains(&(target >> self.shift)) =>
                {
                    *pages += 1;
                }
                _ => maps.push((*index, 1, (target, perm))),
            }
        }
        for (start, pages, page) in maps {
            let run = self.run(start, pages, page);
            if self.gone.contains(&(page.0 >> self.shift)) {
                self.container.note_absent(run, Kind::Iommu).expect("note");
                continue;
            }
            if !self.map(run, Kind::Iommu, &untouched) {
                self.in_place.clear();
                self.container.rollback();
                self.drain(&untouched);
                self.table = old;
                for lost in self.container.lost() {
                    let (base, page) = (self.base, 1u64 << self.shift);
                    self.table.retain(|index, _| {
                        let start = base + index * page;
                        start > lost.last().0 || start + page - 1 < lost.start().0
                    });
                }
                return;
            }
        }
        self.container.commit();
        assert!(self.container.is_idle() && self.container.held().is_empty(), "all that was expected came");
        self.in_place.clear();
        for (index, value) in changed {
            if let Some(page) = value {
                self.table.insert(index, page);
            }
        }
    }

    fn add_ram(&mut self, first: u64, pages: u64) {
        let untouched = self.expected();
        let target = 0x100_0000 + (first << HOST_SHIFT);
        let range = ram_range(first, pages);
        let target = Gpa(target);
        let run =
            GuestRun { range, target, perm: Perm::READ_WRITE, page_shift: 12, phase: 0, readonly: false, backing: 1 };
        self.container.begin().expect("begin");
        if !self.map(run, Kind::Ram, &untouched) {
            self.container.rollback();
            self.drain(&untouched);
            return;
        }
        self.container.commit();
        for index in first..first + pages {
            self.ram.insert(index, 0x100_0000 + (index << HOST_SHIFT));
        }
    }

    fn remove_ram(&mut self, first: u64, pages: u64) {
        let range = ram_range(first, pages);
        let mut untouched = self.expected();
        untouched.retain(|iova, _| !range.contains(Iova(*iova)));
        if self.container.unmap(range).is_ok() {
            self.drain(&untouched);
            self.ram.retain(|index, _| *index < first || *index >= first + pages);
        }
    }

    fn return_targets(&mut self, first: u64, pages: u64) {
        let untouched = self.expected();
        let (from, to) = (target(first, self.shift), target(first + pages, self.shift) - 1);
        let mut back = self.container.take_absent(Gpa(from), Gpa(to)).into_iter();
        let mut mapped = Vec::new();
        while let Some(part) = back.next() {
            let run = GuestRun {
                range: part.range,
                target: part.target,
                perm: part.asked,
                page_shift: part.page_shift,
                phase: part.phase,
                readonly: false,
                backing: 0,
            };
            self.container.begin().expect("begin");
            if self.map(run, Kind::Iommu, &untouched) {
                self.container.commit();
                mapped.push(part.range);
                continue;
            }
            self.container.rollback();
            self.drain(&untouched);
            if self.container.failure().is_some() {
                // The memory does not come back, and what was mapped already can not go.
                for range in mapped {
                    self.container.fail(FailureKind::Rollback, range);
                }
                return;
            }
            // As a machine does whose memory can not come back: what was mapped goes again.
            for part in core::iter::once(part).chain(back) {
                let run = GuestRun { range: part.range, target: part.target, perm: part.asked, ..run };
                self.container.note_absent(run, Kind::Iommu).expect("note");
            }
            for index in first..first + pages {
                self.gone.remove(&index);
            }
            self.remove_targets(first, pages);
            return;
        }
        for index in first..first + pages {
            self.gone.remove(&index);
        }
    }

    fn remove_targets(&mut self, first: u64, pages: u64) {
        let (from, to) = (target(first, self.shift), target(first + pages, self.shift) - 1);
        let page = self.page();
        let mut untouched = self.expected();
        let (base, shift) = (self.base, self.shift);
        let gone: Vec<u64> =
            self.table.iter().filter(|(_, (at, _))| *at >= from && *at < to).map(|(index, _)| *index).collect();
        untouched.retain(|iova, _| {
            !gone.iter().any(|index| (base + (index << shift)..base + (index << shift) + page).contains(iova))
        });
        if self.container.unmap_targets(Gpa(from), Gpa(to)).is_ok() {
            self.drain(&untouched);
            self.gone.extend(first..first + pages);
        }
    }

    /// Every address where host and guest differ, one per host page.
    fn differences(&self) -> Vec<u64> {
        let expected = self.expected();
        let table = (0..PAGES << (self.shift - HOST_SHIFT)).map(|step| self.base + (step << HOST_SHIFT));
        let ram = (0..RAM_PAGES).map(|step| RAM_AT + (step << HOST_SHIFT));
        table.chain(ram).filter(|iova| self.host.translate(*iova) != expected.get(iova).copied()).collect()
    }

    fn check(&self) {
        let differing = self.differences();
        match self.container.failure() {
            None => assert!(differing.is_empty(), "{differing:x?} differ"),
            Some(failure) => {
                let named = |iova: &u64| failure.ranges.iter().any(|range| range.contains(Iova(*iova)));
                assert!(differing.iter().all(named), "{differing:x?} differ, named are {:x?}", failure.ranges);
                // After a second failure a range may be named that agrees again; one never hides.
                if failure.kind != FailureKind::Unmap || self.container.counters().failed > 1 {
                    return;
                }
                for range in &failure.ranges {
                    for iova in (range.start().0..=range.last().0).step_by(1 << HOST_SHIFT) {
                        assert!(differing.contains(&iova), "{iova:#x} is named and does not differ");
                    }
                }
            }
        }
    }

    fn call(&mut self, call: &Call) {
        match call {
            Call::Store { first, values } => self.store(*first, values),
            Call::AddRam { first, pages } => self.add_ram(*first, *pages),
            Call::RemoveRam { first, pages } => self.remove_ram(*first, *pages),
            Call::RemoveTargets { first, pages } => self.remove_targets(*first, *pages),
            Call::ReturnTargets { first, pages } => self.return_targets(*first, *pages),
        }
    }
}

/// Maps, page by page.
fn pages_of(maps: &BTreeMap<u64, (u64, u64, Perm)>) -> BTreeMap<u64, (u64, u64, Perm)> {
    let steps = maps.iter().flat_map(|(start, (last, target, perm))| {
        (*start..=*last).step_by(1 << HOST_SHIFT).map(move |at| (at, (at, target + (at - start), *perm)))
    });
    steps.collect()
}

fn ram_range(first: u64, pages: u64) -> IovaRange {
    IovaRange::new(Iova(RAM_AT + (first << HOST_SHIFT)), Iova(RAM_AT + ((first + pages) << HOST_SHIFT) - 1))
        .expect("range")
}

fn target(page: u64, shift: u32) -> u64 {
    page << shift
}

fn value(shift: u32) -> impl Strategy<Value = Option<Page>> {
    prop_oneof![
        2 => Just(None),
        5 => (0u64..8, 1u64..4).prop_map(move |(page, perm)| Some((target(page, shift), Perm::from_bits(perm)))),
    ]
}

fn call(shift: u32) -> impl Strategy<Value = Call> {
    let scattered = (0..PAGES, prop::collection::vec(value(shift), 1..8));
    let adjoining = (0..PAGES, 1u64..12, 0u64..8, 1u64..4).prop_map(move |(first, pages, at, perm)| {
        (first, (0..pages).map(|i| Some((target(at + i, shift), Perm::from_bits(perm)))).collect())
    });
    let stuffed = (0..PAGES, 1usize..12).prop_map(|(first, pages)| (first, vec![None; pages]));
    let store = prop_oneof![scattered, adjoining, stuffed].prop_map(|(first, mut values): (u64, Vec<_>)| {
        values.truncate(usize::try_from(PAGES - first).expect("pages"));
        Call::Store { first, values }
    });
    let ram = (0..RAM_PAGES).prop_flat_map(|first| (Just(first), 1..=RAM_PAGES - first));
    prop_oneof![
        8 => store,
        1 => ram.clone().prop_map(|(first, pages)| Call::AddRam { first, pages }),
        1 => ram.prop_map(|(first, pages)| Call::RemoveRam { first, pages }),
        1 => (0u64..16, 1u64..5).prop_map(|(first, pages)| Call::RemoveTargets { first, pages }),
        1 => (0u64..16, 1u64..5).prop_map(|(first, pages)| Call::ReturnTargets { first, pages }),
    ]
}

#[derive(Clone, Debug)]
struct Setting {
    shift: u32,
    base: u64,
    split: Split,
    wide: bool,
    exchange: bool,
    max: Option<u32>,
    coalesce: Coalesce,
    holes: HolePolicy,
}

fn setting() -> impl Strategy<Value = Setting> {
    let host = (
        prop_oneof![Just(Split::Atomic), Just(Split::None)],
        any::<bool>(),
        any::<bool>(),
        prop_oneof![2 => Just(None), 1 => (4u32..30).prop_map(Some)],
    );
    let policy = (
        prop_oneof![Just(Coalesce::None), Just(Coalesce::Full)],
        prop_oneof![Just(HolePolicy::Forbid), Just(HolePolicy::Allow), Just(HolePolicy::Quiesce)],
    );
    // 64 KiB pages at a bus address that is a multiple of 4 KiB only, too.
    let table = prop_oneof![Just((12, 0x8000)), Just((16, 0x10_0000)), Just((16, 0x10_3000))];
    (host, policy, table).prop_map(|((split, wide, exchange, max), (coalesce, holes), (shift, base))| {
        // Coalesced maps on a host without split need holes; such a container is refused.
        let holes = match (split, coalesce, holes) {
            (Split::None, Coalesce::Full, HolePolicy::Forbid) => HolePolicy::Allow,
            _ => holes,
        };
        Setting { shift, base, split, wide, exchange: exchange && split == Split::Atomic, max, coalesce, holes }
    })
}

fn world(setting: &Setting, fail: Vec<u32>) -> World {
    let limits = HostLimits {
        page_sizes: 1 << HOST_SHIFT,
        iova_ranges: vec![IovaRange::ALL],
        max_mappings: setting.max,
        split: setting.split,
        unmap_wide: setting.wide,
        write_only: true,
        exchange: setting.exchange,
    };
    World {
        container: Container::new(limits, setting.coalesce, setting.holes).expect("container"),
        host: ModelHost {
            split: setting.split,
            wide: setting.wide,
            exchange: setting.exchange,
            max: setting.max,
            maps: BTreeMap::new(),
        },
        shift: setting.shift,
        base: setting.base,
        table: BTreeMap::new(),
        gone: BTreeSet::new(),
        ram: BTreeMap::new(),
        exchanges: setting.exchange,
        in_place: BTreeMap::new(),
        holes_forbidden: setting.split == Split::Atomic || setting.holes == HolePolicy::Forbid,
        fail,
        calls: 0,
    }
}

fn scenario() -> impl Strategy<Value = (Setting, Vec<Call>)> {
    setting().prop_flat_map(|setting| {
        let shift = setting.shift;
        (Just(setting), prop::collection::vec(call(shift), 1..12))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every host call of the scenario fails once, in a run of its own, and pairs of calls too (a failed undo).
    #[test]
    fn host_and_guest_agree_whichever_call_fails((setting, calls) in scenario(), gap in 1u32..4) {
        let total = {
            let mut world = world(&setting, Vec::new());
            for call in &calls {
                // A hole at the mapping limit fails a container without any scripted fault.
                if world.container.failure().is_some() {
                    break;
                }
                world.call(call);
                world.check();
            }
            world.calls
        };
        let plans = (1..=total).flat_map(|k| [vec![k], vec![k, k + gap], (k..k + 4).collect()]);
        for fail in plans {
            let mut world = world(&setting, fail);
            for call in &calls {
                if world.container.failure().is_some() {
                    break;
                }
                world.call(call);
                world.check();
            }
            // Whatever happened: the container goes and leaves nothing.
            world.fail.clear();
            world.container.clear();
            world.drain(&BTreeMap::new());
            assert!(world.host.maps.is_empty());
        }
    }

    /// A call that the host refuses leaves host and table as they were, unless something could not be put back.
    #[test]
    fn a_refused_call_leaves_everything_as_it_was((setting, calls) in scenario(), k in 1u32..60) {
        let mut world = world(&setting, vec![k]);
        for call in &calls {
            let before = (world.table.clone(), world.expected());
            let counted = world.container.counters().failed;
            world.call(call);
            let refused = world.container.counters().failed > counted;
            if refused && world.container.failure().is_none() && world.container.lost().is_empty() && world.container.refused().is_none()
                && matches!(call, Call::Store { .. })
            {
                assert_eq!(before, (world.table.clone(), world.expected()));
            }
            if world.container.failure().is_some() {
                break;
            }
        }
    }
}
