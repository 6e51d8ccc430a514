//! What a guest stores.

use crate::pages::PAGE_SHIFT;

/// What a guest may store for a page. Neighbours that hold the same adjoin, and so make one run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Value {
    /// 0.
    Nothing,
    /// A page that devices read and write.
    A,
    /// Another one, that they only read.
    B,
}

/// Every [`Value`].
pub const VALUES: [Value; 3] = [Value::Nothing, Value::A, Value::B];

impl Value {
    /// The entry of a page.
    #[must_use]
    pub fn tce(self, page: u32) -> u64 {
        let at = |base: u32| u64::from(base + page) << PAGE_SHIFT;
        match self {
            Self::Nothing => 0,
            Self::A => at(0x100) | 3,
            Self::B => at(0x800) | 1,
        }
    }
}
