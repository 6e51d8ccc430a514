//! A doctor that reads the logs of one QEMU.

use giommu_core::doctor::finding::Finding;
use giommu_core::doctor::{Doctor, Input, Moment, Need, Options};
use giommu_core::trace::kind::Kind;
use giommu_core::trace::parser::Limits;
use giommu_core::trace::window::sized;
use wasm_bindgen::prelude::*;

use crate::buffer::Buffer;

/// The most ranges that are handed over of one finding.
const RANGES: usize = 64;

/// Finds out what went wrong. JavaScript owns it, and gives it bytes of the log that it asks for.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawDoctor {
    doctor: Doctor,
    log: Buffer,
    kernel: Buffer,
    stderr: Buffer,
}

#[wasm_bindgen]
impl RawDoctor {
    /// A doctor that has read nothing. `watch` says whether the history of `iova` is wanted; reading ends after the replay of
    /// the hotplug with that number, 0 for never.
    #[wasm_bindgen(constructor)]
    #[must_use]
    pub fn new(kernel: bool, stderr: bool, watch: bool, iova: u64, hotplug: u32) -> Self {
        let options = Options { kernel, stderr, iova: watch.then_some(iova), hotplug };
        let mut raw = Self {
            doctor: Doctor::new(options),
            log: Buffer::default(),
            kernel: Buffer::default(),
            stderr: Buffer::default(),
        };
        // A log that was not given is at its end.
        raw.kernel.fill(0, !kernel);
        raw.stderr.fill(0, !stderr);
        raw
    }

    /// The name of a kind of event in QEMU's source; nothing if there is no such kind.
    #[wasm_bindgen(js_name = kindName)]
    #[must_use]
    pub fn kind_name(kind: u32) -> Option<String> {
        Some(Kind::ALL.get(kind as usize)?.name().to_owned())
    }

    /// Says the geometry of a table that the log may not tell. Returns whether it is one that a table can have.
    pub fn give(&mut self, liobn: u32, bus_offset: u64, page_shift: u32, size: u64) -> bool {
        let geometry = sized(liobn, bus_offset, page_shift, size);
        geometry.map(|geometry| self.doctor.give(geometry)).is_some()
    }

    /// Ends after a line, before a line that ends beyond an offset, before an event later than a time (microseconds). The
    /// highest number of 64 bits says nowhere.
    #[wasm_bindgen(js_name = setLimits)]
    pub fn set_limits(&mut self, line: u64, offset: u64, time: u64) {
        self.doctor.set_limits(Limits { line, offset, time });
    }

    fn buffer(&mut self, which: u32) -> &mut Buffer {
        match which {
            0 => &mut self.log,
            1 => &mut self.kernel,
            _ => &mut self.stderr,
        }
    }

    /// Makes room for bytes of QEMU's log (0), the kernel's (1) or of standard error (2); returns where JavaScript puts them.
    pub fn room(&mut self, which: u32, length: u32) -> u32 {
        self.buffer(which).room(length)
    }

    /// Takes the bytes that were put there; `last` says that no others follow.
    pub fn fill(&mut self, which: u32, length: u32, last: bool) {
        self.buffer(which).fill(length, last);
    }

    /// Reads on; returns which log needs bytes, 3 if all is done.
    pub fn run(&mut self) -> u32 {
        let (bytes, at, last) = self.log.parts();
        let mut log = Input { bytes, at, last };
        let (bytes, at, last) = self.kernel.parts();
        let mut kernel = Input { bytes, at, last };
        let (bytes, at, last) = self.stderr.parts();
        let mut stderr = Input { bytes, at, last };
        match self.doctor.run(&mut log, &mut kernel, &mut stderr) {
            Need::Log => 0,
            Need::Kernel => 1,
            Need::Stderr => 2,
            Need::Nothing => 3,
        }
    }

    /// Lines, events, lines that do not parse, bytes of QEMU's log; lines, events, unparsed lines of the kernel's; the same of
    /// standard error.
    pub fn counts(&self) -> Vec<u64> {
        let (parser, kernel, stderr) = (self.doctor.parser(), self.doctor.kernel_log(), self.doctor.stderr_log());
        let mut list = vec![parser.lines(), parser.events(), parser.unparsed(), parser.offset()];
        for one in [kernel, stderr] {
            list.extend([one.lines, one.events, one.unparsed]);
        }
        list
    }

    /// Operations told, maps with unknown targets, maps repeated, host mappings now and at most, whether the log has times, the
    /// first and the last in microseconds, the host's page shift (0: not known), failures matched, how often QEMU gave up,
    /// translations that agreed, that contradicted the tables and that taught something.
    pub fn facts(&self) -> Vec<u64> {
        let (counts, (held, most)) = (self.doctor.counts(), self.doctor.host_maps());
        let (first, last) = self.doctor.times().unwrap_or_default();
        let (matched, fatal) = self.doctor.stderr_matched();
        let met = self.doctor.machine().translations();
        vec![
            counts.told,
            counts.targets_unknown,
            counts.repeated,
            held,
            most,
            u64::from(self.doctor.times().is_some()),
            first,
            last,
            u64::from(self.doctor.host_page().unwrap_or(0)),
            matched,
            fatal,
            met.agreed,
            met.disagreed,
            met.learned,
        ]
    }

