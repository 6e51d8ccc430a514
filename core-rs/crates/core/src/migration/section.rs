//! One `spapr_iommu` section of a migration stream (QEMU, `hw/ppc/spapr_iommu.c` and `migration/savevm.c`).

use super::StreamTable;
use crate::address::Iova;
use crate::tce_table::{Change, Geometry, SharedTable, TceTable};

/// The type of a section that holds all of a device.
pub(super) const FULL: u8 = 0x04;
/// What a subsection begins with.
pub(super) const SUBSECTION: u8 = 0x05;
/// What the footer of a section begins with.
pub(super) const FOOTER: u8 = 0x7e;
pub(super) const NAME: &[u8] = b"spapr_iommu";
/// The byte before the name: its length.
pub(super) const NAME_LENGTH: u8 = 0x0b;
pub(super) const SUBSECTION_NAME: &[u8] = b"\x0espapr_iommu_ex";
/// Bytes of a header: type, number, name, instance, version.
pub(super) const HEADER: usize = 25;
/// Bytes of a subsection: its type, name, version, bus offset, page shift.
const SUBSECTION_SIZE: usize = 32;
/// Entries that are not zero, per table.
const ENTRY_LIMIT: u32 = 1 << 24;

/// How far a section is.
pub(super) enum Progress {
    /// It needs more bytes.
    More,
    /// It is not a section of a table after all.
    Unsound,
    /// It is at its end, and all of it fits together.
    Done(StreamTable),
}

#[derive(Debug)]
enum Part {
    Head,
    Values,
    Tail,
    Footer,
}

/// A section that is being read.
#[derive(Debug)]
pub(super) struct Section {
    number: u32,
    liobn: u32,
    version: u32,
    position: u64,
    part: Part,
    bypass: bool,
    default_window: Option<bool>,
    entries: u32,
    done: u32,
    table: Option<TceTable>,
    place: Option<(u64, u32)>,
    change: Change,
}

/// Takes a number off the front of `bytes`.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn take32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(u32::from_be_bytes)
}

fn flag(byte: u8) -> Option<bool> {
    match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

impl Section {
    /// The section whose header this is, if it is one; `position` is where its contents begin in the stream.
    pub(super) fn begin(header: &[u8; HEADER], position: u64) -> Option<Self> {
        let mut rest: &[u8] = header;
        let [kind] = take(&mut rest)?;
        let number = take32(&mut rest)?;
        let [length] = take(&mut rest)?;
        let mut rest = rest.strip_prefix(NAME)?;
        let liobn = take32(&mut rest)?;
        let version = take32(&mut rest)?;
        let sound = kind == FULL && length == NAME_LENGTH && (2..=3).contains(&version);
        sound.then(|| Self {
            number,
            liobn,
            version,
            position,
            part: Part::Head,
            bypass: false,
            default_window: None,
            entries: 0,
            done: 0,
            table: None,
            place: None,
            change: Change::quiet(),
        })
    }

    pub(super) fn liobn(&self) -> u32 {
        self.liobn
    }

    /// The position in the stream of the first byte that is not read yet.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Reads on from the first byte that is not read yet.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Progress {
        let mut rest = bytes;
        let progress = self.advance(&mut rest);
        self.position += (bytes.len() - rest.len()) as u64;
        progress
    }

    fn advance(&mut self, rest: &mut &[u8]) -> Progress {
        loop {
            let before = *rest;
            let step = match self.part {
                Part::Head => self.head(rest),
                Part::Values => self.values(rest),
                Part::Tail => self.tail(rest),
                Part::Footer => return self.footer(rest),
            };
            match step {
                Some(true) => {}
                Some(false) => return Progress::Unsound,
                None => {
                    if !matches!(self.part, Part::Values) {
                        *rest = before;
                    }
                    return Progress::More;
                }
            }
        }
    }

    /// LIOBN, number of entries, bypass. `None` if bytes are missing, otherwise whether it is sound; so do the others.
    fn head(&mut self, rest: &mut &[u8]) -> Option<bool> {
        let liobn = take32(rest)?;
        self.entries = take32(rest)?;
        let [bypass] = take(rest)?;
        let (Some(bypass), true) = (flag(bypass), liobn == self.liobn) else { return Some(false) };
        self.bypass = bypass;
        self.part = if self.entries == 0 { Part::Tail } else { Part::Values };
        let geometry = Geometry { liobn, bus_offset: Iova(0), page_shift: 12, entries: self.entries };
        self.table = TceTable::new(geometry, ENTRY_LIMIT).ok();
        Some(true)
    }

    fn values(&mut self, rest: &mut &[u8]) -> Option<bool> {
        while self.done < self.entries {
            let value = u64::from_be_bytes(take(rest)?);
            if value != 0 {
                let stored = self.table.as_mut()?.learn(self.done, value, true, &mut self.change);
                if !stored {
                    return Some(false);
                }
            }
            self.done += 1;
        }
        self.part = Part::Tail;
        Some(true)
    }

    /// Whether it is a default window, and the subsection where there is one.
    fn tail(&mut self, rest: &mut &[u8]) -> Option<bool> {
        let mut default_window = None;
        if self.version >= 3 {
            let [byte] = take(rest)?;
            default_window = flag(byte);
            if default_window.is_none() {
                return Some(false);
            }
        }
        let mut place = None;
        if *rest.first()? == SUBSECTION {
            let subsection = take::<SUBSECTION_SIZE>(rest)?;
            let Some(mut fields) = subsection.get(1..).and_then(|fields| fields.strip_prefix(SUBSECTION_NAME)) else {
                return Some(false);
            };
            if take32(&mut fields)? != 1 {
                return Some(false);
            }
            place = Some((u64::from_be_bytes(take(&mut fields)?), take32(&mut fields)?));
        }
        (self.default_window, self.place) = (default_window, place);
        self.part = Part::Footer;
        Some(true)
    }

    fn footer(&mut self, rest: &mut &[u8]) -> Progress {
        let Some(footer) = take::<5>(rest) else { return Progress::More };
        let [kind, number @ ..] = footer;
        if kind != FOOTER || u32::from_be_bytes(number) != self.number {
            return Progress::Unsound;
        }
        match self.finished() {
            Some(table) => Progress::Done(table),
            None => Progress::Unsound,
        }
    }

    fn finished(&mut self) -> Option<StreamTable> {
        let table = match self.table.take() {
            Some(table) => Some(SharedTable::new(self.placed(table)?.into())),
            None => None,
        };
        Some(StreamTable {
            liobn: self.liobn,
            section_id: Some(self.number),
            table,
            bypass: self.bypass,
            default_window: self.default_window,
        })
    }

    /// The table where the subsection says it lies, which came after its entries.
    fn placed(&mut self, table: TceTable) -> Option<TceTable> {
        let (bus_offset, page_shift) = self.place.unwrap_or((0, 12));
        let page_shift = u8::try_from(page_shift).ok()?;
        let geometry = Geometry { bus_offset: Iova(bus_offset), page_shift, ..table.geometry() };
        if geometry == table.geometry() {
            return Some(table);
        }
        let mut placed = TceTable::new(geometry, ENTRY_LIMIT).ok()?;
        for index in 0..self.entries {
            let value = table.get(index);
            if value != 0 {
                placed.learn(index, value, true, &mut self.change);
            }
        }
        Some(placed)
    }
}
