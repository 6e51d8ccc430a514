//! The history of one address: what the guest, QEMU and the host did there.

use super::Doctor;
use super::guest::Wanted;
use crate::trace::hotplug::LiveCall;
use crate::trace::kind::Kind;
use crate::trace::parser::Record;

/// The most moments that are kept; later ones are counted only.
const MOST: usize = 1000;

/// What happened at an address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Moment {
    /// A guest's call, or an entry that another IOMMU's line tells. Value: the entry, 0 for none, all ones for one that the log
    /// does not tell.
    Called(Kind),
    /// A line showed what the entry is. Value: the entry.
    Learned,
    /// QEMU told its listeners. Values: first and last address.
    Told {
        /// That something is mapped, else that it is not.
        map: bool,
    },
    /// The host mapped it. Value: where, all ones if that is not known.
    HostMapped,
    /// The host refused to. Values: the error number, [`Proof`](super::finding::Proof).
    HostRefused,
    /// The host unmapped it. Value: bytes.
    HostUnmapped,
    /// There was nothing to unmap.
    NothingToUnmap,
    /// The host kept it though it was to be unmapped. Values as [`Moment::HostRefused`].
    HostKept,
    /// A container got the region. Value: its LIOBN or number.
    Attached,
    /// A container lost it.
    Detached,
    /// A device was refused. Value: the fault's flags.
    Faulted,
}

impl Moment {
    /// The number that façades know it by.
    #[must_use]
    pub fn code(self) -> u64 {
        match self {
            Self::Called(_) => 0,
            Self::Learned => 1,
            Self::Told { map: true } => 2,
            Self::Told { map: false } => 3,
            Self::HostMapped => 4,
            Self::HostRefused => 5,
            Self::HostUnmapped => 6,
            Self::NothingToUnmap => 7,
            Self::HostKept => 8,
            Self::Attached => 9,
            Self::Detached => 10,
            Self::Faulted => 11,
        }
    }
}

/// Something that happened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Happened {
    /// The line of QEMU's log, or the newest one then.
    pub line: u64,
    /// What.
    pub moment: Moment,
    /// See [`Moment`].
    pub value: u64,
    /// The second value.
    pub more: u64,
    /// The kernel's line, 0 for none.
    pub kernel: u64,
    /// The line on standard error, 0 for none.
    pub stderr: u64,
}

/// What happened at the address that was asked for.
#[derive(Debug)]
pub(super) struct History {
    iova: Option<u64>,
    list: Vec<Happened>,
    count: u64,
    entry: Option<u64>,
}

impl History {
    pub(super) fn new(iova: Option<u64>) -> Self {
        Self { iova, list: Vec::new(), count: 0, entry: None }
    }

    #[inline]
    pub(super) fn is_at(&self, start: u64, last: u64) -> bool {
        self.iova.is_some_and(|iova| start <= iova && iova <= last)
    }

    #[inline(never)]
    pub(super) fn log(&mut self, line: u64, moment: Moment, value: u64, more: u64) {
        self.on_host(line, moment, value, more, 0, 0);
    }

    #[inline(never)]
    pub(super) fn on_host(&mut self, line: u64, moment: Moment, value: u64, more: u64, kernel: u64, stderr: u64) {
        self.count += 1;
        if self.list.len() < MOST {
            self.list.push(Happened { line, moment, value, more, kernel, stderr });
        }
    }

    pub(super) fn list(&self) -> (&[Happened], u64) {
        (&self.list, self.count)
    }
}

impl Doctor {
    /// The guest's entry at the address that was asked for, as it is now.
    fn entry(&self) -> Option<u64> {
        let iova = self.history.iova?;
        match self.guest.wanted(&self.machine, iova) {
            (Wanted::Page(target), _) => Some(target.page | u64::from(target.perm.unwrap_or(0))),
            (Wanted::Nothing, _) => Some(0),
            (Wanted::Unknown, _) => None,
        }
    }

    /// A line may have shown the entry.
    #[inline]
    pub(super) fn history_learned(&mut self, record: &Record<'_>) {
        if self.history.iova.is_none() {
            return;
        }
        let entry = self.entry();
        if entry.is_some() && entry != self.history.entry {
            self.history.entry = entry;
            self.history.log(record.line, Moment::Learned, entry.unwrap_or(0), 0);
        }
    }

    /// A guest's call may have changed the entry.
    pub(super) fn history_called(&mut self, record: &Record<'_>, live: Option<&LiveCall>) {
        if self.history.iova.is_none() {
            return;
        }
        let found;
        let live = match live {
            Some(live) => Some(live),
            None => {
                found = self.machine.live_call(record);
                found.as_ref()
            }
        };
        let Some(live) = live else { return };
        let start = live.range.start().0;
        let last = live.range.last().0;
        let attached = self.guest.regions.is_empty()
            || self
                .history
                .iova
                .and_then(|iova| self.guest.region(iova))
                .is_some_and(|region| region.liobn == Some(live.liobn));
        if !self.history.is_at(start, last) || !attached || !crate::trace::window::is_pci(live.liobn) {
            return;
        }
        let entry = if self.guest.regions.is_empty() { self.entry_of(live.liobn) } else { self.entry() };
        self.history.entry = entry;
        self.history.log(record.line, Moment::Called(record.kind), entry.unwrap_or(u64::MAX), u64::from(live.liobn));
    }

    /// The entry at the address in a table that is not attached.
    fn entry_of(&self, liobn: u32) -> Option<u64> {
        use crate::trace::rebuilt::Knowledge;
        let table = self.machine.table(liobn)?;
        let index = table.table().index_of(self.history.iova?)?;
        match table.knowledge(index) {
            Knowledge::Unknown => None,
            Knowledge::Page(tce) | Knowledge::Value(tce) => Some(tce),
        }
    }
}
