//! The hypercalls by which a guest reads and writes its translation tables, with QEMU's checks and return codes.
//!
//! Sources: PAPR (H_PUT_TCE, H_GET_TCE, H_PUT_TCE_INDIRECT, H_STUFF_TCE), QEMU 10.0.2 `hw/ppc/spapr_iommu.c`, and what a
//! running QEMU answered. An address is rounded down to the table's page, values are never validated, and a call that
//! runs off the end keeps what it stored before it did. The one code that QEMU does not have here is
//! [`H_NOT_ENOUGH_RESOURCES`], for a table that would pass its entry limit: it then stores nothing.
//!
//! ```
//! use giommu_core::address::Iova;
//! use giommu_core::hcall::{H_PARAMETER, H_SUCCESS, check_indirect, h_get_tce, h_put_tce_indirect, h_stuff_tce};
//! use giommu_core::tce_table::{Change, Geometry, TceTable};
//!
//! let geometry = Geometry { liobn: 0x8000_0000, bus_offset: Iova(0), page_shift: 12, entries: 8 };
//! let (mut table, mut change) = (TceTable::new(geometry, 8)?, Change::new());
//! // The guest's list lies at 0x2_0000 and has two entries; the caller has read them.
//! assert_eq!(check_indirect(0x2_0000, 2), Ok(2));
//! let written = h_put_tce_indirect(&mut table, 0x6000, &[0x10_0003, 0x20_0003], &mut change);
//! assert_eq!((written.ret, written.stored), (H_SUCCESS, 2));
//! assert_eq!(h_get_tce(&table, 0x7abc), Ok(0x20_0003));
//! // One that runs off the end stores what fits.
//! let written = h_stuff_tce(&mut table, 0x6000, 0, 3, &mut change);
//! assert_eq!((written.ret, written.stored, change.unmaps().len()), (H_PARAMETER, 2, 2));
//! # Ok::<(), giommu_core::tce_table::TableError>(())
//! ```

use crate::tce_table::{Change, TableError, TceTable, Values};

/// Done.
pub const H_SUCCESS: i64 = 0;
/// The hardware failed.
pub const H_HARDWARE: i64 = -1;
/// A parameter is wrong. All that these calls answer to a guest's own mistakes.
pub const H_PARAMETER: i64 = -4;
/// A resource ran out: the only failure of these calls that Linux takes as one.
pub const H_NOT_ENOUGH_RESOURCES: i64 = -44;

/// Entries of one H_PUT_TCE_INDIRECT at most: one 4 KiB page of them.
pub const INDIRECT_MAX: u64 = 512;

/// How a call that writes ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use = "a guest is told how its call ended"]
pub struct Written {
    /// The return code, in r3.
    pub ret: i64,
    /// How many entries were stored, from the one that the call named; with [`H_PARAMETER`] possibly some.
    pub stored: u32,
}

impl Written {
    const fn refused(ret: i64) -> Self {
        Self { ret, stored: 0 }
    }
}

/// H_PUT_TCE: stores one entry.
#[inline]
pub fn h_put_tce(table: &mut TceTable, ioba: u64, tce: u64, change: &mut Change) -> Written {
    match table.put_at(ioba, tce, change) {
        Some(true) => Written { ret: H_SUCCESS, stored: 1 },
        Some(false) => Written::refused(H_NOT_ENOUGH_RESOURCES),
        None => Written::refused(H_PARAMETER),
    }
}

/// H_GET_TCE: the raw entry, or [`H_PARAMETER`] outside the window.
///
/// # Errors
/// The return code.
pub fn h_get_tce(table: &TceTable, ioba: u64) -> Result<u64, i64> {
    table.index_of_page(ioba).map(|index| table.get(index)).ok_or(H_PARAMETER)
}

/// The checks of H_PUT_TCE_INDIRECT that come before its list is read: the number of entries to read from `list`.
///
/// The list must begin on a 4 KiB boundary whatever the table's page, and may lie outside RAM: it then reads as zeros.
///
/// # Errors
/// The return code.
pub fn check_indirect(list: u64, npages: u64) -> Result<u32, i64> {
    if npages > INDIRECT_MAX || npages == 0 || list & 0xfff != 0 {
        return Err(H_PARAMETER);
    }
    u32::try_from(npages).map_err(|_| H_PARAMETER)
}

