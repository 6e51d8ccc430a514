//! A container as JavaScript drives it: the calls to make on a host come in batches, how they went goes back in one call.

#![expect(clippy::cast_possible_truncation, reason = "WebAssembly counts in 32 bits; fields are cut as documented")]

use giommu_core::address::{Gpa, Iova, IovaRange};
use giommu_core::container::{
    Coalesce, Container, FailureKind, GuestRun, HolePolicy, HostLimits, HostMap, HostOp, Kind, Refusal, Split,
};
use giommu_core::perm::Perm;
use wasm_bindgen::prelude::*;

/// Records per batch at most.
const BATCH: usize = 4096;

/// One call to make on the host, or one map that it holds: 48 bytes, little endian.
///
/// JavaScript's `OpView` reads the same layout; change both together.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct OpRecord {
    start: u64,
    last: u64,
    target: u64,
    /// Bytes that an UNMAP must unmap, 0 for 2^64. Of a map: its phase.
    bytes: u64,
    /// Of a call: 1 MAP, 2 UNMAP, 3 quiesce. Of a map: 0 RAM, 1 IOMMU, 2 static.
    kind: u32,
    /// The permission on the host; where that is none, the guest's.
    perm: u32,
    backing: u32,
    page_shift: u32,
}

impl From<HostOp> for OpRecord {
    fn from(op: HostOp) -> Self {
        match op {
            HostOp::Map { range, target, perm, backing } => Self {
                start: range.start().0,
                last: range.last().0,
                target: target.0,
                kind: 1,
                perm: u32::from(perm.bits()),
                backing,
                ..Self::default()
            },
            HostOp::Unmap { range, bytes } => {
                Self { start: range.start().0, last: range.last().0, bytes: bytes as u64, kind: 2, ..Self::default() }
            }
            HostOp::Quiesce => Self { kind: 3, ..Self::default() },
        }
    }
}

impl From<&HostMap> for OpRecord {
    fn from(map: &HostMap) -> Self {
        Self {
            start: map.range.start().0,
            last: map.range.last().0,
            target: map.target.0,
            bytes: map.phase,
            kind: match map.kind {
                Kind::Ram => 0,
                Kind::Iommu => 1,
                Kind::Static => 2,
            },
            perm: u32::from(if map.perm.is_none() { map.asked.bits() } else { map.perm.bits() }),
            backing: map.backing,
            page_shift: u32::from(map.page_shift),
        }
    }
}

/// A container. JavaScript owns it.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawContainer {
    inner: Container,
    /// Why the newest request was refused.
    refusal: Option<Refusal>,
    /// Absent entries that were taken and not read yet, the next one last.
    taken: Vec<HostMap>,
    /// The newest batch, for JavaScript to read in place.
    records: Vec<OpRecord>,
}

impl RawContainer {
    fn answer(&mut self, result: Result<(), Refusal>) -> u32 {
        self.refusal = result.err();
        match self.refusal {
            None => 0,
            Some(Refusal::PageTooFine { .. }) => 1,
            Some(Refusal::Unaligned { .. }) => 2,
            Some(Refusal::OutOfRange { .. }) => 3,
            Some(Refusal::Overlap { .. }) => 4,
            Some(Refusal::MappingLimit { .. }) => 5,
            Some(Refusal::HolesForbidden { .. }) => 6,
            Some(Refusal::Failed) => 7,
            Some(Refusal::Busy) => 8,
        }
    }
}

/// Ranges as pairs of first and last address.
fn pairs(ranges: impl IntoIterator<Item = IovaRange>) -> Vec<u64> {
    ranges.into_iter().flat_map(|range| [range.start().0, range.last().0]).collect()
}

/// A range that JavaScript has checked; an empty one would be a defect there and becomes one byte.
fn range(start: u64, last: u64) -> IovaRange {
    IovaRange::from_length(Iova(start), last.saturating_sub(start)).unwrap_or(IovaRange::ALL)
}

