//! What a device reaches at a bus address.

use super::machine::SpaprMachine;
use super::memory::GuestMemory;
use super::phb::Phb;
use super::vio::VioDevice;
use crate::address::{Gpa, Iova};
use crate::perm::Perm;
use crate::tce_table::{Geometry, TceTable};

/// Whose bus an address is on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DmaDevice {
    /// Any device on the bus of the bridge with this index.
    Pci(u32),
    /// The VIO device with this unit number.
    Vio(u32),
}

/// What one entry says of an access.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DmaPage {
    /// The table that decides.
    pub liobn: u32,
    /// The address, relative to the start of its window.
    pub offset: u64,
    /// The page that the entry points to, whether or not it allows anything.
    pub page: Gpa,
    /// The guest-physical address of the access.
    pub target: Gpa,
    /// What the device may do.
    pub perm: Perm,
}

/// Where an access goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DmaReach {
    /// Nowhere: no window is there.
    Nothing,
    /// Guest memory, past the table.
    Direct(Gpa),
    /// Where an entry says, if it allows it.
    Page(DmaPage),
}

impl DmaReach {
    /// The address that an access with this permission reaches.
    #[must_use]
    pub fn target(self, wanted: Perm) -> Option<Gpa> {
        match self {
            Self::Nothing => None,
            Self::Direct(target) => Some(target),
            Self::Page(page) => page.perm.allows(wanted).then_some(page.target),
        }
    }
}

/// The first part of an access: as many bytes as have one answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DmaChunk {
    /// How many bytes; not 0 unless none were asked for.
    pub bytes: u64,
    /// Where they go.
    pub reach: DmaReach,
}

impl SpaprMachine {
    /// Where the first bytes of an access go. The rest is another access, from the top of the space on from 0.
    #[must_use]
    pub fn translate(&self, device: DmaDevice, bus: Iova, bytes: u64) -> DmaChunk {
        let to_top = u64::MAX - bus.0;
        let asked = bytes.min(to_top.saturating_add(1));
        let chunk = match device {
            DmaDevice::Pci(index) => self.phb(index).map(|phb| translate_pci(phb, bus, asked)),
            DmaDevice::Vio(unit) => self.vio(unit).map(|vio| translate_vio(vio, bus, asked)),
        };
        chunk.unwrap_or(DmaChunk { bytes: asked, reach: DmaReach::Nothing })
    }

    /// A device reads: page by page, zeros where it may not or where nothing is. Returns whether it reached everything.
    pub fn dma_read(
        &self,
        device: DmaDevice,
        bus: Iova,
        into: &mut [u8],
        memory: &(impl GuestMemory + ?Sized),
    ) -> bool {
        let (mut at, mut rest, mut whole) = (bus, into, true);
        while !rest.is_empty() {
            let chunk = self.translate(device, at, length(rest));
            let (part, more) = rest.split_at_mut(chunk.within(rest.len()));
            if let Some(target) = chunk.reach.target(Perm::READ) {
                whole &= memory.read(target, part);
            } else {
                part.fill(0);
                whole = false;
            }
            (at, rest) = (Iova(at.0.wrapping_add(length(part))), more);
        }
        whole
    }

    /// A device writes: page by page, nothing where it may not or where nothing is. Returns whether it reached
    /// everything.
    pub fn dma_write(
        &self,
        device: DmaDevice,
        bus: Iova,
        bytes: &[u8],
        memory: &mut (impl GuestMemory + ?Sized),
    ) -> bool {
        let (mut at, mut rest, mut whole) = (bus, bytes, true);
        while !rest.is_empty() {
            let chunk = self.translate(device, at, length(rest));
            let (part, more) = rest.split_at(chunk.within(rest.len()));
            whole &= chunk.reach.target(Perm::WRITE).is_some_and(|target| memory.write(target, part));
            (at, rest) = (Iova(at.0.wrapping_add(length(part))), more);
        }
        whole
    }
}

impl DmaChunk {
    /// The chunk's length as part of a buffer of this length; at least 1, so that every transfer ends.
    fn within(&self, length: usize) -> usize {
        usize::try_from(self.bytes).unwrap_or(length).clamp(1, length)
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The window of the higher LIOBN hides the lower, also where its own entry allows nothing.
fn translate_pci(phb: &Phb, bus: Iova, asked: u64) -> DmaChunk {
    let mut bytes = asked;
    for table in phb.slots().iter().rev().filter_map(|slot| slot.table()) {
        let Ok(table) = table.try_borrow() else { continue };
        if let Some(chunk) = in_window(&table, bus, bytes) {
            return chunk;
        }
        let start = table.geometry().bus_offset.0;
        if start > bus.0 {
            bytes = bytes.min(start - bus.0);
        }
    }
    DmaChunk { bytes, reach: DmaReach::Nothing }
}

fn translate_vio(vio: &VioDevice, bus: Iova, asked: u64) -> DmaChunk {
    if vio.bypass() {
        return DmaChunk { bytes: asked, reach: DmaReach::Direct(Gpa(bus.0)) };
    }
    let found = vio.table().try_borrow().ok().and_then(|table| in_window(&table, bus, asked));
    found.unwrap_or(DmaChunk { bytes: asked, reach: DmaReach::Nothing })
}

/// What a table says of the bytes up to the end of an entry's page; `None` outside its window.
fn in_window(table: &TceTable, bus: Iova, asked: u64) -> Option<DmaChunk> {
    let Geometry { liobn, bus_offset, .. } = table.geometry();
    let offset = bus.0.checked_sub(bus_offset.0)?;
    let found = table.translate(offset)?;
    let mask = (1u64 << found.page_shift.min(63)) - 1;
    let left = (mask - (offset & mask)) + 1;
    let page = found.target;
    let reach = DmaPage { liobn, offset, page, target: Gpa(page.0 | offset & mask), perm: found.perm };
    Some(DmaChunk { bytes: asked.min(left), reach: DmaReach::Page(reach) })
}
