//! The walker, for JavaScript.

use giommu_core::address::{Gpa, Iova, IovaRange};
use giommu_core::perm::Perm;
use giommu_core::walker::{Entry, NextMapped, Run, WalkError, Walker};
use wasm_bindgen::prelude::*;

/// What an answer led to: nothing yet.
const PENDING: u32 = 0;
/// What an answer led to: a run, to be read with the `run…` getters before the next answer.
const RUN: u32 = 1;
/// The answer was refused: the entry does not contain the probed address, or is no entry at all.
const REFUSED: u32 = 2;

/// A walk over an IOMMU that can only be asked address by address.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawWalker {
    walker: Walker,
    run: Option<Run>,
}

#[wasm_bindgen]
impl RawWalker {
    /// A walk from `start` to `last`; `None` unless the range is one and the granularity a power of two.
    #[must_use]
    pub fn create(start: u64, last: u64, granularity: u64, joins: bool) -> Option<Self> {
        let range = IovaRange::new(Iova(start), Iova(last))?;
        let walker = Walker::new(range, granularity).ok()?;
        Some(Self { walker: if joins { walker } else { walker.without_joining() }, run: None })
    }

    /// The next address to translate; `undefined` at the end.
    #[must_use]
    pub fn probe(&self) -> Option<u64> {
        self.walker.probe().map(|iova| iova.0)
    }

    /// The first address that is not covered by what was given out.
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        self.walker.position().map(|iova| iova.0)
    }

    /// The probed address is mapped.
    #[wasm_bindgen(js_name = answerMapped)]
    pub fn answer_mapped(&mut self, start: u64, last: u64, target: u64, perm: u32, page_shift: u32, space: u32) -> u32 {
        let (Some(range), Ok(page_shift)) = (IovaRange::new(Iova(start), Iova(last)), u8::try_from(page_shift)) else {
            return REFUSED;
        };
        let entry = Entry { range, target: Gpa(target), perm: Perm::from_bits(u64::from(perm)), page_shift, space };
        let answer = self.walker.answer_mapped(entry);
        self.take(answer)
    }

    /// The probed address is not mapped, and the IOMMU cannot tell what is.
    #[wasm_bindgen(js_name = answerHole)]
    pub fn answer_hole(&mut self) -> u32 {
        let answer = self.walker.answer_hole(NextMapped::Unknown);
        self.take(answer)
    }

    /// The probed address is not mapped, and the next one that is, is `next`; nothing is if that is `undefined`.
    #[wasm_bindgen(js_name = answerHoleUntil)]
    pub fn answer_hole_until(&mut self, next: Option<u64>) -> u32 {
        let next = next.map_or(NextMapped::Nothing, |iova| NextMapped::At(Iova(iova)));
        let answer = self.walker.answer_hole(next);
        self.take(answer)
    }

    /// Gives out the run that is still open.
    pub fn finish(&mut self) -> u32 {
        let run = self.walker.finish();
        self.take(Ok(run))
    }

    /// The first address of the run that was given out last.
    #[wasm_bindgen(getter, js_name = runStart)]
    #[must_use]
    pub fn run_start(&self) -> u64 {
        self.run.map_or(0, |run| run.range.start().0)
    }

    /// Its last address.
    #[wasm_bindgen(getter, js_name = runLast)]
    #[must_use]
    pub fn run_last(&self) -> u64 {
        self.run.map_or(0, |run| run.range.last().0)
    }

    /// Where its first address points to.
    #[wasm_bindgen(getter, js_name = runTarget)]
    #[must_use]
    pub fn run_target(&self) -> u64 {
        self.run.map_or(0, |run| run.target.0)
    }

    /// Its permission (bits 0-7) and page shift (bits 8-15).
    #[wasm_bindgen(getter, js_name = runMeta)]
    #[must_use]
    pub fn run_meta(&self) -> u32 {
        self.run.map_or(0, |run| u32::from(run.perm.bits()) | u32::from(run.page_shift) << 8)
    }

    /// The number of its target's address space.
    #[wasm_bindgen(getter, js_name = runSpace)]
    #[must_use]
    pub fn run_space(&self) -> u32 {
        self.run.map_or(0, |run| run.space)
    }

    /// How many pages it has, less one.
    #[wasm_bindgen(getter, js_name = runPagesMinus1)]
    #[must_use]
    pub fn run_pages_minus_1(&self) -> u64 {
        self.run.map_or(0, |run| run.pages_minus_1)
    }

    fn take(&mut self, answer: Result<Option<Run>, WalkError>) -> u32 {
        match answer {
            Ok(None) => PENDING,
            Ok(Some(run)) => {
                self.run = Some(run);
                RUN
            }
            Err(_) => REFUSED,
        }
    }
}
