//! All mappings of a table, one after the other.

use core::iter;

use super::{Runs, TceTable};
use crate::extent::Extent;

impl TceTable {
    /// All that is mapped, as runs in ascending order: what a newcomer has to be told of.
    ///
    /// Costs what is mapped, however large the table. For a part of the table, or a walk that is left and taken up again, there
    /// is [`TceTable::next_extent`]; [`TceTable::each_extent`] is the fastest.
    ///
    /// ```
    /// use giommu_core::address::{Gpa, Iova};
    /// use giommu_core::tce_table::{Change, Geometry, Runs, TceTable, Values};
    ///
    /// let geometry = Geometry { liobn: 0x8000_0000, bus_offset: Iova(0), page_shift: 12, entries: 1 << 20 };
    /// let mut table = TceTable::new(geometry, 1 << 20)?;
    /// let two_calls = [(5, [0x10_0003, 0x10_1003]), (7, [0x10_2003, 0x70_0001])];
    /// for (first, values) in two_calls {
    ///     table.write(first, Values::List(&values), &mut Change::quiet())?;
    /// }
    /// let pages = |runs| table.extents(runs).map(|extent| extent.pages).collect::<Vec<_>>();
    /// assert_eq!(pages(Runs::Full), [3, 1]);
    /// assert_eq!(pages(Runs::Call), [2, 1, 1]);
    /// assert_eq!(pages(Runs::Page), [1, 1, 1, 1]);
    /// assert_eq!(table.extents(Runs::Full).last().map(|extent| (extent.iova, extent.target)), Some((Iova(0x8000), Gpa(0x70_0000))));
    /// # Ok::<(), giommu_core::tce_table::TableError>(())
    /// ```
    pub fn extents(&self, runs: Runs) -> impl Iterator<Item = Extent> {
        let mut from = Some(0);
        iter::from_fn(move || {
            let (first, extent) = self.next_extent(from?, u32::MAX, runs)?;
            from = first.checked_add(extent.pages);
            Some(extent)
        })
        .fuse()
    }
}
