//! A machine that is rebuilt from a log.

use giommu_core::trace::findings::Answer;
use giommu_core::trace::machine::{LogMachine, Stop};
use giommu_core::trace::parser::Limits;
use giommu_core::trace::window::sized;
use wasm_bindgen::prelude::*;

use crate::buffer::Buffer;
use crate::migration::{RawMigrationReader, handle};
use crate::record::{ExtentRecord, pointer};
use crate::table::RawTceTable;

/// Rebuilds tables from a log. JavaScript owns it; the tables it hands out share theirs with it.
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct RawLogMachine {
    machine: LogMachine,
    buffer: Buffer,
    unmaps: Vec<ExtentRecord>,
    maps: Vec<ExtentRecord>,
}

/// The stops as JavaScript knows them.
fn code(stop: Stop) -> u32 {
    match stop {
        Stop::Input => 0,
        Stop::End => 1,
        Stop::Limit => 2,
        Stop::Hotplug => 3,
        Stop::Unplug => 4,
        Stop::Change => 5,
        Stop::Topology => 6,
    }
}

fn answer(list: &mut Vec<u64>, answer: Answer) {
    list.extend([answer.target, u64::from(answer.perm), u64::from(answer.mask)]);
}

#[wasm_bindgen]
impl RawLogMachine {
    /// A machine that has read nothing.
    #[wasm_bindgen(constructor)]
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says the geometry of a table that the log may not tell. Returns whether it is one that a table can have.
    pub fn give(&mut self, liobn: u32, bus_offset: u64, page_shift: u32, size: u64) -> bool {
        let geometry = sized(liobn, bus_offset, page_shift, size);
        geometry.map(|geometry| self.machine.give(geometry)).is_some()
    }

    /// Stops after a line, before a line that ends beyond an offset, before an event later than a time (microseconds).
    /// The highest number of 64 bits says nowhere.
    #[wasm_bindgen(js_name = setLimits)]
    pub fn set_limits(&mut self, line: u64, offset: u64, time: u64) {
        self.machine.set_limits(Limits { line, offset, time });
    }

    /// Makes room for bytes; returns where JavaScript puts them.
    pub fn room(&mut self, length: u32) -> u32 {
        self.buffer.room(length)
    }

    /// Reads on with the bytes that were put there; returns why it stopped.
    pub fn feed(&mut self, length: u32, last: bool) -> u32 {
        self.buffer.fill(length, last);
        self.resume()
    }

    /// Reads on with the bytes that are there; returns why it stopped.
    pub fn resume(&mut self) -> u32 {
        let (bytes, at, last) = self.buffer.parts();
        let stop = self.machine.run(bytes, at, last);
        if stop == Stop::Change {
            let change = self.machine.change();
            self.unmaps.clear();
            self.unmaps.extend(change.unmaps().iter().map(ExtentRecord::from));
            self.maps.clear();
            self.maps.extend(change.maps().iter().map(ExtentRecord::from));
        }
        code(stop)
    }

    /// The table that the newest change is of.
    #[wasm_bindgen(getter, js_name = changedLiobn)]
    pub fn changed_liobn(&self) -> u32 {
        self.machine.changed()
    }

    /// Where the mappings lie that the newest change removed.
    #[wasm_bindgen(getter, js_name = unmapsPointer)]
    pub fn unmaps_pointer(&self) -> u32 {
        pointer(&self.unmaps)
    }

    /// How many they are.
    #[wasm_bindgen(getter, js_name = unmapsLength)]
    pub fn unmaps_length(&self) -> u32 {
        self.unmaps.len() as u32
    }

    /// Where the mappings lie that it made.
    #[wasm_bindgen(getter, js_name = mapsPointer)]
    pub fn maps_pointer(&self) -> u32 {
        pointer(&self.maps)
    }

    /// How many they are.
    #[wasm_bindgen(getter, js_name = mapsLength)]
    pub fn maps_length(&self) -> u32 {
        self.maps.len() as u32
    }

    /// Takes the newest change back: the host refused it.
    #[wasm_bindgen(js_name = undoChange)]
    pub fn undo_change(&mut self) {
        self.machine.undo_change();
    }

    /// Makes the entries 0 that the newest change was about: the host failed to unmap them.
    #[wasm_bindgen(js_name = clearChanged)]
    pub fn clear_changed(&mut self) {
        self.machine.clear_changed();
    }

    /// Tells of changes and of topology of the tables of a LIOBN's owner, or ends that.
    pub fn watch(&mut self, liobn: u32, on: bool) {
        if on {
            self.machine.watch(liobn);
        } else {
            self.machine.unwatch(liobn);
        }
    }

    /// Tells of changes and of topology of every table, also of those that are yet to come, or ends that.
    #[wasm_bindgen(js_name = watchAll)]
    pub fn watch_all(&mut self, on: bool) {
        self.machine.watch_all(on);
    }

    /// Takes the tables of a migration stream.
    pub fn load(&mut self, stream: &RawMigrationReader) {
        for table in stream.reader().tables() {
            if let Some(table) = &table.table {
                self.machine.load(table.clone());
            }
        }
    }

