//! The windows of one bus.

use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use giommu_core::tce_table::TceTable;

/// A table that threads share: those that carry out a guest's hypercalls write, those that act for its devices read.
pub type LockedTable = Arc<RwLock<TceTable>>;

/// Why a table can not be a window of a bus.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum WindowError {
    /// The bus has a window of this LIOBN.
    Duplicate(u32),
}

impl std::fmt::Display for WindowError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Duplicate(liobn) => write!(f, "the bus has a window of LIOBN {liobn:#x} already"),
        }
    }
}

impl std::error::Error for WindowError {}

/// The guest-visible IOMMU of one bus, as vm-memory's [`Iommu`](vm_memory::Iommu): any number of DMA windows, each with
/// its translation table. What lies outside of them can not be reached.
///
/// It keeps no copy of what the tables say: every access looks at them, so that whatever a hypercall removed is gone for
/// every access that begins after it. That, and what a running access means, is told in the [crate's documentation](crate).
///
/// A clone is another handle to the same windows: one goes into an [`IommuMemory`](vm_memory::iommu::IommuMemory), others stay
/// with whoever changes windows.
///
/// ```
/// use giommu_core::address::Iova;
/// use giommu_core::tce_table::{Geometry, TceTable};
/// use giommu_vm_memory::TceIommu;
///
/// let window = |liobn, start| {
///     let geometry = Geometry { liobn, bus_offset: Iova(start), page_shift: 16, entries: 1 << 10 };
///     TceTable::new(geometry, 1 << 10)
/// };
/// let iommu = TceIommu::new();
/// iommu.add_window(window(0x8000_0000, 0)?)?;
/// iommu.add_window(window(0x8000_0001, 1 << 59)?)?;
/// assert!(iommu.add_window(window(0x8000_0001, 0)?).is_err(), "one window per LIOBN");
/// assert!(iommu.remove_window(0x8000_0000).is_some());
/// assert_eq!(iommu.tables().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct TceIommu {
    /// By ascending LIOBN. An access takes the list as it is and lets the lock go, so that no lock is ever taken under another one:
    /// whoever holds a table may change windows.
    windows: Arc<RwLock<Arc<Vec<Window>>>>,
}

/// A table, and what of it never changes: looked at without the table's lock.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) liobn: u32,
    /// First and last bus address.
    pub(crate) start: u64,
    pub(crate) last: u64,
    pub(crate) table: LockedTable,
}

impl Window {
    fn new(table: TceTable) -> Self {
        let geometry = table.geometry();
        let start = geometry.bus_offset.0;
        // A table can not be made with a geometry that has no size.
        let last = start.saturating_add(geometry.size_minus_1().unwrap_or(0));
        Self { liobn: geometry.liobn, start, last, table: Arc::new(RwLock::new(table)) }
    }
}

/// Where the window of a LIOBN is, or would be put.
fn place(windows: &[Window], liobn: u32) -> Result<usize, usize> {
    windows.binary_search_by_key(&liobn, |window| window.liobn)
}

impl TceIommu {
    /// A bus without windows: devices reach nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a table on the bus, where its geometry says. Returns it, for who carries out hypercalls.
    ///
    /// Windows may overlap: the one of the higher LIOBN then hides the other, also where its own entries allow nothing, as in
    /// QEMU's memory map.
    ///
    /// # Errors
    /// [`WindowError::Duplicate`] if there is a window of this LIOBN; the bus stays as it was.
    pub fn add_window(&self, table: TceTable) -> Result<LockedTable, WindowError> {
        let window = Window::new(table);
        let mut windows = self.windows_mut();
        match place(&windows, window.liobn) {
            Ok(_) => Err(WindowError::Duplicate(window.liobn)),
            Err(at) => {
                let table = Arc::clone(&window.table);
                Arc::make_mut(&mut windows).insert(at, window);
                Ok(table)
            }
        }
    }

    /// The same in the place of the window that has its LIOBN, if there is one. No access sees the bus without either.
    pub(crate) fn put_window(&self, table: TceTable) {
        let window = Window::new(table);
        let mut windows = self.windows_mut();
        let found = place(&windows, window.liobn);
        let windows = Arc::make_mut(&mut windows);
        match found {
            Ok(at) => windows.splice(at..=at, [window]).for_each(drop),
            Err(at) => windows.insert(at, window),
        }
    }

    /// Takes the window of this LIOBN off the bus. Returns its table, which no access finds any more; `None` if there was none.
    pub fn remove_window(&self, liobn: u32) -> Option<LockedTable> {
        let mut windows = self.windows_mut();
        let at = place(&windows, liobn).ok()?;
        Some(Arc::make_mut(&mut windows).remove(at).table)
    }

    /// The table of the window with this LIOBN.
    #[must_use]
    pub fn table(&self, liobn: u32) -> Option<LockedTable> {
        let windows = self.windows();
        let at = place(&windows, liobn).ok()?;
        windows.get(at).map(|window| Arc::clone(&window.table))
    }

    /// The tables of all windows, by ascending LIOBN.
    #[must_use]
    pub fn tables(&self) -> Vec<LockedTable> {
        self.windows().iter().map(|window| Arc::clone(&window.table)).collect()
    }

    /// The list is changed by one step of a vector, so it is sound even if a thread panicked over it.
    pub(crate) fn windows(&self) -> Arc<Vec<Window>> {
        Arc::clone(&self.windows.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn windows_mut(&self) -> RwLockWriteGuard<'_, Arc<Vec<Window>>> {
        self.windows.write().unwrap_or_else(PoisonError::into_inner)
    }
}
