//! What a doctor finds: findings of one kind and one cause, together with where and when.

mod collect;
mod ranges;

use crate::trace::kind::Kind;

pub(super) use collect::{Findings, News};
pub use ranges::Ranges;

/// The kinds of finding. Their numbers are what façades know them by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum FindingKind {
    /// An entry was changed in place, and the host still has the old page.
    StaleMapping,
    /// The host maps the right page with another permission than the guest's.
    WrongPermission,
    /// The guest has a page mapped, and the host does not.
    MappingMissing,
    /// The host holds what was to be unmapped.
    LeftBehind,
    /// The host holds what nobody told it to map.
    Unexplained,
    /// Two bus addresses that go to one page of the guest go to two pages of the host.
    WrongTarget,
    /// A replay to a newcomer failed in part, and the hotplug went on.
    HotplugIncomplete,
    /// The host holds as many mappings as it may.
    MappingLimit,
    /// It holds nearly as many.
    LimitNear,
    /// A device was refused an address that the guest has mapped.
    FaultMapped,
    /// A device was refused an address that nobody mapped.
    FaultUnmapped,
    /// A map was refused since something is mapped there, and the log does not tell whether it is the same.
    ChangeUnproved,
    /// An entry points to what is no memory.
    NotMemory,
    /// QEMU told of a failure that no line of its log explains.
    FailureUnmatched,
    /// A device may read what the guest lets it write only.
    PermissionWidened,
    /// Nothing was there to unmap.
    UnmapWithoutEffect,
    /// Maps that adjoin, which one call could have made.
    MapsAdjoin,
    /// A replay walked a window that is nearly empty.
    ReplayEmpty,
    /// No map of a window succeeded: it lies where the host translates nothing.
    WindowOutside,
    /// The host's pages are larger than the guest's.
    PageTooFine,
}

/// What a finding rests on, weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Proof {
    /// The kernel's rules, applied to the calls that QEMU made.
    Derived,
    /// QEMU's own log.
    Log,
    /// What QEMU printed.
    Stderr,
    /// The kernel's log.
    Kernel,
}

/// The log that a line number is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Source {
    /// QEMU's log.
    Log,
    /// The kernel's log.
    Kernel,
    /// QEMU's standard error.
    Stderr,
}

/// The line that made QEMU act: a guest's call, or what a walk of its page table found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Call {
    /// What kind of event.
    pub kind: Kind,
    /// Its line.
    pub line: u64,
    /// Its numbers.
    pub fields: [u64; 8],
}

/// One stretch of a finding: between a hotplug and an unplug.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Round {
    /// The number of the hotplug, from 1; 0 before the first.
    pub hotplug: u32,
    /// The line where it begins.
    pub first: u64,
    /// The last line where it was so.
    pub last: u64,
    /// How many operations.
    pub count: u64,
    /// How many host calls could have been saved.
    pub saved: u64,
}

/// What of a finding is shown by one page: the first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Example {
    /// The bus address.
    pub iova: u64,
    /// What the guest's entry said before, or the other bus address of [`FindingKind::WrongTarget`].
    pub before: Option<u64>,
    /// What it says now: page and permission.
    pub now: Option<u64>,
    /// Where the host goes.
    pub host: Option<u64>,
    /// Where the host goes at the other bus address, or where QEMU has the memory.
    pub other: Option<u64>,
    /// The line that mapped what is there.
    pub held_since: u64,
    /// The kernel's line.
    pub kernel: u64,
    /// The line on standard error.
    pub stderr: u64,
}

/// All that is told of one finding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// The error number with which the host refused, positive; 0 where it is not known, -1 where QEMU did not ask.
    pub errno: i32,
    /// The LIOBN of the window, or a number that stands for another region; all ones for none.
    pub window: u64,
    /// The log that `first` and `last` are lines of.
    pub source: Source,
    /// The line where it begins.
    pub first: u64,
    /// The last line where it was so.
    pub last: u64,
    /// Operations whose finding has not ended.
    pub open: u64,
    /// Operations.
    pub count: u64,
    /// Those of them that were part of a replay.
    pub replayed: u64,
    /// Host calls that could have been saved.
    pub saved: u64,
    /// Pages, each counted once.
    pub pages: u64,
    /// Where.
    pub ranges: Ranges,
    /// Pages as a power of two.
    pub page_shift: u8,
    /// The first page.
    pub example: Example,
    /// The line that caused the first.
    pub call: Option<Call>,
    /// Lines that caused some of it.
    pub calls: u64,
    newest_call: u64,
    /// What it rests on.
    pub proof: Proof,
    /// By hotplugs.
    pub rounds: Vec<Round>,
    /// Something to count that is particular to the kind: mappings at the limit, entries walked, microseconds.
    pub measure: [u64; 3],
}
