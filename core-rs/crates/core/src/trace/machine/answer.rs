//! Takes lines that show what a table holds: QEMU's translations, and what guests read.

use super::LogMachine;
use super::slots::Place;
use crate::tce_table::Geometry;
use crate::trace::findings::{Agreement, Answer, Disagreement, Trouble};
use crate::trace::kind::Kind;
use crate::trace::parser::Record;
use crate::trace::rebuilt::{GeometrySource, Knowledge};
use crate::trace::window::{default_geometry, sized};

/// What QEMU prints where there is no entry.
const OUTSIDE: Answer = Answer { target: 0, perm: 0, mask: u32::MAX };

/// The bits inside a page.
fn page_mask(geometry: &Geometry) -> u64 {
    (1u64 << geometry.page_shift) - 1
}

/// The same as QEMU prints it, cut to 32 bits.
fn printed_mask(geometry: &Geometry) -> u32 {
    u32::try_from(page_mask(geometry)).unwrap_or(u32::MAX)
}

impl LogMachine {
    /// QEMU translated an address, which is relative to the window.
    #[inline]
    pub(super) fn xlate(&mut self, liobn: u64, offset: u64, target: u64, perm: u64, mask: u64) {
        // Nearly every translation is of a table that is there, and what it holds: that is all there is to know then.
        if let Some(table) = u32::try_from(liobn).ok().and_then(|liobn| self.slots.get_mut(liobn)?.table())
            && table.translates(offset, target, perm, mask)
        {
            self.translations.agreed += 1;
            return;
        }
        let (Ok(mask), Ok(perm)) = (u32::try_from(mask), u8::try_from(perm)) else { return };
        let theirs = Answer { target, perm, mask };
        if let Some(agreement) = self.answer(liobn, offset, theirs, None) {
            count(&mut self.translations, agreement);
        }
    }

    /// A guest read an entry.
    pub(super) fn get(&mut self, fields: &[u64; 8]) {
        let [liobn, ioba, ret, tce, ..] = *fields;
        if ret != 0 {
            return;
        }
        let Some((number, geometry)) = self.called(liobn, ioba) else { return };
        let Some(offset) = ioba.checked_sub(geometry.bus_offset.0).filter(|_| self.holds(number, ioba)) else {
            return self.trouble(Trouble::OutsideWindow, liobn, ioba);
        };
        let theirs =
            Answer { target: tce & !page_mask(&geometry), perm: (tce & 3) as u8, mask: printed_mask(&geometry) };
        if let Some(agreement) = self.answer(liobn, offset, theirs, Some(tce)) {
            count(&mut self.reads, agreement);
        }
    }

    fn holds(&self, liobn: u32, ioba: u64) -> bool {
        self.table(liobn).is_some_and(|table| table.table().index_of(ioba).is_some())
    }

    /// Compares an answer with the table, or learns from it.
    #[inline]
    fn answer(&mut self, liobn: u64, offset: u64, theirs: Answer, value: Option<u64>) -> Option<Outcome> {
        if let Some(Place::Gone { guessed: None }) =
            u32::try_from(liobn).ok().and_then(|liobn| self.slots.get(liobn)).map(|slot| &slot.place)
            && theirs == OUTSIDE
        {
            return Some(Outcome::Agreed);
        }
        let (number, mut geometry) = self.called(liobn, offset)?;
        if printed_mask(&geometry) != theirs.mask && self.learn_page_size(number, theirs) {
            geometry = self.slots.get(number)?.table()?.geometry();
        }
        let table = self.slots.get(number)?.table()?;
        let index = u32::try_from(offset >> geometry.page_shift).ok().filter(|index| *index < geometry.entries);
        let Some(index) = index else {
            return Some(self.compare(number, offset, OUTSIDE, theirs, value));
        };
        let fits = printed_mask(&geometry) == theirs.mask;
        let mask = page_mask(&geometry);
        let page = |tce: u64| Answer { target: tce & !mask, perm: (tce & 3) as u8, mask: printed_mask(&geometry) };
        let learned = value.unwrap_or(theirs.target & !mask | u64::from(theirs.perm));
        let ours = match table.knowledge(index) {
            Knowledge::Unknown if fits => {
                self.learn(number, index, learned, value.is_none());
                return Some(Outcome::Learned);
            }
            Knowledge::Unknown => Answer { mask: printed_mask(&geometry), ..OUTSIDE },
            Knowledge::Page(tce) => {
                if let Some(value) = value
                    && page(tce) == theirs
                {
                    self.learn(number, index, value, false);
                }
                page(tce)
            }
            Knowledge::Value(tce) if value.is_some_and(|value| value != tce) => {
                Answer { target: tce & !3, ..page(tce) }
            }
            Knowledge::Value(tce) => page(tce),
        };
        if ours != theirs && fits && self.slots.get(number)?.table()?.is_unlogged() {
            // Who changes the table does not log it: the newest answer counts.
            self.learn(number, index, learned, value.is_none());
            return Some(Outcome::Learned);
        }
        Some(self.compare(number, offset, ours, theirs, value))
    }

