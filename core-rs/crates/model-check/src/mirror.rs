//! Between the notifiers, who tell what the guest changed, and the core, which decides what the host is asked:
//! packages/vfio-sync/_mirror.ts.

use giommu_core::address::{Gpa, Iova, IovaRange};
use giommu_core::container::{FailureKind, GuestRun, Kind, Refusal};
use giommu_core::perm::Perm;

use crate::breach::Breach;
use crate::host::Reach;
use crate::mapped_run::MappedRun;
use crate::notifier::Event;
use crate::pages::{PAGE_SHIFT, Pages, joined};
use crate::run::Run;
use crate::sight::Sight;
use crate::world::{Thrown, World};

/// What RAM that hides the IOMMU reaches.
pub const RAM: Reach = (Gpa(0x40_0000), Perm::READ_WRITE);

impl World {
    /// `take`: one event of a change or of a replay.
    pub(crate) fn take(&mut self, run: &mut Run<'_>, number: usize, event: Event) -> Result<(), Thrown> {
        let seat = self.seat(number);
        if seat.failure.is_some() && seat.telling.open == 0 {
            return Ok(());
        }
        assert!(seat.telling.open > 0 || seat.is_replaying, "a table tells nothing outside of changes and replays");
        self.hear(run, number, event);
        match event {
            Event::Unmap(pages) => {
                self.seat_mut(number).telling.touched.push(pages);
                self.unmap(run, number, pages)
            }
            Event::Map(mapped) => self.map(run, number, mapped),
        }
    }

    /// While a container is being attached, each mapping is told once, and only what was told is taken back.
    fn hear(&self, run: &mut Run<'_>, number: usize, event: Event) {
        let seat = self.seat(number);
        if !seat.is_opening() || seat.failure.is_some() || run.telling_lost {
            return;
        }
        let holds = |page: u32| seat.raw.maps().find(Pages::one(page).addresses().start()).is_some();
        let is_new = match event {
            Event::Map(mapped) => mapped.pages.each().all(|page| !holds(page)),
            Event::Unmap(pages) => pages.each().all(holds),
        };
        run.breaches.unless(is_new, Breach::ToldTwice);
    }

    /// `begin`.
    pub(crate) fn begin(&mut self, number: usize) {
        let seat = self.seat_mut(number);
        if seat.telling.open == 0 && seat.failure.is_none() {
            seat.raw.begin().expect("nothing is pending and no transaction is open");
            seat.telling.is_undone = false;
            seat.telling.undo_failed = false;
            seat.telling.lost.clear();
            seat.telling.touched.clear();
        }
        seat.telling.open += 1;
    }

    /// `commit`.
    pub(crate) fn commit(&mut self, number: usize) {
        let telling = &mut self.seat_mut(number).telling;
        if telling.open > 0 {
            telling.open -= 1;
            if telling.open == 0 {
                self.close_telling(number);
            }
        }
    }

    /// `rollback`: undoes the change, all of it at the first call; returns what could not be put back.
    pub(crate) fn rollback(&mut self, run: &mut Run<'_>, number: usize, range: Pages) -> Result<Vec<Pages>, Thrown> {
        let seat = self.seat_mut(number);
        if !seat.telling.is_undone && seat.failure.is_none() {
            seat.telling.is_undone = true;
            seat.raw.rollback();
            self.drain(run, number, false);
            let seat = self.seat_mut(number);
            seat.telling.lost = seat.raw.lost().iter().map(|range| Pages::touched(*range)).collect();
            if seat.raw.failure().is_some() {
                run.saw(Sight::UndoFailed);
                seat.telling.undo_failed = true;
                let held = seat.raw.maps();
                let touched = seat.telling.touched.iter().flat_map(|touched| {
                    let parts = held.overlapping(touched.addresses());
                    parts.filter_map(|map| Pages::touched(map.range).intersect(*touched)).collect::<Vec<_>>()
                });
                let ranges = joined(touched.collect());
                self.settle(run, number, Some(ranges));
            }
        }
        let seat = self.seat_mut(number);
        let lost = seat.telling.lost.iter().filter(|one| one.intersect(range).is_some());
        // `#entries`: a page of the host is an entry of the table here.
        let lost = lost.flat_map(|one| seat.telling.touched.iter().filter_map(|touched| one.intersect(*touched)));
        let lost: Vec<Pages> = lost.collect();
        if seat.telling.open > 0 {
            seat.telling.open -= 1;
            if seat.telling.open == 0 {
                self.close_telling(number);
            }
        }
        let seat = self.seat(number);
        if seat.telling.undo_failed && seat.failure.is_some() { Err(Thrown) } else { Ok(lost) }
    }

    /// `map`, where every target is RAM.
    fn map(&mut self, run: &mut Run<'_>, number: usize, mapped: MappedRun) -> Result<(), Thrown> {
        let seat = self.seat_mut(number);
        if seat.failure.is_some() {
            return Ok(());
        }
        if !seat.is_replaying {
            seat.telling.touched.push(mapped.pages);
        }
        let asked = seat.raw.map(guest_run(mapped), Kind::Iommu);
        self.request(run, number, asked)
    }

