//! A bridge of a machine that lives on another thread.

use std::fmt;

use giommu_core::extent::Extent;
use giommu_core::spapr::{Effects, Event, SpaprMachine};
use giommu_core::tce_table::{Change, SharedTable, TceTable, Values};

use crate::tce_iommu::TceIommu;

/// Keeps a [`TceIommu`] in step with the windows of a PCI host bridge of a [`SpaprMachine`].
///
/// A machine and its tables live on one thread, while devices are on others. So the bus of a mirror has copies of the tables,
/// and [`deliver`](Self::deliver) does to them what a guest's call did to the originals, before the guest goes on.
///
/// ```
/// use giommu_core::hcall::H_SUCCESS;
/// use giommu_core::spapr::{Effects, PhbConfig, SpaprMachine};
/// use giommu_vm_memory::BridgeMirror;
/// use vm_memory::iommu::IommuMemory;
/// use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
///
/// let mut machine = SpaprMachine::new(1 << 20);
/// machine.add_phb(PhbConfig::new(0))?;
/// let mirror = BridgeMirror::new(&machine, 0)?;
/// let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 1 << 20)])?;
/// let dma = IommuMemory::new(ram, mirror.bus().clone(), true, ()); // goes to a device's thread
///
/// let mut effects = Effects::new();
/// assert_eq!(machine.h_put_tce(0x8000_0000, 0x5000, 0x8_0003, &mut effects), H_SUCCESS);
/// mirror.deliver(&effects)?;
/// dma.write_obj(7_u8, GuestAddress(0x5000))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct BridgeMirror {
    /// The LIOBNs of the bridge's places for windows.
    liobns: Vec<u32>,
    bus: TceIommu,
}

/// Why a bridge can not be mirrored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum MirrorError {
    /// The machine has no bridge with this index.
    NoBridge(u32),
    /// The caller itself is changing a table of the machine.
    InUse,
    /// A thread panicked while it changed the mirror's table with this LIOBN.
    Poisoned(u32),
}

impl fmt::Display for MirrorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBridge(index) => write!(f, "the machine has no bridge {index}"),
            Self::InUse => f.write_str("a table of the machine is in use"),
            Self::Poisoned(liobn) => write!(f, "a thread panicked while it changed the table of LIOBN {liobn:#x}"),
        }
    }
}

impl std::error::Error for MirrorError {}

impl BridgeMirror {
    /// A mirror of the bridge with this index, as its windows and entries are now.
    ///
    /// # Errors
    /// [`MirrorError::NoBridge`], [`MirrorError::InUse`].
    pub fn new(machine: &SpaprMachine, index: u32) -> Result<Self, MirrorError> {
        let phb = machine.phb(index).ok_or(MirrorError::NoBridge(index))?;
        let liobns = phb.slots().iter().map(|slot| slot.liobn()).collect();
        let mirror = Self { liobns, bus: TceIommu::new() };
        for slot in phb.slots() {
            if let Some(table) = slot.table() {
                mirror.add(table)?;
            }
        }
        Ok(mirror)
    }

    /// What devices of the bridge reach memory by. Its windows and tables are the mirror's to change.
    #[must_use]
    pub fn bus(&self) -> &TceIommu {
        &self.bus
    }

    /// Does what a call did: to be told of every call on the machine, in order, before the guest goes on. What became of other
    /// bridges and devices is passed over.
    ///
    /// There is no way back. Where something else may refuse a call (a container's host), the mirror is told last, and not at all of
    /// one that was [undone](SpaprMachine::undo).
    ///
    /// The `change` must not have been [quiet](Change::quiet), as it then tells nothing.
    ///
    /// # Errors
    /// [`MirrorError::InUse`], [`MirrorError::Poisoned`]: the mirror is then out of step, and is to be made anew.
    pub fn deliver(&self, effects: &Effects) -> Result<(), MirrorError> {
        for event in &effects.events {
            match event {
                Event::Changed { liobn, change, .. } => self.change(*liobn, change)?,
                Event::WindowRemoved { liobn, .. } if self.has(*liobn) => drop(self.bus.remove_window(*liobn)),
                Event::WindowAdded { liobn, table } if self.has(*liobn) => self.add(table)?,
                Event::WindowRemoved { .. } | Event::WindowAdded { .. } | Event::Bypass { .. } => {}
            }
        }
        let written = effects.written.as_ref().filter(|_| !effects.change.is_empty());
        if let Some(written) = written {
            let liobn = written.try_borrow().map_err(|_| MirrorError::InUse)?.geometry().liobn;
            self.change(liobn, &effects.change)?;
        }
        Ok(())
    }

    fn has(&self, liobn: u32) -> bool {
        self.liobns.contains(&liobn)
    }

    /// Puts a copy of a table on the bus.
    fn add(&self, table: &SharedTable) -> Result<(), MirrorError> {
        let copy = table.try_borrow().map_err(|_| MirrorError::InUse)?.clone();
        self.bus.put_window(copy);
        Ok(())
    }

    /// Does to a copy what was done to its original. One lock over all of it, so that no access sees a part.
    fn change(&self, liobn: u32, change: &Change) -> Result<(), MirrorError> {
        let Some(table) = self.bus.table(liobn) else { return Ok(()) };
        let mut table = table.write().map_err(|_| MirrorError::Poisoned(liobn))?;
        for gone in &change.unmaps {
            if let Some(first) = table.index_of(gone.iova.0) {
                table.clear_range(first, gone.pages);
            }
        }
        change.maps.iter().for_each(|new| store(&mut table, new));
        Ok(())
    }
}

/// Stores the entries of an extent.
fn store(table: &mut TceTable, new: &Extent) {
    let entries: Vec<u64> = (0..u64::from(new.pages))
        .map(|page| new.target.wrapping_add(page << new.page_shift.min(63)).0 | u64::from(new.perm.bits()))
        .collect();
    if let Some(first) = table.index_of(new.iova.0) {
        // Cannot fail: the original holds it, and no budget limits the copy.
        let _ = table.write(first, Values::List(&entries), &mut Change::quiet());
    }
}
