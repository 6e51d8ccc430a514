//! The loops that `bench/` measures, over the core as it is: each does a piece of work, and adds up what was delivered.
//!
//! `bench/peer` has the same loops in C. Both start from the same entries ([`pattern`]) in the same [`Order`], and must
//! come to the same [`Delivered`].

use core::ops::ControlFlow;

use giommu_core::address::Iova;
use giommu_core::extent::Extent;
use giommu_core::spapr::{ConfigError, Effects, PhbConfig, SpaprMachine};
use giommu_core::tce_table::{Runs, SharedTable, TableError, TceTable, Values};

const PAGE_SHIFT: u32 = 12;
const PAGE: u64 = 1 << PAGE_SHIFT;
const READ_WRITE: u64 = 3;
/// The default window of bridge 0.
const LIOBN: u64 = 0x8000_0000;
/// Entries of one H_PUT_TCE_INDIRECT, and of one H_STUFF_TCE here.
const LIST: u32 = 512;

/// SplitMix64: the same numbers as in the peer.
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// The entry that maps a page of guest memory.
fn mapped(page: u64) -> u64 {
    (page << PAGE_SHIFT) | READ_WRITE
}

/// Entry `index` of a table with runs of `length` entries, each there with a probability of `threshold` / 2^32; length 0
/// is one run of all entries.
#[must_use]
pub fn pattern(index: u32, length: u32, threshold: u64) -> u64 {
    let Some(run) = index.checked_div(length) else { return mapped(u64::from(index)) };
    let hash = mix(u64::from(run));
    if hash & 0xffff_ffff >= threshold {
        return 0;
    }
    mapped((hash >> 28) + u64::from(index % length))
}

/// The order in which entries are visited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Ascending.
    Sequential,
    /// Each once, in an order that no prefetcher knows.
    Random,
}

impl Order {
    #[inline]
    fn index(self, at: u32, entries_minus_1: u32) -> u32 {
        match self {
            Self::Sequential => at & entries_minus_1,
            // An odd factor makes a permutation of a power of two.
            Self::Random => at.wrapping_mul(0x9e37_79b1) & entries_minus_1,
        }
    }
}

/// What was delivered: a sum that a run of pages adds in one step, and how many pages it was.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Delivered {
    /// Of each mapped page iova + 3 x target + permission, of each unmapped page iova + 1; modulo 2^64.
    pub sum: u64,
    /// Pages.
    pub pages: u64,
}

impl Delivered {
    /// The sum of 0 to n - 1, times the page size.
    #[inline]
    fn triangle(pages: u64) -> u64 {
        (pages.wrapping_mul(pages.wrapping_sub(1)) / 2) << PAGE_SHIFT
    }

    #[inline]
    fn map(&mut self, extent: &Extent) {
        let pages = u64::from(extent.pages);
        let first =
            extent.iova.0.wrapping_add(extent.target.0.wrapping_mul(3)).wrapping_add(u64::from(extent.perm.bits()));
        if pages == 1 {
            self.sum = self.sum.wrapping_add(first);
            self.pages += 1;
            return;
        }
        self.sum = self.sum.wrapping_add(first.wrapping_mul(pages)).wrapping_add(Self::triangle(pages).wrapping_mul(4));
        self.pages += pages;
    }

    #[inline]
    fn unmap(&mut self, extent: &Extent) {
        let pages = u64::from(extent.pages);
        if pages == 1 {
            self.sum = self.sum.wrapping_add(extent.iova.0.wrapping_add(1));
            self.pages += 1;
            return;
        }
        self.sum = self.sum.wrapping_add(extent.iova.0.wrapping_add(1).wrapping_mul(pages));
        self.sum = self.sum.wrapping_add(Self::triangle(pages));
        self.pages += pages;
    }

    #[inline(never)]
    fn map_all(&mut self, extents: &[Extent]) {
        extents.iter().for_each(|extent| self.map(extent));
    }

    #[inline(never)]
    fn unmap_all(&mut self, extents: &[Extent]) {
        extents.iter().for_each(|extent| self.unmap(extent));
    }
}

/// A machine with one bridge, whose default window is measured.
#[derive(Debug)]
pub struct Bench {
    machine: SpaprMachine,
    effects: Effects,
    table: SharedTable,
    entries_minus_1: u32,
    /// What was delivered since it was last set to nothing.
    pub delivered: Delivered,
}

/// Why there is no [`Bench`].
#[derive(Debug)]
pub struct Unsound;

impl From<ConfigError> for Unsound {
    fn from(_: ConfigError) -> Self {
        Self
    }
}

impl From<TableError> for Unsound {
    fn from(_: TableError) -> Self {
        Self
    }
}

impl Bench {
    /// A machine whose window has 2^`shift` entries, filled with [`pattern`].
    ///
    /// # Errors
    /// The window cannot be that large.
    pub fn new(shift: u32, length: u32, threshold: u64) -> Result<Self, Unsound> {
        let entries = 1u32.checked_shl(shift).ok_or(Unsound)?;
        let mut machine = SpaprMachine::new(u32::MAX);
        let size = u64::from(entries) << PAGE_SHIFT;
        machine.add_phb(PhbConfig { dma_win_addr: Iova(0), dma_win_size: size, ..PhbConfig::new(0) })?;
        let table = machine.table(LIOBN).ok_or(Unsound)?.clone();
        let bench = Self {
            machine,
            effects: Effects::new(),
            table,
            entries_minus_1: entries - 1,
            delivered: Delivered::default(),
        };
        bench.fill(Order::Sequential, length, threshold)?;
        Ok(bench)
    }