    /// Whether the kernel's log has anything of this QEMU, and whether its beginning is known; events by what became of them: maps, unmaps, tests, unmaps at the
    /// end, faults, of others, unexplained, lost, before the first operation; whether the clocks' offset is known, at first, now, by how many matches.
    pub fn kernel(&self) -> Vec<u64> {
        let counts = self.doctor.kernel_counts();
        let offset = self.doctor.offset();
        vec![
            u64::from(self.doctor.is_kernel_matched()),
            u64::from(self.doctor.is_kernel_anchored()),
            counts.maps,
            counts.unmaps,
            counts.tests,
            counts.exit,
            counts.faults,
            counts.foreign,
            counts.unexplained,
            counts.lost,
            counts.prior,
            u64::from(offset.is_some()),
            offset.map_or(0, |offset| offset.first.cast_unsigned()),
            offset.map_or(0, |offset| offset.newest.cast_unsigned()),
            offset.map_or(0, |offset| offset.matches),
        ]
    }

    /// For each hotplug: how many numbers it has beside this one; first and last line of the replay, line of the unplug (0:
    /// none), pages told, refused, entries walked, entries, microseconds; the windows.
    pub fn hotplugs(&self) -> Vec<u64> {
        let mut list = Vec::new();
        for one in self.doctor.hotplugs() {
            list.push(8 + one.windows.len() as u64);
            list.extend([one.first, one.last, one.unplug, one.told, one.refused, one.walked, one.entries, one.time]);
            list.extend(&one.windows);
        }
        list
    }

    /// For each finding: how many numbers it has beside this one, and those: see `finding`.
    pub fn findings(&self) -> Vec<u64> {
        let mut list = Vec::new();
        for one in self.doctor.findings() {
            let numbers = finding(one);
            list.push(numbers.len() as u64);
            list.extend(numbers);
        }
        list
    }

    /// The name of a region by its number.
    #[wasm_bindgen(js_name = regionName)]
    #[must_use]
    pub fn region_name(&self, id: u64) -> Option<String> {
        self.doctor.region_name(id).map(str::to_owned)
    }

    /// How often something happened at the address that was asked for; then seven numbers for each of the first: line, what, the
    /// kind of event of a call, two values, the kernel's line, the line of standard error.
    pub fn history(&self) -> Vec<u64> {
        let (moments, count) = self.doctor.history();
        let mut list = vec![count];
        for one in moments {
            let kind = if let Moment::Called(kind) = one.moment { kind as u64 } else { 0 };
            list.extend([one.line, one.moment.code(), kind, one.value, one.more, one.kernel, one.stderr]);
        }
        list
    }
}

/// Kind, error number, window, source, first and last line, open, count, replayed, saved, pages, page shift, proof, calls, three
/// measures, whether ranges are cut; the example: address, which of the next four are known, before, now, host, other, held
/// since, kernel's line, line of standard error; whether there is a call, its kind, line and eight fields; hull; how many ranges,
/// first and last address of each; how many rounds, and hotplug, first and last line, count, saved of each.
fn finding(one: &Finding) -> Vec<u64> {
    let [first, second, third] = one.measure;
    let example = &one.example;
    let values = [example.before, example.now, example.host, example.other];
    let known = values.iter().rev().fold(0, |bits, value| bits << 1 | u64::from(value.is_some()));
    let (start, last) = one.ranges.hull().unwrap_or_default();
    let mut list = vec![
        one.kind as u64,
        i64::from(one.errno).cast_unsigned(),
        one.window,
        one.source as u64,
        one.first,
        one.last,
        one.open,
        one.count,
        one.replayed,
        one.saved,
        one.pages,
        u64::from(one.page_shift),
        one.proof as u64,
        one.calls,
        first,
        second,
        third,
        u64::from(one.ranges.is_cut() || one.ranges.len() > RANGES),
        example.iova,
        known,
    ];
    list.extend(values.map(Option::unwrap_or_default));
    list.extend([example.held_since, example.kernel, example.stderr]);
    list.push(u64::from(one.call.is_some()));
    list.extend([one.call.map_or(0, |call| call.kind as u64), one.call.map_or(0, |call| call.line)]);
    list.extend(one.call.map_or([0; 8], |call| call.fields));
    list.extend([start, last]);
    list.push(one.ranges.len().min(RANGES) as u64);
    list.extend(one.ranges.runs().take(RANGES).flat_map(|(start, last)| [start, last]));
    list.push(one.rounds.len() as u64);
    for round in &one.rounds {
        list.extend([u64::from(round.hotplug), round.first, round.last, round.count, round.saved]);
    }
    list
}
