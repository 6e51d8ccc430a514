//! Takes the guest's calls that change a table.

use super::LogMachine;
use super::slots::Place;
use crate::address::{Iova, IovaRange};
use crate::tce_table::{Geometry, TableError};
use crate::trace::findings::Trouble;
use crate::trace::hotplug::LiveCall;
use crate::trace::kind::Kind;
use crate::trace::parser::Record;
use crate::trace::rebuilt::GeometrySource;
use crate::trace::window::default_geometry;

/// The most TCEs that H_PUT_TCE_INDIRECT takes: one page of them.
const LIST_MAX: usize = 512;

/// Entries of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entries {
    first: u32,
    last: u32,
}

impl LogMachine {
    /// H_PUT_TCE. One that failed stored nothing.
    #[inline]
    pub(super) fn put(&mut self, liobn: u64, ioba: u64, tce: u64, ret: u64) {
        if ret != 0 {
            return;
        }
        let Some((liobn, geometry)) = self.called_inline(liobn, ioba) else { return };
        match entries(&geometry, ioba, 1) {
            Some(entries) => self.store_one(liobn, entries.first, tce),
            None => self.trouble(Trouble::OutsideWindow, u64::from(liobn), ioba),
        }
    }

    /// H_STUFF_TCE, which is logged with the address after its range; one that failed, with the address it failed at.
    #[inline]
    pub(super) fn stuff(&mut self, liobn: u64, end: u64, tce: u64, pages: u64, ret: u64) {
        if ret != 0 {
            // Up to `pages - 1` entries before the one that failed may be stored.
            return self.forget_before(liobn, end, pages.saturating_sub(1));
        }
        let Some((liobn, geometry)) = self.called_inline(liobn, end) else { return };
        let start = pages.checked_shl(u32::from(geometry.page_shift)).map(|bytes| end.wrapping_sub(bytes));
        let entries =
            start.filter(|_| pages <= u64::from(geometry.entries)).and_then(|start| entries(&geometry, start, pages));
        match entries {
            Some(Entries { first, last }) if first == last => self.store_one(liobn, first, tce),
            Some(Entries { first, last }) => self.store(liobn, first, last, tce),
            None => self.trouble(Trouble::OutsideWindow, u64::from(liobn), end),
        }
    }

    /// H_PUT_TCE_INDIRECT, of which only the last TCE is logged; of one that failed, how many there may be.
    pub(super) fn indirect(&mut self, liobn: u64, ioba: u64, last: u64, tce: u64, ret: u64) {
        let pages = last.saturating_add(1);
        if ret != 0 {
            let Some((liobn, geometry)) = self.mentioned(liobn) else { return };
            if let Some(found) = clipped(&geometry, ioba, pages) {
                self.forget(liobn, found);
            }
            return;
        }
        let Some((liobn, geometry)) = self.called(liobn, ioba) else { return };
        let Some(found) = entries(&geometry, ioba, pages) else {
            self.trouble(Trouble::OutsideWindow, u64::from(liobn), ioba);
            if let Some(found) = clipped(&geometry, ioba, pages) {
                self.forget(liobn, found);
            }
            return;
        };
        if tce != 0 && !self.has_room(1) {
            self.trouble(Trouble::TooMuch, u64::from(liobn), ioba);
            return self.forget(liobn, found);
        }
        self.with_table(liobn, &mut |table, change, zeros| {
            zeros.resize(LIST_MAX, 0);
            let count = (found.last - found.first) as usize + 1;
            let zeros = zeros.get_mut(..count).ok_or(TableError::OutOfRange)?;
            table.store_last(found.first, found.last, tce, zeros, change).inspect_err(|_| {
                table.forget(found.first, found.last, change);
            })
        });
    }

    #[inline(never)]
    fn forget(&mut self, liobn: u32, entries: Entries) {
        self.with_table(liobn, &mut |table, change, _| {
            table.forget(entries.first, entries.last, change);
            Ok(())
        });
    }

    /// Forgets up to `pages` entries before an address, as far as the table reaches.
    fn forget_before(&mut self, liobn: u64, end: u64, pages: u64) {
        let Some((liobn, geometry)) = self.mentioned(liobn) else { return };
        let pages = pages.min(u64::from(geometry.entries));
        let start = end.wrapping_sub(pages << geometry.page_shift);
        if let Some(found) = clipped(&geometry, start, pages) {
            self.forget(liobn, found);
        }
    }

