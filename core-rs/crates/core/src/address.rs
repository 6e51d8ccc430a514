//! Addresses and inclusive ranges of addresses.

use core::fmt;

/// An I/O virtual address: what a device puts on the bus, and what a guest-visible IOMMU translates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Iova(pub u64);

/// A guest-physical address: where a guest's IOMMU entry points to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Gpa(pub u64);

impl Iova {
    /// The address `bytes` further on, or `None` past the top of the 64-bit space.
    #[must_use]
    pub fn checked_add(self, bytes: u64) -> Option<Self> {
        self.0.checked_add(bytes).map(Self)
    }
}

impl Gpa {
    /// The address `bytes` further on; wraps, because a guest may store any 64 bits as a target.
    #[must_use]
    pub fn wrapping_add(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

impl From<u64> for Iova {
    fn from(address: u64) -> Self {
        Self(address)
    }
}

impl From<Iova> for u64 {
    fn from(address: Iova) -> Self {
        address.0
    }
}

impl fmt::Display for Iova {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::LowerHex for Iova {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

impl From<u64> for Gpa {
    fn from(address: u64) -> Self {
        Self(address)
    }
}

impl From<Gpa> for u64 {
    fn from(address: Gpa) -> Self {
        address.0
    }
}

impl fmt::Display for Gpa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::LowerHex for Gpa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// A range of I/O virtual addresses with both ends included, so that the top of the 64-bit space can be said.
///
/// ```
/// use giommu_core::address::{Iova, IovaRange};
///
/// let page = IovaRange::from_length(Iova(0x1000), 0xfff).expect("below the top");
/// assert_eq!(page.to_string(), "0x1000..=0x1fff");
/// assert!(page.is_aligned(12) && IovaRange::ALL.covers(page));
/// assert_eq!(IovaRange::new(Iova(2), Iova(1)), None, "the last address lies below the first");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IovaRange {
    start: Iova,
    last: Iova,
}

impl IovaRange {
    /// All 2^64 addresses.
    pub const ALL: Self = Self { start: Iova(0), last: Iova(u64::MAX) };

    /// The range from `start` to `last`, both included; `None` if `last` lies below `start`.
    #[must_use]
    pub fn new(start: Iova, last: Iova) -> Option<Self> {
        (start <= last).then_some(Self { start, last })
    }

    /// The range of `length_minus_1 + 1` bytes from `start`; `None` if it would pass the top of the space.
    ///
    /// The length is given less one so that 2^64 bytes can be said.
    #[must_use]
    pub fn from_length(start: Iova, length_minus_1: u64) -> Option<Self> {
        start.checked_add(length_minus_1).map(|last| Self { start, last })
    }

    /// The first address.
    #[must_use]
    pub fn start(self) -> Iova {
        self.start
    }

    /// The last address, included.
    #[must_use]
    pub fn last(self) -> Iova {
        self.last
    }

    /// Bytes in the range, less one (2^64 bytes do not fit 64 bits).
    #[must_use]
    pub fn length_minus_1(self) -> u64 {
        self.last.0 - self.start.0
    }

    /// Whether `address` lies inside.
    #[must_use]
    pub fn contains(self, address: Iova) -> bool {
        self.start <= address && address <= self.last
    }

    /// Whether all of `other` lies inside.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.last <= self.last
    }

    /// What both ranges share; `None` if nothing.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.last.min(other.last))
    }

    /// Whether both ends fall on boundaries of `1 << shift` bytes; shifts of 64 and more mean all of the space.
    #[must_use]
    pub fn is_aligned(self, shift: u32) -> bool {
        let mask = 1u64.checked_shl(shift).map_or(u64::MAX, |page| page - 1);
        self.start.0 & mask == 0 && self.last.0 & mask == mask
    }
}

impl fmt::Display for IovaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.start, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_can_be_the_whole_64_bit_space() {
        let all = IovaRange::from_length(Iova(0), u64::MAX).expect("whole space");
        assert_eq!(all, IovaRange::ALL);
        assert!(all.is_aligned(63));
        assert!(all.is_aligned(64));
        assert!(all.contains(Iova(u64::MAX)));
    }

    #[test]
    fn a_range_never_wraps() {
        assert_eq!(IovaRange::from_length(Iova(1), u64::MAX), None);
        assert_eq!(IovaRange::new(Iova(2), Iova(1)), None);
    }

    #[test]
    fn intersection_is_what_both_share() {
        let a = IovaRange::new(Iova(0x1000), Iova(0x2fff)).expect("range");
        let b = IovaRange::new(Iova(0x2000), Iova(0x8fff)).expect("range");
        assert_eq!(a.intersection(b), IovaRange::new(Iova(0x2000), Iova(0x2fff)));
        let c = IovaRange::new(Iova(0x3000), Iova(0x3000)).expect("range");
        assert_eq!(a.intersection(c), None);
    }
}