    /// The table that is measured.
    #[must_use]
    pub fn table(&self) -> &SharedTable {
        &self.table
    }

    /// Writes [`pattern`] to all entries, by lists of 512 in some order.
    ///
    /// # Errors
    /// None that a sound machine has.
    pub fn fill(&self, order: Order, length: u32, threshold: u64) -> Result<(), Unsound> {
        let mut table = self.table.try_borrow_mut().map_err(|_| Unsound)?;
        let mut change = giommu_core::tce_table::Change::quiet();
        let mut values = Vec::with_capacity(LIST as usize);
        for list in 0..=self.entries_minus_1 / LIST {
            let first = order.index(list, self.entries_minus_1 / LIST) * LIST;
            values.clear();
            values.extend((first..=self.entries_minus_1).take(LIST as usize).map(|at| pattern(at, length, threshold)));
            table.write(first, Values::List(&values), &mut change)?;
        }
        Ok(())
    }

    /// Whether another table holds the same: what a restore asks first, and what must read every entry.
    #[must_use]
    pub fn equals(&self, other: &Self) -> bool {
        *self.table.borrow() == *other.table.borrow()
    }

    /// Replays from entry `from`, in `most` extents at most; returns where to go on.
    #[inline(never)]
    pub fn replay(&mut self, from: u32, most: u32) -> Option<u32> {
        let table = self.table.try_borrow().ok()?;
        let (delivered, mut left) = (&mut self.delivered, most);
        table.each_extent(from, u32::MAX, Runs::Full, |_, extent| {
            delivered.map(&extent);
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }

    #[inline(always)]
    fn deliver(&mut self) {
        // Most calls tell of one page.
        match self.effects.change.unmaps() {
            [] => {}
            [extent] => self.delivered.unmap(extent),
            several => self.delivered.unmap_all(several),
        }
        match self.effects.change.maps() {
            [] => {}
            [extent] => self.delivered.map(extent),
            several => self.delivered.map_all(several),
        }
    }

    /// H_PUT_TCE for `count` entries from the `first` in `order`: targets that do not adjoin, or 0. Returns how many failed.
    #[inline(never)]
    pub fn put(&mut self, order: Order, first: u32, count: u32, map: bool) -> u32 {
        let mut failed = 0;
        for at in first..first + count {
            let index = u64::from(order.index(at, self.entries_minus_1));
            let tce = if map { mapped(2 * index) } else { 0 };
            let ret = self.machine.h_put_tce(LIOBN, index * PAGE, tce, &mut self.effects);
            failed += u32::from(ret != 0);
            self.deliver();
        }
        failed
    }

    /// H_PUT_TCE_INDIRECT for entries from `first` on, in lists of 512 as a guest has them: big endian.
    #[inline(never)]
    pub fn indirect(&mut self, first: u32, count: u32, map: bool) -> u32 {
        let mut list = [0; LIST as usize * 8];
        for (word, at) in list.as_chunks_mut::<8>().0.iter_mut().zip(0u64..) {
            *word = if map { mapped(2 * at).to_be_bytes() } else { [0; 8] };
        }
        // The list is the guest's memory.
        let memory = list.as_slice();
        let mut failed = 0;
        for at in (first..first + count).step_by(LIST as usize) {
            let args = [LIOBN, u64::from(at) * PAGE, 0, u64::from(LIST)];
            failed += u32::from(self.machine.h_put_tce_indirect(args, memory, &mut self.effects) != 0);
            self.deliver();
        }
        failed
    }

    /// H_STUFF_TCE with 0 from entry `first` on, in calls of `step` entries.
    #[inline(never)]
    pub fn clear(&mut self, first: u32, count: u32, step: u32) -> u32 {
        let mut failed = 0;
        for at in (first..first + count).step_by(step as usize) {
            let args = [LIOBN, u64::from(at) * PAGE, 0, u64::from(step)];
            failed += u32::from(self.machine.h_stuff_tce(args, &mut self.effects) != 0);
            self.deliver();
        }
        failed
    }

    /// Translates `count` addresses from the `first` in `order`.
    #[inline(never)]
    pub fn translate(&mut self, order: Order, first: u32, count: u32) {
        let Ok(table) = self.table.try_borrow() else { return };
        for at in first..first + count {
            let index = u64::from(order.index(at, self.entries_minus_1));
            if let Some(found) = table.translate(index * PAGE) {
                self.delivered.sum =
                    self.delivered.sum.wrapping_add(found.target.0).wrapping_add(u64::from(found.perm.bits()));
                self.delivered.pages += 1;
            }
        }
    }
}

/// What an empty table of 2^`shift` entries costs: makes one, and says how many bytes it holds.
#[must_use]
pub fn create(shift: u32) -> Option<usize> {
    let entries = 1u32.checked_shl(shift)?;
    let geometry = giommu_core::tce_table::Geometry { liobn: 1, bus_offset: Iova(0), page_shift: 12, entries };
    TceTable::new(geometry, entries).ok().map(|table| core::hint::black_box(table).memory_bytes())
}

/// The sum of `words`: what the memory allows a walk that must read all of it.
#[must_use]
#[inline(never)]
pub fn sum(words: &[u64]) -> u64 {
    words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}
