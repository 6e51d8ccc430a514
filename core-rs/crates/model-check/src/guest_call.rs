//! A guest call that writes to the table: packages/spapr-tce/tce_table.ts and _change.ts.

use giommu_core::hcall::{h_put_tce, h_put_tce_indirect, h_stuff_tce};
use giommu_core::tce_table::Change;

use crate::delivery::{GuestChange, Outcome, Status};
use crate::mapped_run::MappedRun;
use crate::pages::{PAGE_SHIFT, Pages};
use crate::run::Run;
use crate::setup::Fault;
use crate::value::Value;
use crate::world::World;

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
        let raw = self.table.raw_mut();
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
        let unmaps: Vec<MappedRun> = change.unmaps().iter().map(MappedRun::of).collect();
        let maps: Vec<MappedRun> = change.maps().iter().map(MappedRun::of).collect();
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
        let raw = self.table.raw_mut();
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
