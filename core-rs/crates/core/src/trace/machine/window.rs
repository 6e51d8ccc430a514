//! Takes lines that make, move, remove or describe tables.

use super::slots::Place;
use super::{Due, ENTRY_LIMIT, LogMachine, Pending};
use crate::tce_table::{Change, Geometry};
use crate::trace::findings::Trouble;
use crate::trace::kind::Kind;
use crate::trace::parser::Record;
use crate::trace::rebuilt::GeometrySource;
use crate::trace::window::{is_pci, owner, owner_of_buid, sized, window_number};

impl LogMachine {
    /// A table was allocated. What that means shows the next line that is about tables.
    pub(super) fn new_table(&mut self, fields: &[u64; 8]) {
        let [liobn, _, fd, ..] = *fields;
        let Ok(liobn) = u32::try_from(liobn) else { return };
        let unlogged = fd.cast_signed() >= 0;
        if self.moving.take() == Some(liobn) {
            return self.moved(liobn, unlogged);
        }
        self.settle();
        self.pending = Some(Pending { liobn, unlogged, region: None, line: self.line });
    }

    /// A table moved to other memory, with its contents.
    fn moved(&mut self, liobn: u32, unlogged: bool) {
        if let Some(pending) = self.pending.as_mut().filter(|pending| pending.liobn == liobn) {
            pending.unlogged = unlogged;
            return;
        }
        if self.table(liobn).is_none() {
            let (geometry, source) = self.assumed(liobn);
            self.place_new(geometry, source, false, unlogged);
            return;
        }
        self.with_table(liobn, &mut |table, change, _| {
            change.clear();
            if unlogged {
                table.forget(0, table.geometry().entries - 1, change);
            }
            table.set_unlogged(unlogged);
            Ok(())
        });
    }

    /// Whether an event says what a pending `new_table` line means.
    pub(super) fn is_awaited(&self, record: &Record<'_>) -> bool {
        let Some(pending) = &self.pending else { return false };
        match record.kind {
            Kind::DdwCreate => {
                let [.., created, _, _] = record.fields;
                created == u64::from(pending.liobn)
            }
            Kind::DdwReset => {
                let [buid, ..] = record.fields;
                owner_of_buid(buid).is_none_or(|owned| owned == owner(pending.liobn))
            }
            Kind::RegionAddIommu => crate::trace::window::named_table(record.text) == Some(pending.liobn),
            _ => false,
        }
    }

    /// Takes a pending `new_table` line for what it is if nothing else explains it.
    #[cold]
    pub(super) fn settle(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        let Pending { liobn, unlogged, region, line } = pending;
        let now = core::mem::replace(&mut self.line, line);
        let home = self.home(liobn);
        match self.slots.get(liobn).map(|slot| &slot.place) {
            None => {
                let (geometry, source) = home;
                self.place_new(geometry, source, true, unlogged);
            }
            Some(_) if is_pci(liobn) && window_number(liobn) == 0 => self.reset_bridge(liobn, unlogged),
            Some(Place::Table(table)) => {
                let (geometry, source) = (table.geometry(), table.source());
                self.place_new(geometry, source, false, unlogged);
            }
            Some(Place::Gone { guessed }) => {
                let geometry = guessed.unwrap_or(home.0);
                self.place_new(geometry, GeometrySource::Assumed, false, unlogged);
            }
        }
        self.line = now;
        if let Some((start, last)) = region {
            self.region_lesson(liobn, start, last);
        }
    }

    /// The geometry that a table has when QEMU makes it without being asked by the guest.
    fn home(&self, liobn: u32) -> (Geometry, GeometrySource) {
        if let Some(home) = self.slots.get(liobn).and_then(|slot| slot.home) {
            return (home, GeometrySource::Default);
        }
        let (geometry, source) = self.assumed(liobn);
        (geometry, source.max(GeometrySource::Default))
    }

    /// The machine may have been reset, or another consumer registered: all of a bridge's tables are as after a reset,
    /// but nobody says what the default window holds.
    #[cold]
    fn reset_bridge(&mut self, owned: u32, unlogged: bool) {
        self.drop_others(owned, true);
        let (geometry, source) = self.home(owned);
        self.place_new(geometry, source, false, unlogged);
        // A reset of the machine empties the tables of VIO devices and does not log it.
        let vio: Vec<u32> = self.tables().map(|table| table.geometry().liobn).filter(|liobn| !is_pci(*liobn)).collect();
        for liobn in vio {
            self.serial += 1;
            let serial = self.serial;
            let mut held = false;
            if let Some(table) = self.table_mut(liobn) {
                held = table.table().stored() != 0;
                table.doubt(&mut Change::quiet());
                table.set_serial(serial);
            }
            let told = held && self.is_watched(liobn);
            self.due.set(Due::TOPOLOGY, told);
        }
    }

    /// The dynamic windows of a bridge go.
    fn drop_others(&mut self, owned: u32, guessed: bool) {
        let others: Vec<(u32, Geometry)> = self
            .tables()
            .map(|table| (table.geometry().liobn, table.geometry()))
            .filter(|(liobn, _)| is_pci(*liobn) && *liobn != owned && owner(*liobn) == owned)
            .collect();
        for (liobn, geometry) in others {
            self.drop_table(liobn, guessed.then_some(geometry));
        }
    }

