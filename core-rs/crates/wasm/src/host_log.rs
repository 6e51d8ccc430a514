//! The events of the kernel's log, and the failures that QEMU printed, one by one.

#![expect(clippy::cast_possible_truncation, reason = "WebAssembly counts in 32 bits")]

use giommu_core::trace::kernel::KernelParser;
use giommu_core::trace::stderr::StderrParser;
use wasm_bindgen::prelude::*;

use crate::buffer::Buffer;

/// Records per batch at most.
const BATCH: usize = 4096;

/// One record as JavaScript reads it from the memory of WebAssembly: 64 bytes, little endian. All ones where the line does not
/// say a number.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct SideRecord {
    line: u64,
    /// Microseconds.
    time: u64,
    start: u64,
    last: u64,
    /// Of the kernel's log, what the event tells; of standard error, where the memory lies.
    value: u64,
    kind: u32,
    /// Of the kernel's log, the CPU; of standard error, the error number.
    number: u32,
    thread: u32,
    /// Where the text lies.
    text: u32,
    text_length: u32,
    padding: u32,
}

/// Reads the kernel's IOMMU events in batches.
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct RawKernelReader {
    parser: KernelParser,
    buffer: Buffer,
    records: Vec<SideRecord>,
}

#[wasm_bindgen]
impl RawKernelReader {
    /// A reader that has read nothing.
    #[wasm_bindgen(constructor)]
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for bytes; returns where they go. The newest batch is gone then.
    pub fn room(&mut self, length: u32) -> u32 {
        self.buffer.room(length)
    }

    /// Takes the bytes that were put there.
    pub fn fill(&mut self, length: u32, last: bool) {
        self.buffer.fill(length, last);
    }

    /// Reads the next batch; returns how many records are in it, none if all bytes are read.
    pub fn read(&mut self) -> u32 {
        self.records.clear();
        let (bytes, at, last) = self.buffer.parts();
        while self.records.len() < BATCH {
            let Some(event) = self.parser.next(bytes, at, last) else { break };
            self.records.push(SideRecord {
                line: event.line,
                time: event.time.unwrap_or(u64::MAX),
                start: event.start,
                last: event.last,
                value: event.value,
                kind: event.event as u32,
                number: event.cpu.unwrap_or(u32::MAX),
                thread: event.thread.unwrap_or(u32::MAX),
                text: event.task.as_ptr() as usize as u32,
                text_length: event.task.len() as u32,
                padding: 0,
            });
        }
        self.records.len() as u32
    }

    /// Where the newest batch lies.
    #[wasm_bindgen(getter)]
    pub fn pointer(&self) -> u32 {
        self.records.as_ptr() as usize as u32
    }

    /// Lines, events, lines that do not parse.
    pub fn counts(&self) -> Vec<u64> {
        vec![self.parser.lines(), self.parser.events(), self.parser.unparsed()]
    }
}

/// Reads the failures that QEMU printed in batches.
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct RawStderrReader {
    parser: StderrParser,
    buffer: Buffer,
    records: Vec<SideRecord>,
}

#[wasm_bindgen]
impl RawStderrReader {
    /// A reader that has read nothing.
    #[wasm_bindgen(constructor)]
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for bytes; returns where they go. The newest batch is gone then.
    pub fn room(&mut self, length: u32) -> u32 {
        self.buffer.room(length)
    }

    /// Takes the bytes that were put there.
    pub fn fill(&mut self, length: u32, last: bool) {
        self.buffer.fill(length, last);
    }

    /// Reads the next batch; returns how many records are in it, none if all bytes are read.
    pub fn read(&mut self) -> u32 {
        self.records.clear();
        let (bytes, at, last) = self.buffer.parts();
        while self.records.len() < BATCH {
            let Some(one) = self.parser.next(bytes, at, last) else { break };
            self.records.push(SideRecord {
                line: one.line,
                time: one.time.unwrap_or(u64::MAX),
                start: one.start.unwrap_or(u64::MAX),
                last: one.last.unwrap_or(u64::MAX),
                value: one.memory.unwrap_or(u64::MAX),
                kind: one.failure as u32,
                number: one.errno.cast_unsigned(),
                thread: u32::from(one.start.is_some()),
                text: one.region.as_ptr() as usize as u32,
                text_length: one.region.len() as u32,
                padding: 0,
            });
        }
        self.records.len() as u32
    }

    /// Where the newest batch lies.
    #[wasm_bindgen(getter)]
    pub fn pointer(&self) -> u32 {
        self.records.as_ptr() as usize as u32
    }

    /// Lines, failures, lines that do not parse.
    pub fn counts(&self) -> Vec<u64> {
        vec![self.parser.lines(), self.parser.failures(), self.parser.unparsed()]
    }
}