fn guest_run(start: u64, last: u64, target: u64, phase: u64, backing: u32, meta: u32) -> (GuestRun, Kind) {
    let run = GuestRun {
        range: range(start, last),
        target: Gpa(target),
        perm: Perm::from_bits(u64::from(meta)),
        page_shift: (meta >> 16) as u8,
        phase,
        readonly: meta >> 24 & 1 != 0,
        backing,
    };
    let kind = match meta >> 8 & 0xff {
        0 => Kind::Ram,
        1 => Kind::Iommu,
        _ => Kind::Static,
    };
    (run, kind)
}

#[wasm_bindgen]
impl RawContainer {
    /// A container that has mapped nothing.
    ///
    /// `iova_ranges` are pairs of first and last address; `features`: bit 0 splits atomically, bit 1 takes wide unmaps,
    /// bit 2 has write-only, bit 3 exchanges; `coalesce`: 0 none, 1 call, 2 full; `holes`: 0 forbid, 1 allow, 2 quiesce.
    ///
    /// # Errors
    /// The message of [`LimitsError`](giommu_core::container::LimitsError).
    #[wasm_bindgen(constructor)]
    pub fn new(
        page_sizes: u64,
        iova_ranges: &[u64],
        max_mappings: Option<u32>,
        features: u32,
        coalesce: u32,
        holes: u32,
    ) -> Result<RawContainer, JsError> {
        let limits = HostLimits {
            page_sizes,
            iova_ranges: iova_ranges
                .as_chunks::<2>()
                .0
                .iter()
                .filter_map(|[start, last]| IovaRange::new(Iova(*start), Iova(*last)))
                .collect(),
            max_mappings,
            split: if features & 1 != 0 { Split::Atomic } else { Split::None },
            unmap_wide: features & 2 != 0,
            write_only: features & 4 != 0,
            exchange: features & 8 != 0,
        };
        let coalesce = match coalesce {
            0 => Coalesce::None,
            1 => Coalesce::Call,
            _ => Coalesce::Full,
        };
        let holes = match holes {
            0 => HolePolicy::Forbid,
            1 => HolePolicy::Allow,
            _ => HolePolicy::Quiesce,
        };
        Ok(Self {
            inner: Container::new(limits, coalesce, holes)?,
            refusal: None,
            taken: Vec::new(),
            records: Vec::new(),
        })
    }

    /// A copy that goes its own way, to try out what would happen; it keeps room for `reserve` maps, and no log of dirty memory.
    pub fn fork(&self, reserve: u32) -> RawContainer {
        let mut inner = self.inner.clone();
        inner.reserve(reserve);
        inner.stop_dirty();
        Self { inner, refusal: None, taken: Vec::new(), records: Vec::new() }
    }

    /// Says that the open transaction will map a range again after it unmapped it.
    pub fn expect(&mut self, start: u64, last: u64) {
        self.inner.expect(range(start, last));
    }

    /// Begins to log memory that devices wrote.
    #[wasm_bindgen(js_name = startDirty)]
    pub fn start_dirty(&mut self) {
        self.inner.start_dirty();
    }

    /// Ends that log and forgets it.
    #[wasm_bindgen(js_name = stopDirty)]
    pub fn stop_dirty(&mut self) {
        self.inner.stop_dirty();
    }

    /// Notes what the host told of a range, one bit per page of it; everything where it told nothing.
    #[wasm_bindgen(js_name = markWritten)]
    pub fn mark_written(&mut self, start: u64, last: u64, bitmap: Option<Vec<u8>>) {
        self.inner.mark_written(range(start, last), bitmap.as_deref());
    }

    /// The same for what a pending call takes away in a range: between making and reporting it.
    #[wasm_bindgen(js_name = markLeaving)]
    pub fn mark_leaving(&mut self, index: u32, start: u64, last: u64, bitmap: Option<Vec<u8>>) {
        self.inner.mark_leaving(index as usize, range(start, last), bitmap.as_deref());
    }