    #[inline]
    fn compare(&mut self, liobn: u32, offset: u64, ours: Answer, theirs: Answer, value: Option<u64>) -> Outcome {
        if ours == theirs {
            return Outcome::Agreed;
        }
        let start = self.table(liobn).map_or(0, |table| table.geometry().bus_offset.0);
        // What a guest read is shown with all its bits.
        let theirs = value.map_or(theirs, |value| Answer { target: value & !3, ..theirs });
        self.disagreements.push(Disagreement {
            line: self.line,
            liobn,
            address: start.wrapping_add(offset),
            read: value.is_some(),
            ours,
            theirs,
        });
        Outcome::Disagreed
    }

    fn learn(&mut self, liobn: u32, index: u32, value: u64, page_only: bool) {
        let room = value == 0 || self.has_room(1);
        let mut stored = false;
        self.with_table(liobn, &mut |table, change, _| {
            if room {
                stored = table.learn(index, value, page_only, change);
            } else {
                change.clear();
            }
            Ok(())
        });
        if !stored {
            self.trouble(Trouble::TooMuch, u64::from(liobn), 0);
        }
    }

    /// An answer shows the page size of a table that is not known otherwise. Returns whether it was taken from it.
    #[cold]
    fn learn_page_size(&mut self, liobn: u32, theirs: Answer) -> bool {
        let Some(table) = self.table(liobn) else { return false };
        let old = table.geometry();
        let bits = theirs.mask.trailing_ones();
        let plausible = (12..32).contains(&bits) && theirs.mask == (1u32 << bits).wrapping_sub(1);
        if table.source() != GeometrySource::Assumed || !plausible || old != default_geometry(liobn) {
            return false;
        }
        let size = u64::from(old.entries) << old.page_shift;
        match sized(liobn, old.bus_offset.0, bits, size) {
            Some(geometry) => self.place_new(geometry, GeometrySource::Assumed, false, false),
            None => false,
        }
    }

    /// Whether the last number of a line without an end seems to be cut.
    #[cold]
    pub(crate) fn is_cut(&self, record: &Record<'_>) -> bool {
        let [first, second, third, fourth, fifth, sixth, ..] = record.fields;
        let table = |liobn: u64| u32::try_from(liobn).ok().and_then(|liobn| self.table(liobn));
        match record.kind {
            Kind::Xlate => match table(first) {
                Some(table) => u64::from(printed_mask(&table.geometry())) != fifth && fifth != u64::from(u32::MAX),
                None => fifth != 0xfff,
            },
            Kind::Get | Kind::PciGet => match table(first) {
                Some(table) => {
                    let index = table.table().index_of(second);
                    third == 0 && index.is_none_or(|index| table.knowledge(index) != Knowledge::Value(fourth))
                }
                None => true,
            },
            Kind::MapNotify | Kind::RegionAddIommu => second.wrapping_add(1) & 0xfff != 0,
            Kind::PreSave => fourth < 12,
            Kind::PostLoad => fifth < 12,
            Kind::DdwCreate => {
                crate::trace::window::owner_of_buid(first).is_some_and(|owner| u64::from(owner) != sixth & !0xff)
            }
            Kind::DdwRemove => table(first).is_none(),
            _ => false,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Agreed,
    Disagreed,
    Learned,
}

#[inline]
fn count(agreement: &mut Agreement, outcome: Outcome) {
    match outcome {
        Outcome::Agreed => agreement.agreed += 1,
        Outcome::Disagreed => agreement.disagreed += 1,
        Outcome::Learned => agreement.learned += 1,
    }
}
