//! The guest's table, and a guest call that writes to it: packages/spapr-tce/tce_table.ts.

use core::fmt;
use core::hash::{Hash, Hasher};
use std::sync::Arc;

use giommu_core::address::{Gpa, Iova};
use giommu_core::extent::Extent;
use giommu_core::hcall::{h_put_tce, h_put_tce_indirect, h_stuff_tce};
use giommu_core::perm::Perm;
use giommu_core::tce_table::{Change, Geometry, Runs, TceTable};

use crate::delivery::{GuestChange, Outcome, Status};
use crate::host::Reach;
use crate::pages::{PAGE_SHIFT, Pages};
use crate::run::Run;
use crate::setup::Fault;
use crate::world::World;

/// What a guest may store for a page. Neighbours that hold the same adjoin, and so make one run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Value {
    /// 0.
    Nothing,
    /// A page that devices read and write.
    A,
    /// Another one, that they only read.
    B,
}

/// Every [`Value`].
pub const VALUES: [Value; 3] = [Value::Nothing, Value::A, Value::B];

impl Value {
    /// The entry of a page.
    #[must_use]
    pub fn tce(self, page: u32) -> u64 {
        let at = |base: u32| u64::from(base + page) << PAGE_SHIFT;
        match self {
            Self::Nothing => 0,
            Self::A => at(0x100) | 3,
            Self::B => at(0x800) | 1,
        }
    }
}

/// A run of neighbouring pages, as a notifier is told of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MappedRun {
    /// The pages.
    pub pages: Pages,
    /// What the first one reaches.
    pub target: Gpa,
    /// What a device may do.
    pub perm: Perm,
}

impl MappedRun {
    /// The part of it in a range.
    #[must_use]
    pub fn crop(self, range: Pages) -> Option<Self> {
        let pages = self.pages.intersect(range)?;
        let target = self.target.wrapping_add(u64::from(pages.first - self.pages.first) << PAGE_SHIFT);
        Some(Self { pages, target, ..self })
    }

    /// What one page of it reaches.
    #[must_use]
    pub fn reach(self, page: u32) -> Option<Reach> {
        self.crop(Pages::one(page)).map(|one| (one.target, one.perm))
    }

    fn of(extent: &Extent) -> Self {
        Self { pages: Pages::touched(extent.range()), target: extent.target, perm: extent.perm }
    }
}

/// The core's table. Two are the same if their entries are, whatever was written before.
#[derive(Clone)]
pub struct Table(Arc<TceTable>);

impl Table {
    /// An empty one.
    ///
    /// # Panics
    /// If a table of so many pages cannot be made.
    #[must_use]
    pub fn new(pages: u32) -> Self {
        let geometry = Geometry { liobn: 0x8000_0000, bus_offset: Iova(0), page_shift: PAGE_SHIFT, entries: pages };
        Self(Arc::new(TceTable::new(geometry, pages).expect("a sound geometry")))
    }

    /// How many pages it has.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.0.geometry().entries
    }

    /// The raw entry.
    #[must_use]
    pub fn entry(&self, page: u32) -> u64 {
        self.0.get(page)
    }

    /// A number that grows whenever entries may have changed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.version()
    }

    /// What a page reaches.
    #[must_use]
    pub fn translate(&self, page: u32) -> Option<Reach> {
        let found = self.0.translate(u64::from(page) << PAGE_SHIFT)?;
        (!found.perm.is_none()).then_some((found.target, found.perm))
    }

    /// What is mapped in a range, in runs.
    #[must_use]
    pub fn runs(&self, range: Pages) -> Vec<MappedRun> {
        let mut runs = Vec::new();
        let mut from = Some(range.first);
        while let Some((_, extent)) = from.and_then(|from| self.0.next_extent(from, range.last, Runs::Full)) {
            let run = MappedRun::of(&extent);
            runs.push(run);
            from = run.pages.last.checked_add(1);
        }
        runs
    }

    fn entries(&self) -> impl Iterator<Item = u64> {
        (0..self.pages()).map(|page| self.0.get(page))
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.entries().eq(other.entries())
    }
}

impl Eq for Table {}

