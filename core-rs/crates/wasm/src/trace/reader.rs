//! The events of a log, one by one.

use giommu_core::trace::kind::Kind;
use giommu_core::trace::parser::{Found, Limits, Parser};
use wasm_bindgen::prelude::*;

use crate::buffer::Buffer;

/// Events per batch at most.
const BATCH: usize = 4096;

/// One event as JavaScript reads it from the memory of WebAssembly: 96 bytes, little endian.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct EventRecord {
    line: u64,
    /// Microseconds; all ones where the line does not say.
    time: u64,
    kind: u32,
    thread: u32,
    /// Where the text lies.
    text: u32,
    text_length: u32,
    fields: [u64; 8],
}

/// Reads the events of a log in batches.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawLogReader {
    parser: Parser,
    buffer: Buffer,
    records: Vec<EventRecord>,
}

impl Default for RawLogReader {
    fn default() -> Self {
        Self { parser: Parser::with_intel_iommu(), buffer: Buffer::default(), records: Vec::new() }
    }
}

#[wasm_bindgen]
impl RawLogReader {
    /// A reader that has read nothing.
    #[wasm_bindgen(constructor)]
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of a kind of event in QEMU's source; nothing if there is no such kind.
    #[wasm_bindgen(js_name = kindName)]
    #[must_use]
    pub fn kind_name(kind: u32) -> Option<String> {
        Some(Kind::ALL.get(kind as usize)?.name().to_owned())
    }

    /// The format of a kind of event; nothing if there is no such kind.
    #[wasm_bindgen(js_name = kindFormat)]
    #[must_use]
    pub fn kind_format(kind: u32) -> Option<String> {
        String::from_utf8(Kind::ALL.get(kind as usize)?.format().to_vec()).ok()
    }

    /// Makes room for bytes; returns where JavaScript puts them. The newest batch is gone then.
    pub fn room(&mut self, length: u32) -> u32 {
        self.buffer.room(length)
    }

    /// Takes the bytes that were put there.
    pub fn fill(&mut self, length: u32, last: bool) {
        self.buffer.fill(length, last);
    }

    /// Reads the next batch of events; returns how many are in it, none if all bytes are read.
    pub fn read(&mut self) -> u32 {
        self.records.clear();
        let (bytes, at, last) = self.buffer.parts();
        while self.records.len() < BATCH {
            let Found::Event(event) = self.parser.next(bytes, at, last, &Limits::NONE) else { break };
            self.records.push(EventRecord {
                line: event.line,
                time: event.time().unwrap_or(u64::MAX),
                kind: event.kind as u32,
                thread: event.thread().unwrap_or(u32::MAX),
                text: event.text.as_ptr() as usize as u32,
                text_length: event.text.len() as u32,
                fields: event.fields,
            });
        }
        self.records.len() as u32
    }

    /// Reads on to the end of the bytes without keeping events; [`RawLogReader::counts`] has them.
    pub fn skip(&mut self) {
        self.records.clear();
        let (bytes, at, last) = self.buffer.parts();
        while matches!(self.parser.next(bytes, at, last, &Limits::NONE), Found::Event(_)) {}
    }

    /// Where the newest batch lies.
    #[wasm_bindgen(getter)]
    pub fn pointer(&self) -> u32 {
        self.records.as_ptr() as usize as u32
    }

    /// Lines, events, lines that do not parse, bytes.
    pub fn counts(&self) -> Vec<u64> {
        vec![self.parser.lines(), self.parser.events(), self.parser.unparsed(), self.parser.offset()]
    }
}