    /// Lines, events, lines that do not parse, bytes.
    pub fn counts(&self) -> Vec<u64> {
        let parser = self.machine.parser();
        vec![parser.lines(), parser.events(), parser.unparsed(), parser.offset()]
    }

    /// Whether any event had a timestamp.
    #[wasm_bindgen(getter)]
    pub fn timed(&self) -> bool {
        self.machine.is_timed()
    }

    /// Agreed, disagreed and learned: of QEMU's translations, then of what guests read.
    pub fn agreement(&self) -> Vec<u64> {
        let (translations, reads) = (self.machine.translations(), self.machine.reads());
        [translations, reads].iter().flat_map(|one| [one.agreed, one.disagreed, one.learned]).collect()
    }

    /// Ten numbers for each of the first lines that contradict the tables: line, LIOBN, address, whether a guest read;
    /// then ours and theirs: target, permission, mask.
    pub fn disagreements(&self) -> Vec<u64> {
        let mut list = Vec::new();
        for one in self.machine.disagreements().shown() {
            list.extend([one.line, u64::from(one.liobn), one.address, u64::from(one.read)]);
            answer(&mut list, one.ours);
            answer(&mut list, one.theirs);
        }
        list
    }

    /// How many lines could not be taken as they stand; then four numbers for each of the first: why, line, LIOBN, address.
    pub fn problems(&self) -> Vec<u64> {
        let problems = self.machine.problems();
        let mut list = vec![problems.count()];
        for one in problems.shown() {
            list.extend([one.trouble as u64, one.line, one.liobn, one.address]);
        }
        list
    }

    /// Nine numbers for each table: LIOBN, serial, bus offset, page shift, entries, mapped, unknown, in use, where its
    /// geometry is known from.
    pub fn tables(&self) -> Vec<u64> {
        let mut list = Vec::new();
        for table in self.machine.tables() {
            let geometry = table.geometry();
            list.extend([
                u64::from(geometry.liobn),
                u64::from(table.serial()),
                geometry.bus_offset.0,
                u64::from(geometry.page_shift),
                u64::from(geometry.entries),
                u64::from(table.table().mapped()),
                table.unknown(),
                table.in_use(),
                table.source() as u64,
            ]);
        }
        list
    }

    /// For each hotplug: how many numbers it has beside this one; line, events before the unplug and its line (0: none),
    /// whether it was compared, replayed, agreed, missing, extra, unknown; the LIOBNs.
    pub fn hotplugs(&self) -> Vec<u64> {
        let mut list = Vec::new();
        for hotplug in self.machine.hotplugs() {
            let unplug = hotplug.unplug.map_or([0, 0], |unplug| [unplug.events, unplug.line]);
            let compared = hotplug.comparison.unwrap_or_default();
            list.push(9 + hotplug.liobns.len() as u64);
            list.push(hotplug.line);
            list.extend(unplug);
            list.extend([
                u64::from(hotplug.comparison.is_some()),
                compared.replayed,
                compared.agreed,
                compared.missing,
                compared.extra,
                compared.unknown,
            ]);
            list.extend(hotplug.liobns.iter().map(|liobn| u64::from(*liobn)));
        }
        list
    }

    /// Four numbers for each host bridge: LIOBN of window 0, pages in use, the most, the line that made them.
    pub fn peaks(&self) -> Vec<u64> {
        self.machine.peaks().flat_map(|peak| [u64::from(peak.owner), peak.in_use, peak.peak, peak.line]).collect()
    }

    /// First entry and number of entries of up to `most` runs of unknown entries from entry `from` on.
    #[wasm_bindgen(js_name = unknownRuns)]
    pub fn unknown_runs(&self, liobn: u32, from: u32, most: u32) -> Vec<u32> {
        let Some(table) = self.machine.table(liobn) else { return Vec::new() };
        table.unknown_runs(from).take(most as usize).flat_map(|(first, last)| [first, last - first + 1]).collect()
    }

    /// A handle on a table, which shares it.
    pub fn table(&self, liobn: u32) -> Option<RawTceTable> {
        Some(handle(&self.machine.table(liobn)?.shared()))
    }

    /// Compares the tables with those of a stream: how many numbers each has beside this one; LIOBN, entries, agreed,
    /// differing, unknown; three for each of the first differences: address, what the log tells, what the stream holds.
    #[wasm_bindgen(js_name = compareState)]
    pub fn compare_state(&self, stream: &RawMigrationReader) -> Vec<u64> {
        let mut list = Vec::new();
        for one in giommu_core::migration::compare(&self.machine, stream.reader()) {
            let shown = one.differences.shown();
            list.push(5 + 3 * shown.len() as u64);
            list.extend([u64::from(one.liobn), u64::from(one.entries), one.agreed, one.differing, one.unknown]);
            list.extend(shown.iter().flat_map(|difference| [difference.address, difference.log, difference.stream]));
        }
        list
    }
}
