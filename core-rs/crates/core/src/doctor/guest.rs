//! What the guest wants at an address: by its TCE tables, or by what QEMU found in the page tables of another IOMMU.

use super::by_start::ByStart;
use super::host::Target;
use crate::trace::machine::LogMachine;
use crate::trace::rebuilt::Knowledge;
use crate::trace::window::named_table;

/// The most regions that are attached at a time.
const REGIONS: usize = 1 << 12;
/// The most entries that are kept of page tables that are not sPAPR's.
const SHADOW: usize = 1 << 22;

/// What the guest wants at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    /// The log does not tell.
    Unknown,
    /// Nothing.
    Nothing,
    /// A page.
    Page(Target),
}

/// A region of an IOMMU that a container was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Region {
    /// Its LIOBN, or a number made of its name.
    pub(super) id: u64,
    pub(super) liobn: Option<u32>,
    pub(super) start: u64,
    pub(super) last: u64,
}

/// An entry of a page table that is not sPAPR's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    last: u64,
    target: Target,
}

/// The regions that are attached, and entries that only lines of other IOMMUs tell.
#[derive(Debug, Default)]
pub(super) struct Guest {
    pub(super) regions: Vec<Region>,
    /// Names of all regions that ever were, by their numbers.
    names: Vec<(u64, String)>,
    shadow: ByStart<Entry>,
}

/// A number for a region that has no LIOBN: FNV-1a of its name, with a bit that no LIOBN has.
fn number(name: &[u8]) -> u64 {
    let hash = name.iter().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    1 << 32 | u64::from(hash)
}

impl Guest {
    pub(super) fn add(&mut self, name: &[u8], start: u64, last: u64) {
        let liobn = named_table(name);
        let id = liobn.map_or_else(|| number(name), u64::from);
        if self.regions.len() < REGIONS {
            self.regions.push(Region { id, liobn, start, last });
        }
        if self.names.len() < REGIONS && !self.names.iter().any(|(known, _)| *known == id) {
            self.names.push((id, String::from_utf8_lossy(name).into_owned()));
        }
    }

    /// The name of a region, by its number.
    pub(super) fn name(&self, id: u64) -> Option<&str> {
        self.names.iter().find(|(known, _)| *known == id).map(|(_, name)| name.as_str())
    }

    /// The region with a name goes; where several have it, the lowest.
    pub(super) fn remove(&mut self, name: &[u8]) -> Option<Region> {
        let id = named_table(name).map_or_else(|| number(name), u64::from);
        let at = self.regions.iter().position(|region| region.id == id)?;
        Some(self.regions.remove(at))
    }

    /// The region that answers at an address. The higher LIOBN hides the lower.
    #[inline(never)]
    pub(super) fn region(&self, iova: u64) -> Option<&Region> {
        self.regions.iter().filter(|region| (region.start..=region.last).contains(&iova)).max_by_key(|region| region.id)
    }

    /// How many containers hold an address.
    #[inline(never)]
    pub(super) fn containers(&self, iova: u64) -> u32 {
        let count = self.regions.iter().filter(|region| (region.start..=region.last).contains(&iova)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// What the guest wants at an address, and its page as a power of two.
    pub(super) fn wanted(&self, machine: &LogMachine, iova: u64) -> (Wanted, u8) {
        let Some(table) = self.region(iova).and_then(|region| machine.table(region.liobn?)) else {
            return (self.shadowed(iova), 12);
        };
        let geometry = table.geometry();
        let shift = geometry.page_shift;
        let index = table.table().index_of(iova);
        let wanted = match index.map(|index| table.knowledge(index)) {
            None | Some(Knowledge::Unknown) => Wanted::Unknown,
            Some(Knowledge::Page(tce) | Knowledge::Value(tce)) if tce & 3 == 0 => Wanted::Nothing,
            Some(Knowledge::Page(tce) | Knowledge::Value(tce)) => {
                Wanted::Page(Target { page: tce >> shift << shift, perm: Some((tce & 3) as u8) })
            }
        };
        (wanted, shift)
    }

    fn shadowed(&self, iova: u64) -> Wanted {
        match self.shadow.upto(iova) {
            Some((start, entry)) if entry.last >= iova => {
                Wanted::Page(Target { page: entry.target.page.wrapping_add(iova - start), perm: entry.target.perm })
            }
            _ => Wanted::Unknown,
        }
    }

    /// A line shows an entry of another IOMMU. One that is there already keeps the permission that is known.
    pub(super) fn show(&mut self, start: u64, last: u64, page: u64, perm: Option<u8>) {
        if last < start {
            return;
        }
        if perm.is_none() && self.shadow.get(start).is_some_and(|entry| entry.last == last && entry.target.page == page)
        {
            return;
        }
        self.hide(start, last);
        if self.shadow.len() < SHADOW {
            self.shadow.insert(start, Entry { last, target: Target { page, perm } });
        }
    }

    /// Entries of another IOMMU are gone.
    pub(super) fn hide(&mut self, start: u64, last: u64) {
        while let Some((at, entry)) = self.shadow.upto(last) {
            if entry.last < start {
                return;
            }
            self.shadow.remove(at);
        }
    }
}