    /// The table of a LIOBN that a line mentions, if it is there.
    #[inline(never)]
    fn mentioned(&self, liobn: u64) -> Option<(u32, Geometry)> {
        let liobn = u32::try_from(liobn).ok()?;
        Some((liobn, self.table(liobn)?.geometry()))
    }

    /// The table that a line shows in use. One that the log never mentioned is there all the same: the log began later.
    #[inline(never)]
    pub(super) fn called(&mut self, liobn: u64, address: u64) -> Option<(u32, Geometry)> {
        self.called_inline(liobn, address)
    }

    /// The same, in place: for what most lines do.
    #[inline(always)]
    fn called_inline(&mut self, liobn: u64, address: u64) -> Option<(u32, Geometry)> {
        if let Ok(number) = u32::try_from(liobn)
            && let Some(table) = self.slots.get_mut(number).and_then(|slot| slot.table())
        {
            return Some((number, table.geometry()));
        }
        self.called_first(liobn, address)
    }

    /// The same where no table is there.
    #[cold]
    #[inline(never)]
    fn called_first(&mut self, liobn: u64, address: u64) -> Option<(u32, Geometry)> {
        let place = |number| self.slots.get(number).map(|slot| &slot.place);
        let (number, geometry, source) = match u32::try_from(liobn).map(|number| (number, place(number))) {
            Ok((number, Some(Place::Gone { guessed: Some(geometry) }))) => (number, *geometry, GeometrySource::Assumed),
            Ok((number, None)) => {
                let (geometry, source) = self.assumed(number);
                (number, geometry, source)
            }
            _ => {
                self.trouble(Trouble::NoTable, liobn, address);
                return None;
            }
        };
        self.place_new(geometry, source, false, false).then_some((number, geometry))
    }

    /// What is assumed of a table that the log does not show being made.
    #[inline(never)]
    pub(super) fn assumed(&self, liobn: u32) -> (Geometry, GeometrySource) {
        match self.given.iter().rev().find(|given| given.liobn == liobn) {
            Some(given) => (*given, GeometrySource::Given),
            None => (default_geometry(liobn), GeometrySource::Assumed),
        }
    }

    /// The call that an event is, if it is one that VFIO is told of.
    pub(crate) fn live_call(&self, record: &Record<'_>) -> Option<LiveCall> {
        let [liobn, ioba, _, third, fourth, ..] = record.fields;
        let liobn = u32::try_from(liobn).ok()?;
        let geometry = self.table(liobn).map_or_else(|| self.assumed(liobn).0, |table| table.geometry());
        let shift = u32::from(geometry.page_shift);
        let (pages, start) = match record.kind {
            Kind::Put | Kind::PciPut => (1, ioba),
            Kind::Indirect | Kind::PciIndirect => (third.checked_add(1)?, ioba),
            Kind::Stuff | Kind::PciStuff if fourth == 0 => (third, ioba.wrapping_sub(third.checked_shl(shift)?)),
            // One that failed stopped at the address; it may have begun this far before.
            Kind::Stuff | Kind::PciStuff => (third, ioba.saturating_sub(third.checked_shl(shift)?)),
            _ => return None,
        };
        let start = start >> shift << shift;
        let bytes = pages.min(u64::from(geometry.entries)).checked_shl(shift)?;
        let range = IovaRange::from_length(Iova(start), bytes.checked_sub(1)?)?;
        Some(LiveCall { liobn, range, pages })
    }
}

/// The entries for `pages` pages from a bus address; `None` if there are none or they are not all in the table.
#[inline]
fn entries(geometry: &Geometry, ioba: u64, pages: u64) -> Option<Entries> {
    let first = ioba.checked_sub(geometry.bus_offset.0)? >> geometry.page_shift;
    let last = first.checked_add(pages.checked_sub(1)?)?;
    if last >= u64::from(geometry.entries) {
        return None;
    }
    Some(Entries { first: u32::try_from(first).ok()?, last: u32::try_from(last).ok()? })
}

/// The same, as far as they are in the table.
#[inline(never)]
fn clipped(geometry: &Geometry, ioba: u64, pages: u64) -> Option<Entries> {
    let start = ioba >> geometry.page_shift;
    let offset = geometry.bus_offset.0 >> geometry.page_shift;
    let last = start.saturating_add(pages.checked_sub(1)?);
    let end = offset + u64::from(geometry.entries - 1);
    let (first, last) = (start.max(offset), last.min(end));
    if first > last {
        return None;
    }
    Some(Entries { first: u32::try_from(first - offset).ok()?, last: u32::try_from(last - offset).ok()? })
}
