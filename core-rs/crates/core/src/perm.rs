//! What a device may do at an address.

use core::fmt;

/// The permission of a mapping: bit 0 lets a device read, bit 1 lets it write.
///
/// The values agree with the low bits of an sPAPR TCE (PAPR, TCE format) and with QEMU's `IOMMUAccessFlags`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Perm(u8);

impl Perm {
    /// No access: nothing is mapped.
    pub const NONE: Self = Self(0);
    /// A device may read.
    pub const READ: Self = Self(1);
    /// A device may write.
    pub const WRITE: Self = Self(2);
    /// A device may read and write.
    pub const READ_WRITE: Self = Self(3);

    /// The permission that the two low bits of `bits` say; every other bit is ignored.
    #[must_use]
    #[inline]
    pub fn from_bits(bits: u64) -> Self {
        Self((bits & 3) as u8)
    }

    /// The two bits.
    #[must_use]
    #[inline]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Whether nothing is allowed.
    #[must_use]
    #[inline]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether everything that `wanted` says is allowed.
    ///
    /// ```
    /// use giommu_core::perm::Perm;
    ///
    /// assert!(Perm::READ_WRITE.allows(Perm::READ) && Perm::READ.allows(Perm::NONE));
    /// assert!(!Perm::READ.allows(Perm::READ_WRITE));
    /// ```
    #[must_use]
    pub fn allows(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// Whether a device may read.
    #[must_use]
    pub fn reads(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether a device may write.
    #[must_use]
    pub fn writes(self) -> bool {
        self.0 & 2 != 0
    }
}

impl fmt::Display for Perm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "--",
            1 => "r-",
            2 => "-w",
            _ => "rw",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_low_bits_count() {
        assert_eq!(Perm::from_bits(0xffff_ffff_ffff_fffd), Perm::READ);
        assert_eq!(Perm::from_bits(4), Perm::NONE);
        assert!(Perm::WRITE.writes() && !Perm::WRITE.reads());
    }
}