/// H_PUT_TCE_INDIRECT, after [`check_indirect`]: stores the values that the guest's list holds.
///
/// QEMU reads the list entry by entry, but nothing in between can change it: the guest's processor waits.
pub fn h_put_tce_indirect(table: &mut TceTable, ioba: u64, list: &[u64], change: &mut Change) -> Written {
    let Ok(count) = u64::try_from(list.len()) else { return Written::refused(H_PARAMETER) };
    change.clear();
    if count == 0 || count > INDIRECT_MAX {
        return Written::refused(H_PARAMETER);
    }
    write(table, ioba, Values::List(list), count, change)
}

/// H_STUFF_TCE: stores one value in `npages` consecutive entries. The only limit is the table's number of entries.
pub fn h_stuff_tce(table: &mut TceTable, ioba: u64, tce: u64, npages: u64, change: &mut Change) -> Written {
    change.clear();
    match u32::try_from(npages) {
        Ok(count @ 1..) if count <= table.geometry().entries => {
            write(table, ioba, Values::Same(tce, count), npages, change)
        }
        _ => Written::refused(H_PARAMETER),
    }
}

fn write(table: &mut TceTable, ioba: u64, values: Values<'_>, count: u64, change: &mut Change) -> Written {
    change.clear();
    let Some(first) = table.index_of_page(ioba) else {
        return Written::refused(H_PARAMETER);
    };
    let room = table.geometry().entries - first;
    let fitting = u32::try_from(count).map_or(room, |count| count.min(room));
    let cropped = match values {
        Values::Same(tce, _) => Values::Same(tce, fitting),
        Values::List(list) => Values::List(list.get(..fitting as usize).unwrap_or(list)),
    };
    match table.write(first, cropped, change) {
        Ok(()) if u64::from(fitting) < count => Written { ret: H_PARAMETER, stored: fitting },
        Ok(()) => Written { ret: H_SUCCESS, stored: fitting },
        Err(TableError::EntryLimit { .. }) => Written::refused(H_NOT_ENOUGH_RESOURCES),
        Err(_) => Written::refused(H_PARAMETER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Iova;
    use crate::tce_table::Geometry;

    fn table(entries: u32, limit: u32) -> TceTable {
        let geometry = Geometry { liobn: 1, bus_offset: Iova(0x8000_1000), page_shift: 16, entries };
        TceTable::new(geometry, limit).expect("sound")
    }

    #[test]
    fn a_call_past_the_entry_limit_stores_nothing() {
        let (mut table, mut change) = (table(16, 2), Change::new());
        let full = Written { ret: H_NOT_ENOUGH_RESOURCES, stored: 0 };
        assert_eq!(h_stuff_tce(&mut table, 0x8001_0000, 3, 3, &mut change), full);
        assert_eq!(h_put_tce_indirect(&mut table, 0x8001_0000, &[1, 1, 1], &mut change), full);
        assert_eq!(h_stuff_tce(&mut table, 0x8001_0000, 3, 2, &mut change).ret, H_SUCCESS);
        assert_eq!(h_put_tce(&mut table, 0x8004_0000, 3, &mut change), full);
        assert!(change.is_empty());
        assert_eq!(table.stored(), 2);
    }

    #[test]
    fn an_address_is_rounded_down_before_the_windows_start_is_looked_at() {
        // QEMU masks the address first: with a start that is no multiple of the page, entry 0 begins a page later.
        let (mut table, mut change) = (table(2, 2), Change::new());
        assert_eq!(h_put_tce(&mut table, 0x8000_ffff, 3, &mut change).ret, H_PARAMETER);
        assert_eq!(h_put_tce(&mut table, 0x8001_0000, 3, &mut change), Written { ret: H_SUCCESS, stored: 1 });
        assert_eq!((table.get(0), h_get_tce(&table, 0x8001_ffff)), (3, Ok(3)));
    }

    #[test]
    fn a_list_is_one_4_kib_page_at_most_and_begins_on_one() {
        assert_eq!(check_indirect(0xf000, 512), Ok(512));
        for (list, npages) in [(0xf000, 0), (0xf000, 513), (0xf008, 1), (0xf000, 1 << 32), (0xf000, u64::MAX)] {
            assert_eq!(check_indirect(list, npages), Err(H_PARAMETER));
        }
        let (mut table, mut change) = (table(1024, 1024), Change::new());
        assert_eq!(h_put_tce_indirect(&mut table, 0x8001_0000, &[], &mut change).ret, H_PARAMETER);
        assert_eq!(h_put_tce_indirect(&mut table, 0x8001_0000, &[3; 513], &mut change).ret, H_PARAMETER);
        assert_eq!(table.stored(), 0);
    }
}
