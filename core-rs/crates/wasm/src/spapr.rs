//! A pseries machine as JavaScript drives it: RTAS calls, resets, state. Hypercalls go to the tables that it hands out.
//!
//! Every call that changes something leaves events. JavaScript delivers them: what changed in tables, each through a handle
//! of its own that can undo it, then windows and devices. If a host refuses, it has the call undone here too.

#![expect(clippy::cast_possible_truncation, reason = "return codes are small, and WebAssembly counts in 32 bits")]

use giommu_core::address::{Gpa, Iova};
use giommu_core::migration::{SectionWriter, StreamTable};
use giommu_core::spapr::{
    Effects, Event, LoadError, PhbConfig, RTAS_BLOCK_WORDS, RTAS_HW_ERROR, RtasReply, SnapshotError, SpaprMachine,
    VioConfig, block_address,
};
use wasm_bindgen::prelude::*;

use crate::migration::{RawMigrationReader, handle};
use crate::table::RawTceTable;

/// A machine. JavaScript owns it; the tables it hands out share theirs with it.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawSpaprMachine {
    machine: SpaprMachine,
    effects: Effects,
    reply: RtasReply,
    /// Bytes from the start of the newest call's block to its answers.
    answers_at: u64,
}

/// Why a state is refused, as a text that JavaScript takes apart: a word for programs, a space, the message.
#[inline(never)]
fn refused(word: &str, error: &dyn core::fmt::Display) -> JsError {
    JsError::new(&format!("{word} {error}"))
}

#[inline(never)]
fn snapshot_refused(error: &SnapshotError) -> JsError {
    let word = match error {
        SnapshotError::Version(_) => "version",
        SnapshotError::EntryLimit { .. } => "limit",
        SnapshotError::Bridge { .. }
        | SnapshotError::Device { .. }
        | SnapshotError::BridgeOption { .. }
        | SnapshotError::DeviceOption { .. } => "machine",
        _ => "damaged",
    };
    refused(word, error)
}

impl RawSpaprMachine {
    fn with(machine: SpaprMachine) -> Self {
        Self { machine, effects: Effects::new(), reply: RtasReply::of_status(0), answers_at: 0 }
    }

    fn event(&self, at: u32) -> Option<&Event> {
        self.effects.events.get(at as usize)
    }
}

#[wasm_bindgen]
impl RawSpaprMachine {
    /// A machine without devices, whose tables together store so many entries that are not 0.
    #[wasm_bindgen(constructor)]
    #[must_use]
    pub fn new(entry_limit: u32) -> Self {
        Self::with(SpaprMachine::new(entry_limit))
    }

    /// A machine as it was saved.
    ///
    /// # Errors
    /// Why not: `version`, `limit` or `damaged`, a space, the message.
    #[wasm_bindgen(js_name = fromSnapshot)]
    pub fn from_snapshot(bytes: &[u8], entry_limit: u32) -> Result<RawSpaprMachine, JsError> {
        SpaprMachine::from_snapshot(bytes, entry_limit).map(Self::with).map_err(|error| snapshot_refused(&error))
    }

    /// Adds a bridge with its default window.
    ///
    /// # Errors
    /// The message of [`ConfigError`](giommu_core::spapr::ConfigError).
    #[wasm_bindgen(js_name = addPhb)]
    pub fn add_phb(
        &mut self,
        index: u32,
        ddw: bool,
        pgsz: u64,
        dma_win_addr: u64,
        dma_win_size: u64,
        dma64_win_addr: u64,
    ) -> Result<(), JsError> {
        let (dma_win_addr, dma64_win_addr) = (Iova(dma_win_addr), Iova(dma64_win_addr));
        self.machine.add_phb(PhbConfig { index, ddw, pgsz, dma_win_addr, dma_win_size, dma64_win_addr })?;
        Ok(())
    }

    /// Adds a VIO device with its table.
    ///
    /// # Errors
    /// The message of [`ConfigError`](giommu_core::spapr::ConfigError).
    #[wasm_bindgen(js_name = addVio)]
    pub fn add_vio(&mut self, unit: u32, window_size: u64) -> Result<(), JsError> {
        self.machine.add_vio(VioConfig { unit, window_size })?;
        Ok(())
    }

    /// Six numbers for each bridge, in the order of [`RawSpaprMachine::add_phb`].
    pub fn phbs(&self) -> Vec<u64> {
        let fields = self.machine.phbs().map(|phb| {
            let config = phb.config();
            [
                u64::from(config.index),
                u64::from(config.ddw),
                config.pgsz,
                config.dma_win_addr.0,
                config.dma_win_size,
                config.dma64_win_addr.0,
            ]
        });
        fields.flatten().collect()
    }