    /// What a pending call takes away: pairs of first and last address.
    pub fn leaving(&self, index: u32) -> Vec<u64> {
        pairs(self.inner.leaving(index as usize).map(|map| map.range))
    }

    /// Takes what was written: pairs of first and last guest-physical address.
    #[wasm_bindgen(js_name = takeDirty)]
    pub fn take_dirty(&mut self) -> Vec<u64> {
        self.inner.take_dirty().into_iter().flat_map(|(first, last)| [first.0, last.0]).collect()
    }

    /// Queues the MAP of a run. `meta`: bits 0-7 permission, 8-15 kind (0 RAM, 1 IOMMU, 2 static), 16-23 page
    /// shift, 24 read-only memory.
    /// Returns 0, or the number of a refusal.
    pub fn map(&mut self, start: u64, last: u64, target: u64, phase: u64, backing: u32, meta: u32) -> u32 {
        let (run, kind) = guest_run(start, last, target, phase, backing, meta);
        let result = self.inner.map(run, kind);
        self.answer(result)
    }

    /// Remembers a run that reaches no memory now. Returns 0, or the number of a refusal.
    #[wasm_bindgen(js_name = noteAbsent)]
    pub fn note_absent(&mut self, start: u64, last: u64, target: u64, phase: u64, meta: u32) -> u32 {
        let (run, kind) = guest_run(start, last, target, phase, 0, meta);
        let result = self.inner.note_absent(run, kind);
        self.answer(result)
    }

    /// Takes the absent runs that reach memory from `first` to `last` and writes the first of them into the batch;
    /// returns how many. To be called until it answers 0, before any of them is mapped or noted again.
    #[wasm_bindgen(js_name = takeAbsent)]
    pub fn take_absent(&mut self, first: u64, last: u64) -> u32 {
        if self.taken.is_empty() {
            self.taken = self.inner.take_absent(Gpa(first), Gpa(last));
            self.taken.reverse();
        }
        let rest = self.taken.split_off(self.taken.len().saturating_sub(BATCH));
        self.records.clear();
        self.records.extend(rest.iter().rev().map(OpRecord::from));
        self.records.len() as u32
    }

    /// Writes the absent runs that overlap a range into the batch, in order, at most a batch full; returns how many.
    pub fn absent(&mut self, start: u64, last: u64) -> u32 {
        self.records.clear();
        self.records.extend(self.inner.absent().overlapping(range(start, last)).take(BATCH).map(OpRecord::from));
        self.records.len() as u32
    }

    /// Queues the UNMAP of whatever is mapped in a range. Returns 0, or the number of a refusal.
    pub fn unmap(&mut self, start: u64, last: u64) -> u32 {
        let result = self.inner.unmap(range(start, last));
        self.answer(result)
    }

    /// Queues the UNMAP of every IOMMU entry whose target lies in a range. Returns 0, or the number of a refusal.
    #[wasm_bindgen(js_name = unmapTargets)]
    pub fn unmap_targets(&mut self, first: u64, last: u64) -> u32 {
        let result = self.inner.unmap_targets(Gpa(first), Gpa(last));
        self.answer(result)
    }

    /// Opens a transaction. Returns 0, or the number of a refusal.
    pub fn begin(&mut self) -> u32 {
        let result = self.inner.begin();
        self.answer(result)
    }

    /// Closes the transaction. Calls may be pending then.
    pub fn commit(&mut self) {
        self.inner.commit();
    }

    /// Queues what undoes the transaction.
    pub fn rollback(&mut self) {
        self.inner.rollback();
    }

    /// Forgets every call that was not reported yet.
    pub fn cancel(&mut self) {
        self.inner.cancel();
    }

    /// Queues the UNMAP of everything.
    pub fn clear(&mut self) {
        self.inner.clear();
    }

    /// Fails the container for what it could not ask of the host. `kind`: see [`RawContainer::failure_kind`].
    pub fn fail(&mut self, kind: u32, start: u64, last: u64) {
        let kind = match kind {
            2 => FailureKind::Rest,
            3 => FailureKind::Quiesce,
            4 => FailureKind::Rollback,
            _ => FailureKind::Unmap,
        };
        self.inner.fail(kind, range(start, last));
    }

