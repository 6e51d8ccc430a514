//! Entries that the guest stored and that reach no memory now.
//!
//! A guest may store any target. What is not RAM is not mapped, but remembered: the memory may appear later (hotplug), and
//! then the entry must reach it. It follows the guest like a map does, without any call on the host.

use crate::address::{Gpa, IovaRange};

use super::host_map::{HostMap, HostMaps, Kind};
use super::refusal::Refusal;
use super::undo::Entry;
use super::{Container, GuestRun};

impl Container {
    /// Remembers a run of entries that reaches no memory now.
    ///
    /// # Errors
    /// [`Refusal::Failed`]; [`Refusal::Overlap`] with a map or with other absent entries.
    pub fn note_absent(&mut self, run: GuestRun, kind: Kind) -> Result<(), Refusal> {
        self.check_live()?;
        self.check_free(run.range)?;
        self.absent.insert(run.unmapped(kind));
        if let Some(journal) = &mut self.journal {
            journal.push(Entry::Noted(run.range));
        }
        Ok(())
    }

    /// The entries that reach no memory now; their permission is none, [`HostMap::asked`] has the guest's.
    #[must_use]
    pub fn absent(&self) -> &HostMaps {
        &self.absent
    }

    /// Memory appeared from `first` to `last`: takes the absent entries that reach it, for the caller to
    /// [`map`](Container::map) or to note again. Grown to whole pages of the host, as memory may come in parts of one.
    pub fn take_absent(&mut self, first: Gpa, last: Gpa) -> Vec<HostMap> {
        let (first, last) = self.limits.memory_hull(first, last);
        let found: Vec<HostMap> = self.absent.iter().filter_map(|map| map.targeting(first, last)).collect();
        for part in &found {
            self.absent.cut(part.range);
        }
        found
    }

    /// The guest removed entries: the absent ones among them as well.
    pub(super) fn forget_absent(&mut self, range: IovaRange) {
        let gone = self.absent.cut(range);
        if !gone.is_empty()
            && let Some(journal) = &mut self.journal
        {
            journal.push(Entry::Forgotten(gone));
        }
    }
}

impl HostMaps {
    /// Takes out what lies in `range`; what the entries have outside stays.
    pub(super) fn cut(&mut self, range: IovaRange) -> Vec<HostMap> {
        let hit: Vec<HostMap> = self.overlapping(range).copied().collect();
        for map in &hit {
            self.remove(map);
            for rest in map.outside(range).into_iter().flatten() {
                self.insert(rest);
            }
        }
        hit.iter().filter_map(|map| map.crop(range)).collect()
    }
}
