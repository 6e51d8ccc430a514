//! What must be come across.

/// What a model that checks anything comes across: none of these may be missing at the end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sight {
    /// A refused MAP was undone without a trace.
    Undone,
    /// What a refused call took away could not be put back.
    Lost,
    /// A rollback could not take away what was new.
    UndoFailed,
    /// A host did not unmap what the guest removed.
    UnmapFailed,
    /// A host did not map the rest of a map again.
    RestFailed,
    /// A device could not be stopped.
    QuiesceFailed,
    /// The core refused before any call on the host: its limit was reached.
    LimitReached,
    /// An attach failed and left nothing.
    AttachRefused,
    /// An attach failed and could not be undone.
    AttachStuck,
    /// A device left in the middle of its replay.
    LeftEarly,
    /// A guest write behind the position of a replay, told live.
    WriteBehind,
    /// A guest write ahead of it, left to the walk.
    WriteAhead,
    /// One run of a guest write on both sides of it.
    Straddles,
    /// A section shrank in the middle of its replay.
    ShrinkEarly,
    /// A refused change of the memory map was told back.
    ToldBack,
    /// What it had taken away could not be put back.
    GaveUp,
}

/// Every [`Sight`].
pub const SIGHTS: [Sight; 16] = [
    Sight::Undone,
    Sight::Lost,
    Sight::UndoFailed,
    Sight::UnmapFailed,
    Sight::RestFailed,
    Sight::QuiesceFailed,
    Sight::LimitReached,
    Sight::AttachRefused,
    Sight::AttachStuck,
    Sight::LeftEarly,
    Sight::WriteBehind,
    Sight::WriteAhead,
    Sight::Straddles,
    Sight::ShrinkEarly,
    Sight::ToldBack,
    Sight::GaveUp,
];