    /// packages/vfio-sync/_ram_section.ts, `mapRam`.
    pub(crate) fn map_ram(&mut self, run: &mut Run<'_>, number: usize, pages: Pages) -> Result<(), Thrown> {
        let (target, perm) = RAM;
        let asked = self.seat_mut(number).raw.map(guest_run(MappedRun { pages, target, perm }), Kind::Ram);
        self.request(run, number, asked)
    }

    /// `unmap` and `#unmapEvent`. That a hole is not allowed, which `unmap` returns, no policy of the model lets happen.
    pub(crate) fn unmap(&mut self, run: &mut Run<'_>, number: usize, pages: Pages) -> Result<(), Thrown> {
        let asked = self.seat_mut(number).raw.unmap(pages.addresses());
        assert!(!matches!(asked, Err(Refusal::HolesForbidden { .. })), "maps are cut only where that is allowed");
        // `#mustSucceed`
        let before = self.seat(number).core_ranges().len();
        if asked.is_ok() {
            self.drain(run, number, false);
        }
        let seat = self.seat(number);
        let grew = seat.raw.failure().is_some() && seat.core_ranges().len() != before;
        self.settle(run, number, None);
        if self.seat(number).failure.is_some() && (asked.is_err() || grew) {
            return Err(Thrown);
        }
        self.check(number, asked)
    }

    /// `giveUp`: what a refused change of the memory map took away could not be put back.
    pub(crate) fn give_up_on(&mut self, run: &mut Run<'_>, number: usize, pages: Pages) {
        run.saw(Sight::GaveUp);
        let seat = self.seat_mut(number);
        if let Some(ranges) = &mut seat.failure {
            ranges.push(pages);
            *ranges = joined(core::mem::take(ranges));
            return;
        }
        // The range means nothing, as the mirror names its own.
        let Some(nothing) = IovaRange::new(Iova(0), Iova(0)) else { return };
        seat.raw.fail(FailureKind::Rollback, nothing);
        self.settle(run, number, Some(vec![pages]));
    }

    /// `request`.
    fn request(&mut self, run: &mut Run<'_>, number: usize, asked: Result<(), Refusal>) -> Result<(), Thrown> {
        if asked.is_ok() {
            self.drain(run, number, false);
        } else if matches!(asked, Err(Refusal::MappingLimit { .. })) {
            run.saw(Sight::LimitReached);
        }
        self.settle(run, number, None);
        self.check(number, asked)
    }

    /// `clear`: unmaps everything; what is left on the host makes the failure.
    pub(crate) fn clear(&mut self, run: &mut Run<'_>, number: usize) {
        run.release(number);
        let seat = self.seat_mut(number);
        seat.telling.open = 0;
        seat.raw.clear();
        self.drain(run, number, true);
        let seat = self.seat_mut(number);
        if seat.failure.is_some() {
            seat.failure = Some(seat.core_ranges());
        } else {
            self.settle(run, number, None);
        }
    }

    /// `settle`: if the core says so, the container is failed from now on.
    fn settle(&mut self, run: &mut Run<'_>, number: usize, ranges: Option<Vec<Pages>>) {
        let seat = self.seat_mut(number);
        let Some(kind) = seat.raw.failure().map(|failure| failure.kind) else { return };
        if seat.failure.is_some() {
            return;
        }
        match kind {
            FailureKind::Unmap => run.saw(Sight::UnmapFailed),
            FailureKind::Rest => run.saw(Sight::RestFailed),
            FailureKind::Quiesce => run.saw(Sight::QuiesceFailed),
            FailureKind::Rollback => {}
        }
        seat.failure = Some(ranges.unwrap_or_else(|| seat.core_ranges()));
        if run.setup.unplugs {
            self.detach(run, number); // the `cutOff` hook
        }
        if self.seat(number).telling.open == 0 {
            self.stop(number);
        }
    }

    /// The driver's `check`.
    fn check(&self, number: usize, asked: Result<(), Refusal>) -> Result<(), Thrown> {
        let seat = self.seat(number);
        if asked.is_err() || seat.is_refused && seat.raw.refused().is_some() { Err(Thrown) } else { Ok(()) }
    }

    /// `#close`.
    fn close_telling(&mut self, number: usize) {
        let seat = self.seat_mut(number);
        if !seat.telling.is_undone {
            seat.raw.commit();
        }
        seat.telling.touched.clear();
        if seat.failure.is_none() {
            return;
        }
        if !seat.telling.undo_failed {
            seat.failure = Some(seat.core_ranges());
        }
        self.stop(number);
    }
}

fn guest_run(mapped: MappedRun) -> GuestRun {
    GuestRun {
        range: mapped.pages.addresses(),
        target: mapped.target,
        perm: mapped.perm,
        page_shift: PAGE_SHIFT,
        phase: 0,
        readonly: false,
        backing: 0,
    }
}
