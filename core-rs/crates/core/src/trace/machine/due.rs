//! What is to be seen to between two lines.

/// What a machine is still to see to before it reads the next line, a bit each: nearly every line leaves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Due(u8);

impl Due {
    pub(super) const TOPOLOGY: Self = Self(1);
    pub(super) const CHANGE: Self = Self(2);
    pub(super) const HOTPLUG: Self = Self(4);
    pub(super) const UNPLUG: Self = Self(8);
    /// What is known of a table takes more memory than it did.
    pub(super) const CROWDED: Self = Self(16);

    #[inline]
    pub(super) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// Whether there is a reason to stop.
    pub(super) fn stops(self) -> bool {
        self.0 & !Self::CROWDED.0 != 0
    }

    #[inline]
    pub(super) fn set(&mut self, due: Self, on: bool) {
        self.0 |= if on { due.0 } else { 0 };
    }

    /// Takes one out; returns whether it was there.
    pub(super) fn take(&mut self, due: Self) -> bool {
        let had = self.0 & due.0 != 0;
        self.0 &= !due.0;
        had
    }
}
