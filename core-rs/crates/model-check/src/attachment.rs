//! Devices that come and go: packages/vfio-sync/_attachment.ts and vfio_container.ts.

use crate::run::Run;
use crate::seat::{Attachment, Seat};
use crate::setup::Fault;
use crate::sight::Sight;
use crate::world::{Thrown, World};

impl World {
    /// `attachSteps` without a plan, which would find less; or `attach`, which does not wait for steps.
    ///
    /// # Errors
    /// If it is refused; it is undone then.
    pub fn attach(&mut self, run: &mut Run<'_>, number: usize, is_deferred: bool) -> Result<(), Thrown> {
        self.seat_mut(number).attachment = Some(Attachment {
            is_opening: true,
            is_deferred,
            is_deaf: false,
            pieces: Vec::new(),
            gone: Vec::new(),
            was_alive: false,
        });
        // `open`
        let opened = self.add_listener(run, number).and_then(|()| self.alive(number));
        if let Err(thrown) = opened {
            self.undo_attach(run, number);
            return Err(thrown);
        }
        if !is_deferred {
            self.finish(number);
        }
        Ok(())
    }

    /// `AttachStepper.step` with a budget of one.
    ///
    /// # Errors
    /// If the attach is refused, or the container failed meanwhile; it is undone then.
    pub fn step(&mut self, run: &mut Run<'_>, number: usize) -> Result<(), Thrown> {
        let alive = self.alive(number);
        let done = alive.and_then(|()| self.sections_step(run, number));
        let done = done.and_then(|done| self.alive(number).map(|()| done));
        match done {
            Ok(true) => self.finish(number),
            Ok(false) => {}
            Err(thrown) => {
                self.undo_attach(run, number);
                return Err(thrown);
            }
        }
        Ok(())
    }

    /// `detach` of the last device, and `abort`, which does the same to an attach that is under way: leaves the bus, unmaps
    /// everything. Again and again, until nothing is left.
    pub fn detach(&mut self, run: &mut Run<'_>, number: usize) {
        if self.seat(number).is_opening() {
            run.saw(Sight::LeftEarly);
        }
        self.give_up(run, number);
    }

    /// A container that failed makes room for a new one, on a host that was closed and opened again.
    pub fn replace(&mut self, run: &Run<'_>, number: usize) {
        let kind = self.seat(number).host.kind();
        *self.seat_mut(number) = Seat::new(kind, run.setup.max_mappings);
    }

    fn finish(&mut self, number: usize) {
        if let Some(attachment) = &mut self.seat_mut(number).attachment {
            attachment.is_deferred = false;
            attachment.is_opening = false;
        }
    }

    /// `#alive`.
    fn alive(&self, number: usize) -> Result<(), Thrown> {
        if self.seat(number).failure.is_some() { Err(Thrown) } else { Ok(()) }
    }

    /// `#undo`.
    fn undo_attach(&mut self, run: &mut Run<'_>, number: usize) {
        self.give_up(run, number);
        run.saw(if self.seat(number).failure.is_none() { Sight::AttachRefused } else { Sight::AttachStuck });
    }

    /// `#giveUp` and `#tearDown`.
    fn give_up(&mut self, run: &mut Run<'_>, number: usize) {
        self.stop(number);
        self.listeners.retain(|listener| *listener != number);
        self.seat_mut(number).attachment = None;
        if run.setup.fault == Fault::ForgetsToClear {
            return;
        }
        self.clear(run, number);
    }
}
