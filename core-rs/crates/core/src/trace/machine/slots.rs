//! Finds what stands for a LIOBN.

use crate::tce_table::Geometry;
use crate::trace::rebuilt::RebuiltTable;

/// What stands for a LIOBN now.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a gone table is rare, and a box would be one step more for every line")]
pub(super) enum Place {
    /// A table.
    Table(RebuiltTable),
    /// The window is gone. Where only a reset was guessed, a line that uses it proves the guess wrong.
    Gone { guessed: Option<Geometry> },
}

/// All that is known of one LIOBN.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) liobn: u32,
    pub(super) place: Place,
    /// Pages of it that are counted in its owner's peak.
    pub(super) counted: u64,
    /// The geometry that it has where the guest did not ask for another, if the input says so.
    pub(super) home: Option<Geometry>,
}

impl Slot {
    pub(super) fn table(&self) -> Option<&RebuiltTable> {
        match &self.place {
            Place::Table(table) => Some(table),
            Place::Gone { .. } => None,
        }
    }

    pub(super) fn table_mut(&mut self) -> Option<&mut RebuiltTable> {
        match &mut self.place {
            Place::Table(table) => Some(table),
            Place::Gone { .. } => None,
        }
    }
}

/// The slots of all LIOBNs that were ever seen, in their order. A line mostly is about the LIOBN of the line before it.
#[derive(Debug, Default)]
pub(super) struct Slots {
    list: Vec<Slot>,
    newest: usize,
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    #[inline(never)]
    fn find(&self, liobn: u32) -> Result<usize, usize> {
        self.list.binary_search_by_key(&liobn, |slot| slot.liobn)
    }

    pub(super) fn get(&self, liobn: u32) -> Option<&Slot> {
        match self.list.get(self.newest) {
            Some(slot) if slot.liobn == liobn => Some(slot),
            _ => self.list.get(self.find(liobn).ok()?),
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, liobn: u32) -> Option<&mut Slot> {
        if self.list.get(self.newest).is_none_or(|slot| slot.liobn != liobn) {
            self.newest = self.find(liobn).ok()?;
        }
        self.list.get_mut(self.newest)
    }

    /// Puts something in the place of a LIOBN.
    pub(super) fn put(&mut self, liobn: u32, place: Place) {
        match self.find(liobn) {
            Ok(at) => {
                if let Some(slot) = self.list.get_mut(at) {
                    slot.place = place;
                }
            }
            Err(at) => self.list.insert(at, Slot { liobn, place, counted: 0, home: None }),
        }
    }

    /// In the order of LIOBNs.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.list.iter()
    }
}
