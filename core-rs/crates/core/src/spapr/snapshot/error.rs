//! Why a snapshot is refused.

/// Why a snapshot is refused. The machine is then as it was.
#[derive(Clone, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The bytes do not begin as a snapshot does.
    #[error("the bytes are no snapshot of a machine")]
    Magic,
    /// Another version wrote it.
    #[error("the snapshot has version {0}, and only version {version} is known", version = super::VERSION)]
    Version(u32),
    /// Bytes are missing at its end.
    #[error("the snapshot has {actual} of {expected} bytes")]
    Cut {
        /// How many bytes it says that it has.
        expected: u64,
        /// How many there are.
        actual: u64,
    },
    /// Bytes were changed.
    #[error("the checksum of the snapshot is {actual:#010x} where it says {expected:#010x}")]
    Checksum {
        /// What the snapshot says.
        expected: u32,
        /// What its bytes have.
        actual: u32,
    },
    /// Nobody can have written it.
    #[error("the snapshot contradicts itself: {0}")]
    Inconsistent(&'static str),
    /// It is of a machine with another bridge, or without one.
    #[error("bridge {index} is part of {has} alone", has = if *saved { "the snapshot" } else { "the machine" })]
    Bridge {
        /// Which bridge.
        index: u32,
        /// Whether the snapshot has it and the machine has not; otherwise it is the other way round.
        saved: bool,
    },
    /// It is of a machine with another VIO device, or without one.
    #[error("VIO device {unit:#x} is part of {has} alone", has = if *saved { "the snapshot" } else { "the machine" })]
    Device {
        /// Which device.
        unit: u32,
        /// Whether the snapshot has it and the machine has not; otherwise it is the other way round.
        saved: bool,
    },
    /// A bridge was built with another option.
    #[error("bridge {index} has {option} {machine:#x}, and {saved:#x} in the snapshot")]
    BridgeOption {
        /// Which bridge.
        index: u32,
        /// The name of a field of [`PhbConfig`](crate::spapr::PhbConfig).
        option: &'static str,
        /// Its value in the machine.
        machine: u64,
        /// Its value in the snapshot.
        saved: u64,
    },
    /// A VIO device was built with another option.
    #[error("VIO device {unit:#x} has {option} {machine:#x}, and {saved:#x} in the snapshot")]
    DeviceOption {
        /// Which device.
        unit: u32,
        /// The name of a field of [`VioConfig`](crate::spapr::VioConfig).
        option: &'static str,
        /// Its value in the machine.
        machine: u64,
        /// Its value in the snapshot.
        saved: u64,
    },
    /// It holds more entries than the machine may.
    #[error("the snapshot holds more than {limit} entries that are not zero")]
    EntryLimit {
        /// How many the machine may store.
        limit: u32,
    },
    /// The caller itself holds a borrow of a table that is to change.
    #[error("the table of LIOBN {0:#x} is in use")]
    InUse(u32),
}