    /// ibm,create-pe-dma-window made a table: it is empty.
    pub(super) fn ddw_create(&mut self, fields: &[u64; 8]) {
        let [_, _, page_size, size, start, liobn, ..] = *fields;
        let Ok(number) = u32::try_from(liobn) else { return };
        let unlogged = match self.pending.take_if(|pending| pending.liobn == number) {
            Some(pending) => pending.unlogged,
            None => self.table(number).is_some_and(|table| table.is_unlogged()),
        };
        let geometry =
            page_size.is_power_of_two().then(|| sized(number, start, page_size.trailing_zeros(), size)).flatten();
        match geometry {
            Some(geometry) => {
                self.place_new(geometry, GeometrySource::Told, true, unlogged);
            }
            None => {
                self.trouble(Trouble::BadGeometry, liobn, start);
                self.drop_table(number, None);
            }
        }
    }

    /// The windows of a bridge are as after its reset, which QEMU says: the default window is new and empty.
    pub(super) fn ddw_reset(&mut self, fields: &[u64; 8]) {
        let [buid, ..] = *fields;
        let pending = self.pending.take();
        let Some(owned) = owner_of_buid(buid).or(pending.map(|pending| owner(pending.liobn))) else { return };
        self.drop_others(owned, false);
        let (geometry, source) = self.home(owned);
        self.place_new(geometry, source, true, pending.is_some_and(|pending| pending.unlogged));
    }

    /// A table is sent in a migration stream, which says its geometry.
    pub(super) fn pre_save(&mut self, fields: &[u64; 8]) {
        let [liobn, entries, bus_offset, shift, ..] = *fields;
        let Ok(number) = u32::try_from(liobn) else { return };
        let size = shift.try_into().ok().and_then(|shift| entries.checked_shl(shift));
        match size {
            Some(0) if self.table(number).is_none_or(|table| table.source() < GeometrySource::Given) => {
                self.drop_table(number, None);
            }
            Some(size) if size != 0 => self.lesson(number, bus_offset, shift, size),
            _ => self.trouble(Trouble::OtherGeometry, liobn, bus_offset),
        }
    }

    /// A table came from a migration stream: its geometry is known, its contents are not.
    pub(super) fn post_load(&mut self, fields: &[u64; 8]) {
        let [liobn, _, entries, bus_offset, shift, ..] = *fields;
        let Ok(number) = u32::try_from(liobn) else { return };
        let unlogged = self.table(number).is_some_and(|table| table.is_unlogged());
        if entries == 0 {
            // A window that is not in use. A slot for it may be made by this.
            if self.table(number).is_some() {
                self.drop_table(number, None);
            }
            return;
        }
        let shift = u32::try_from(shift).ok().filter(|shift| *shift != 0);
        let geometry = shift
            .and_then(|shift| Some((shift, entries.checked_shl(shift).filter(|size| size >> shift == entries)?)))
            .and_then(|(shift, size)| sized(number, bus_offset, shift, size));
        match geometry {
            Some(geometry) => {
                self.place_new(geometry, GeometrySource::Told, false, unlogged);
            }
            None => {
                self.trouble(Trouble::BadGeometry, liobn, bus_offset);
                let (geometry, source) = self.assumed(number);
                self.place_new(geometry, source, false, unlogged);
            }
        }
    }

    /// VFIO was given a region of a table.
    pub(super) fn region_add(&mut self, record: &Record<'_>) {
        let Some(liobn) = crate::trace::window::named_table(record.text) else { return };
        let [start, last, ..] = record.fields;
        self.tracker.region_add(liobn, record.line);
        self.moving = Some(liobn);
        match self.pending.as_mut().filter(|pending| pending.liobn == liobn) {
            Some(pending) => pending.region = Some((start, last)),
            None => self.region_lesson(liobn, start, last),
        }
    }

    /// VFIO lost a region of a table.
    pub(super) fn region_del(&mut self, record: &Record<'_>) {
        if let Some(liobn) = crate::trace::window::named_table(record.text) {
            let since =
                crate::trace::hotplug::Unplug { line: record.line, events: self.parser.events().saturating_sub(1) };
            self.tracker.region_del(liobn, since);
        }
    }

    /// A range of bus addresses belongs to a table. Another window may hide the rest of it.
    #[cold]
    fn region_lesson(&mut self, liobn: u32, start: u64, last: u64) {
        let Some(more) = last.checked_sub(start) else { return };
        if self.called(u64::from(liobn), start).is_none() {
            return;
        }
        let Some(table) = self.table(liobn) else { return };
        let geometry = table.geometry();
        let Ok(whole) = geometry.size_minus_1() else { return };
        let inside = start >= geometry.bus_offset.0 && last - geometry.bus_offset.0 <= whole;
        let Some(size) = more.checked_add(1).filter(|_| !inside) else { return };
        self.lesson(liobn, start, u64::from(geometry.page_shift), size);
    }

    /// A line says where a table lies.
    #[cold]
    fn lesson(&mut self, liobn: u32, bus_offset: u64, shift: u64, size: u64) {
        let geometry = u32::try_from(shift).ok().and_then(|shift| sized(liobn, bus_offset, shift, size));
        let Some(geometry) = geometry else {
            return self.trouble(Trouble::BadGeometry, u64::from(liobn), bus_offset);
        };
        let Some(table) = self.table(liobn) else {
            self.place_new(geometry, GeometrySource::Assumed, false, false);
            return;
        };
        if table.geometry() == geometry {
            return;
        }
        let source = table.source();
        if source >= GeometrySource::Given {
            return self.trouble(Trouble::OtherGeometry, u64::from(liobn), bus_offset);
        }
        // A call that succeeded outside was dropped, so that nothing is known of the entries there.
        let unknown = source == GeometrySource::Assumed || self.problems.count() != 0;
        let serial = self.serial + 1;
        let next = table.resized(serial, geometry, source, unknown, ENTRY_LIMIT);
        self.serial = serial;
        self.place(liobn, next);
        if source == GeometrySource::Default
            && let Some(slot) = self.slots.get_mut(liobn)
        {
            slot.home = Some(geometry);
        }
    }
}