    /// Writes the next calls to make into the batch and returns how many there are.
    pub fn pending(&mut self) -> u32 {
        self.records.clear();
        self.records.extend(self.inner.pending().take(BATCH).map(OpRecord::from));
        self.records.len() as u32
    }

    /// Where the batch is in the memory of WebAssembly.
    pub fn batch(&self) -> u32 {
        self.records.as_ptr() as usize as u32
    }

    /// Reports how the calls of the newest batch went: `done` succeeded, and the next one failed if `failed` is set.
    pub fn report(&mut self, done: u32, failed: bool) {
        self.inner.report(done as usize, failed);
    }

    /// Whether the host refused a MAP since the newest request.
    #[wasm_bindgen(getter)]
    pub fn refused(&self) -> bool {
        self.inner.refused().is_some()
    }

    /// How many maps the host holds.
    #[wasm_bindgen(getter)]
    pub fn size(&self) -> u32 {
        u32::try_from(self.inner.maps().len()).unwrap_or(u32::MAX)
    }

    /// Writes the maps that overlap a range into the batch, in order, at most a batch full; returns how many.
    pub fn maps(&mut self, start: u64, last: u64) -> u32 {
        self.records.clear();
        self.records.extend(self.inner.maps().overlapping(range(start, last)).take(BATCH).map(OpRecord::from));
        self.records.len() as u32
    }

    /// What the last rollback lost: pairs of first and last address.
    pub fn lost(&self) -> Vec<u64> {
        pairs(self.inner.lost().iter().copied())
    }

    /// 0 while the container lives; else what failed: 1 unmap, 2 rest of a hole, 3 quiesce, 4 rollback.
    #[wasm_bindgen(getter, js_name = failureKind)]
    pub fn failure_kind(&self) -> u32 {
        match self.inner.failure().map(|failure| failure.kind) {
            None => 0,
            Some(FailureKind::Unmap) => 1,
            Some(FailureKind::Rest) => 2,
            Some(FailureKind::Quiesce) => 3,
            Some(FailureKind::Rollback) => 4,
        }
    }

    /// Where host and guest differ: pairs of first and last address.
    #[wasm_bindgen(js_name = failureRanges)]
    pub fn failure_ranges(&self) -> Vec<u64> {
        pairs(self.inner.failure().into_iter().flat_map(|failure| failure.ranges.iter().copied()))
    }

    /// What explains the newest refusal, in the order of its fields; ranges as two numbers.
    #[wasm_bindgen(js_name = refusalDetails)]
    pub fn refusal_details(&self) -> Vec<u64> {
        match self.refusal {
            Some(Refusal::PageTooFine { range, page_shift, host_shift }) => {
                vec![range.start().0, range.last().0, u64::from(page_shift), u64::from(host_shift)]
            }
            Some(Refusal::Unaligned { range, target, host_shift }) => {
                vec![range.start().0, range.last().0, target.0, u64::from(host_shift)]
            }
            Some(
                Refusal::OutOfRange { range, outside: other }
                | Refusal::Overlap { range, existing: other }
                | Refusal::HolesForbidden { range, map: other },
            ) => pairs([range, other]),
            Some(Refusal::MappingLimit { range, held, needed, max }) => {
                vec![range.start().0, range.last().0, held, needed, u64::from(max)]
            }
            Some(Refusal::Failed | Refusal::Busy) | None => Vec::new(),
        }
    }

    /// Totals: maps, unmaps, failed, holes, exposed pages, quiesced, widened pages.
    pub fn counters(&self) -> Vec<u64> {
        let counters = self.inner.counters();
        vec![
            counters.maps,
            counters.unmaps,
            counters.failed,
            counters.holes,
            counters.exposed_pages,
            counters.quiesced,
            counters.widened_pages,
        ]
    }
}