    /// The unit of each VIO device.
    pub fn vios(&self) -> Vec<u32> {
        self.machine.vios().map(giommu_core::spapr::VioDevice::unit).collect()
    }

    /// Whether a VIO device goes past its table.
    pub fn bypass(&self, unit: u32) -> bool {
        self.machine.vio(unit).is_some_and(giommu_core::spapr::VioDevice::bypass)
    }

    /// A handle on the table of a window that is there, which shares it.
    pub fn table(&self, liobn: u32) -> Option<RawTceTable> {
        self.machine.table(u64::from(liobn)).map(handle)
    }

    /// How many entries of all tables together are not 0.
    #[wasm_bindgen(getter)]
    pub fn stored(&self) -> u32 {
        u32::try_from(self.machine.stored()).unwrap_or(u32::MAX)
    }

    /// How many may be.
    #[wasm_bindgen(getter, js_name = entryLimit)]
    pub fn entry_limit(&self) -> u32 {
        self.machine.entry_limit()
    }

    /// The cells that tell a guest of the default window with this LIOBN, or of a VIO device's.
    #[wasm_bindgen(js_name = deviceTreeWindow)]
    pub fn device_tree_window(&self, liobn: u32) -> Vec<u32> {
        let phb = self.machine.phbs().find(|phb| phb.slots().first().is_some_and(|slot| slot.liobn() == liobn));
        let cells = match phb {
            Some(phb) => Some(phb.ibm_dma_window()),
            None => self.machine.vio(liobn).map(giommu_core::spapr::VioDevice::ibm_my_dma_window),
        };
        cells.map(|cells| cells.to_vec()).unwrap_or_default()
    }

    /// `ibm,ddw-applicable` of a bridge; nothing without dynamic windows.
    #[wasm_bindgen(js_name = ddwApplicable)]
    pub fn ddw_applicable(&self, index: u32) -> Option<Vec<u32>> {
        self.machine.phb(index)?.ibm_ddw_applicable().map(|cells| cells.to_vec())
    }

    /// `ibm,ddw-extensions` of a bridge; nothing without dynamic windows.
    #[wasm_bindgen(js_name = ddwExtensions)]
    pub fn ddw_extensions(&self, index: u32) -> Option<Vec<u32>> {
        self.machine.phb(index)?.ibm_ddw_extensions().map(|cells| cells.to_vec())
    }

    /// Makes an RTAS call. What it answers is in `ret` and `rets`.
    pub fn rtas(&mut self, token: u32, args: &[u32], nret: u32) {
        self.reply = self.machine.rtas(token, args, nret, &mut self.effects);
    }

    /// H_RTAS, with the first words of its block. Where its answers go is in `answersAt` as well.
    #[wasm_bindgen(js_name = rtasWords)]
    pub fn rtas_words(&mut self, words: &[u32]) {
        let mut block = [0; RTAS_BLOCK_WORDS];
        block.iter_mut().zip(words).for_each(|(to, from)| *to = *from);
        (self.reply, self.answers_at) = self.machine.rtas_words(block, &mut self.effects);
    }

    /// How many words of a block a call looks at.
    #[wasm_bindgen(js_name = blockWords)]
    #[must_use]
    pub fn block_words() -> u32 {
        RTAS_BLOCK_WORDS as u32
    }

    /// The guest-physical address of a byte of a block.
    #[wasm_bindgen(js_name = blockAddress)]
    #[must_use]
    pub fn block_address(block: u64, offset: u64) -> u64 {
        let Gpa(address) = block_address(block, offset);
        address
    }

    /// What the newest call answers in r3.
    #[wasm_bindgen(getter)]
    pub fn ret(&self) -> i32 {
        self.reply.ret as i32
    }

    /// The words that it writes, the status first.
    pub fn rets(&self) -> Vec<u32> {
        self.reply.rets().to_vec()
    }

    /// How many bytes after the block's start it writes them.
    #[wasm_bindgen(getter, js_name = answersAt)]
    pub fn answers_at(&self) -> u64 {
        self.answers_at
    }

    /// A host refused or failed: the newest call answers a failure of the hardware.
    #[wasm_bindgen(js_name = failReply)]
    pub fn fail_reply(&mut self) {
        self.reply = RtasReply::of_status(RTAS_HW_ERROR);
    }

    /// Resets the machine.
    pub fn reset(&mut self) {
        self.machine.reset(&mut self.effects);
    }

