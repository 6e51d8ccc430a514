//! Makes the calls that the core asks for, and reports how they went: packages/vfio-sync/_driver.ts.

use giommu_core::container::HostOp;

use crate::breach::Breach;
use crate::pages::Pages;
use crate::run::Run;
use crate::world::World;

impl World {
    /// `drain`: makes every pending call.
    pub(crate) fn drain(&mut self, run: &mut Run<'_>, number: usize, is_lenient: bool) {
        self.seat_mut(number).is_refused = false;
        while !self.seat(number).raw.is_idle() && !run.is_endless() {
            let batch: Vec<HostOp> = self.seat(number).raw.pending().collect();
            let mut done = 0;
            let mut failed = false;
            for op in batch {
                failed = !self.make(run, number, op, is_lenient);
                run.look(number, self.seat(number));
                if failed {
                    break;
                }
                done += 1;
            }
            let seat = self.seat_mut(number);
            seat.raw.report(done, failed);
            seat.is_refused |= failed && seat.raw.refused().is_some();
        }
        self.seat_mut(number).is_stopped = false; // `#letGoOn`
    }

    /// `#make`: one call, which the host may refuse. By its own rules it never has to.
    fn make(&mut self, run: &mut Run<'_>, number: usize, op: HostOp, is_lenient: bool) -> bool {
        let seat = self.seat_mut(number);
        if op == HostOp::Quiesce && seat.is_stopped {
            return true;
        }
        if !run.answer() {
            return false;
        }
        match op {
            HostOp::Map { range, target, perm, .. } => {
                let mapped = seat.host.map(Pages::touched(range), (target, perm));
                run.breaches.unless(mapped.is_ok(), Breach::AgainstTheRules);
                mapped.is_ok()
            }
            HostOp::Unmap { range, bytes } => {
                let pages = seat.host.unmap(Pages::touched(range));
                let is_exact = pages.is_ok_and(|pages| u128::from(pages) << crate::pages::PAGE_SHIFT == bytes);
                run.breaches.unless(is_exact, Breach::AgainstTheRules);
                is_exact || is_lenient && pages.is_ok()
            }
            HostOp::Quiesce => {
                seat.is_stopped = true;
                true
            }
        }
    }
}
