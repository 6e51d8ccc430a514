//! Keeps the state of a machine as bytes, in a format of its own.

mod error;

use super::effects::Effects;
use super::machine::SpaprMachine;

pub use error::SnapshotError;

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;

impl SpaprMachine {
    /// The state of the machine.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        todo!()
    }

    /// Brings the machine into a saved state.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn restore(&mut self, bytes: &[u8], effects: &mut Effects) -> Result<(), SnapshotError> {
        let _ = (bytes, effects);
        todo!()
    }

    /// A machine as it was saved.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn from_snapshot(bytes: &[u8], entry_limit: u32) -> Result<Self, SnapshotError> {
        let _ = (bytes, entry_limit);
        todo!()
    }
}