    /// Takes the newest call back. What [`RawSpaprMachine::take_table`] took of it is not: its handle undoes it.
    pub fn undo(&mut self) -> bool {
        self.machine.undo(&mut self.effects)
    }

    /// How many events the newest call left.
    #[wasm_bindgen(getter, js_name = eventsLength)]
    pub fn events_length(&self) -> u32 {
        self.effects.events.len() as u32
    }

    /// 0: entries of a table changed; 1: a window is gone; 2: there is a new one; 3, 4: bypass is on, or off.
    #[wasm_bindgen(js_name = eventKind)]
    pub fn event_kind(&self, at: u32) -> u32 {
        match self.event(at) {
            Some(Event::Changed { .. }) | None => 0,
            Some(Event::WindowRemoved { .. }) => 1,
            Some(Event::WindowAdded { .. }) => 2,
            Some(Event::Bypass { on: true, .. }) => 3,
            Some(Event::Bypass { on: false, .. }) => 4,
        }
    }

    /// The LIOBN, which of a device is its unit.
    #[wasm_bindgen(js_name = eventLiobn)]
    pub fn event_liobn(&self, at: u32) -> u32 {
        match self.event(at) {
            Some(
                Event::Changed { liobn, .. } | Event::WindowRemoved { liobn, .. } | Event::WindowAdded { liobn, .. },
            ) => *liobn,
            Some(Event::Bypass { unit, .. }) => *unit,
            None => 0,
        }
    }

    /// A handle on the table of an event; of one that changed, with what changed and what undoes it.
    ///
    /// # Errors
    /// The event has no table: a defect of the caller.
    #[wasm_bindgen(js_name = takeTable)]
    pub fn take_table(&mut self, at: u32) -> Result<RawTceTable, JsError> {
        match self.effects.events.get_mut(at as usize) {
            Some(Event::Changed { table, change, .. }) => {
                Ok(RawTceTable::with_change(table.clone(), core::mem::take(&mut **change)))
            }
            Some(Event::WindowAdded { table, .. } | Event::WindowRemoved { table, .. }) => Ok(handle(table)),
            Some(Event::Bypass { .. }) | None => Err(JsError::new("the event has no table")),
        }
    }

    /// The state of the machine.
    pub fn save(&self) -> Vec<u8> {
        self.machine.save()
    }

    /// Brings the machine into a saved state.
    ///
    /// # Errors
    /// Why not: `version`, `limit`, `machine` or `damaged`, a space, the message.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), JsError> {
        self.machine.restore(bytes, &mut self.effects).map_err(|error| snapshot_refused(&error))
    }

    /// Brings the tables into the state that a migration stream of QEMU holds.
    ///
    /// # Errors
    /// Why not: `limit` or `machine`, a space, the message.
    #[wasm_bindgen(js_name = loadStream)]
    pub fn load_stream(&mut self, stream: &RawMigrationReader) -> Result<(), JsError> {
        let loaded = self.machine.load_stream(stream.reader().tables(), &mut self.effects);
        loaded.map_err(|error| match error {
            LoadError::EntryLimit { .. } => refused("limit", &error),
            _ => refused("machine", &error),
        })
    }

    /// The LIOBNs that have a section in QEMU's streams, ascending.
    #[wasm_bindgen(js_name = sectionLiobns)]
    pub fn section_liobns(&self) -> Vec<u32> {
        self.machine.stream_tables().iter().map(|table| table.liobn).collect()
    }

    /// A writer of the section of one table; `id` is its number in the stream. Nothing if there is no such LIOBN.
    pub fn section(&self, liobn: u32, id: u32) -> Option<RawSectionWriter> {
        let table = self.machine.stream_tables().into_iter().find(|table| table.liobn == liobn)?;
        Some(RawSectionWriter::of(&table, id))
    }
}

/// Writes a section of a migration stream piece by piece. JavaScript owns it.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawSectionWriter {
    writer: SectionWriter,
    done: bool,
}

impl RawSectionWriter {
    /// A writer at the section's start.
    pub(crate) fn of(table: &StreamTable, id: u32) -> Self {
        Self { writer: SectionWriter::new(id, table), done: false }
    }
}

#[wasm_bindgen]
impl RawSectionWriter {
    /// The next bytes, `max` of them at most; nothing after the last.
    pub fn next(&mut self, max: u32) -> Option<Vec<u8>> {
        if self.done {
            return None;
        }
        let mut piece = Vec::new();
        self.done = !self.writer.next(&mut piece, max as usize);
        Some(piece)
    }
}