impl Hash for Table {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entries().for_each(|entry| entry.hash(state));
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries().map(|entry| format!("{entry:#x}"))).finish()
    }
}

/// What a guest's call answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    /// H_SUCCESS.
    Success,
    /// H_NOT_ENOUGH_RESOURCES, -44.
    NotEnoughResources,
    /// H_HARDWARE, -1.
    Hardware,
}

/// How a guest's call ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// What the guest gets.
    pub answer: Answer,
    /// How its change was taken; `None` if nobody had to be told.
    pub outcome: Option<Outcome>,
    /// The pages that the change was about.
    pub changed: Vec<Pages>,
}

impl World {
    /// A guest stores values in consecutive entries, by the hypercall that fits: `putTce`, `stuffTce`, `putTceIndirect`, and
    /// the `#tell` behind them.
    ///
    /// # Panics
    /// If the core does not store them: they are few, and in range.
    pub fn write(&mut self, run: &mut Run<'_>, first: u32, values: &[Value]) -> Written {
        // `#writable`: nothing is recorded where nobody listens.
        let mut change = if self.notifiers.is_empty() { Change::quiet() } else { Change::new() };
        let raw = Arc::make_mut(&mut self.table.0);
        let tces: Vec<u64> = (first..).zip(values).map(|(page, value)| value.tce(page)).collect();
        let ioba = u64::from(first) << PAGE_SHIFT;
        let stored = match tces.as_slice() {
            [one] => h_put_tce(raw, ioba, *one, &mut change),
            [0, rest @ ..] if rest.iter().all(|tce| *tce == 0) => {
                h_stuff_tce(raw, ioba, 0, tces.len() as u64, &mut change)
            }
            list => h_put_tce_indirect(raw, ioba, list, &mut change),
        };
        assert_eq!(stored.stored as usize, values.len(), "the core stores what fits");
        let unmaps: Vec<MappedRun> = change.unmaps.iter().map(MappedRun::of).collect();
        let maps: Vec<MappedRun> = change.maps.iter().map(MappedRun::of).collect();
        let changed: Vec<Pages> = unmaps.iter().chain(&maps).map(|one| one.pages).collect();
        if changed.is_empty() {
            return Written { answer: Answer::Success, outcome: None, changed };
        }
        let told = GuestChange { unmaps, maps };
        if run.setup.fault == Fault::Qemu {
            self.tell_page_by_page(run, &told);
            return Written { answer: Answer::Success, outcome: None, changed };
        }
        let outcome = self.change(run, &told);
        if outcome.status == Status::Done {
            return Written { answer: Answer::Success, outcome: Some(outcome), changed };
        }
        self.take_back(run, &change, &outcome);
        let is_refusal = outcome.status == Status::Refused || !told.maps.is_empty();
        let answer = if is_refusal { Answer::NotEnoughResources } else { Answer::Hardware };
        Written { answer, outcome: Some(outcome), changed }
    }

    /// `#takeBack`.
    fn take_back(&mut self, run: &Run<'_>, change: &Change, outcome: &Outcome) {
        let raw = Arc::make_mut(&mut self.table.0);
        if outcome.status == Status::Refused {
            if run.setup.fault != Fault::ForgetsUndo {
                raw.undo(change);
            }
        } else {
            raw.clear_changed(change);
        }
        for lost in &outcome.lost {
            raw.clear_range(lost.first, lost.last - lost.first + 1);
        }
    }

    /// packages/spapr-tce/_change.ts, as QEMU tells a page that changes in place: its MAP alone. What is refused is
    /// nobody's business.
    fn tell_page_by_page(&mut self, run: &mut Run<'_>, change: &GuestChange) {
        for page in (Pages { first: 0, last: self.table.pages() - 1 }).each() {
            let part =
                |runs: &[MappedRun]| runs.iter().filter_map(|one| one.crop(Pages::one(page))).collect::<Vec<_>>();
            let (old, new) = (part(&change.unmaps), part(&change.maps));
            let unmaps = if new.is_empty() { old } else { Vec::new() };
            if !unmaps.is_empty() || !new.is_empty() {
                self.change(run, &GuestChange { unmaps, maps: new });
            }
        }
    }
}
