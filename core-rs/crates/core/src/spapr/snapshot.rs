//! Keeps the state of a machine as bytes, in a format of its own.
//!
//! A snapshot is the magic, the version (4 bytes), the length of all of it (8), the devices, and a checksum of all that
//! comes before (4); every number is little-endian. Of a bridge it has index, options, and for every place of a window
//! whether it counts as the default one's, whether there is a window, and where it lies; of a VIO device unit, options
//! and bypass; each window is followed by its entries (`entries.rs`). Devices are in ascending order. The length
//! follows what is stored, in runs, and not what could be.

mod checksum;
mod entries;
mod error;
mod fields;
mod saved;
#[cfg(test)]
mod tests;

use super::config::{PhbConfig, VioConfig};
use super::effects::Effects;
use super::machine::SpaprMachine;
use super::phb::Phb;
use super::vio::VioDevice;
use checksum::crc32;
use entries::put_entries;
use fields::put;
use saved::Saved;

pub use error::SnapshotError;

/// How a snapshot begins. What follows the name shows a transfer as text.
const MAGIC: [u8; 8] = *b"GIOMMU\r\n";
/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;
/// Bytes before the devices: magic, version, length.
const HEAD: usize = 20;
/// Bytes after them.
const CHECKSUM: usize = 4;

impl SpaprMachine {
    /// The state of the machine: every entry with all its bits, where calls began, windows, which place counts as the
    /// default window's, bypass; and the options that its devices were built from.
    ///
    /// Machines in the same state give the same bytes.
    ///
    /// # Panics
    /// If the caller itself is changing a table meanwhile.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        put(&mut bytes, &VERSION.to_le_bytes());
        // The length, which is not known yet.
        put(&mut bytes, &[0; 8]);
        put(&mut bytes, &count(self.phbs().count()).to_le_bytes());
        self.phbs().for_each(|phb| put_phb(&mut bytes, phb));
        put(&mut bytes, &count(self.vios().count()).to_le_bytes());
        self.vios().for_each(|device| put_vio(&mut bytes, device));
        let length = u64::try_from(bytes.len() + CHECKSUM).unwrap_or(u64::MAX);
        if let Some(field) = bytes.get_mut(HEAD - 8..HEAD) {
            field.copy_from_slice(&length.to_le_bytes());
        }
        let checksum = crc32(&bytes);
        put(&mut bytes, &checksum.to_le_bytes());
        bytes
    }

    /// Brings the machine into a saved state. It must have the devices that the saved one had, with the same options.
    ///
    /// Windows that lie where they did keep their tables, and handles to those live on.
    ///
    /// # Errors
    /// [`SnapshotError`]; the machine is then as it was, and there are no effects.
    pub fn restore(&mut self, bytes: &[u8], effects: &mut Effects) -> Result<(), SnapshotError> {
        effects.clear();
        let saved = Saved::read(bytes, self.entry_limit())?;
        self.check_devices(&saved)?;
        if let Some(liobn) = self.table_in_use() {
            return Err(SnapshotError::InUse(liobn));
        }
        self.assume(saved.tables, effects);
        Ok(())
    }

    /// A machine as it was saved, whose tables together store at most `entry_limit` entries that are not zero.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn from_snapshot(bytes: &[u8], entry_limit: u32) -> Result<Self, SnapshotError> {
        let saved = Saved::read(bytes, entry_limit)?;
        let unsound = |_| SnapshotError::Inconsistent("a device can not be part of a machine");
        let mut machine = Self::new(entry_limit);
        for config in saved.phbs {
            machine.add_phb(config).map_err(unsound)?;
        }
        for config in saved.vios {
            machine.add_vio(config).map_err(unsound)?;
        }
        machine.assume(saved.tables, &mut Effects::quiet());
        Ok(machine)
    }

    /// Whether a snapshot is of a machine like this one.
    fn check_devices(&self, saved: &Saved) -> Result<(), SnapshotError> {
        let phbs = || self.phbs().map(Phb::config);
        if let Some((index, saved)) = odd_one(phbs().map(|phb| phb.index), saved.phbs.iter().map(|phb| phb.index)) {
            return Err(SnapshotError::Bridge { index, saved });
        }
        let vios = || self.vios().map(VioDevice::config);
        if let Some((unit, saved)) = odd_one(vios().map(|vio| vio.unit), saved.vios.iter().map(|vio| vio.unit)) {
            return Err(SnapshotError::Device { unit, saved });
        }
        phbs().zip(&saved.phbs).try_for_each(|(machine, saved)| check_phb(machine, saved))?;
        vios().zip(&saved.vios).try_for_each(|(machine, saved)| check_vio(machine, saved))
    }
}

/// The bytes between the head and the checksum, if both are right.
fn body(bytes: &[u8]) -> Result<&[u8], SnapshotError> {
    let actual = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let shortest = u64::try_from(HEAD + CHECKSUM).unwrap_or(u64::MAX);
    if !bytes.iter().zip(&MAGIC).all(|(byte, magic)| byte == magic) {
        return Err(SnapshotError::Magic);
    }
    let cut = || SnapshotError::Cut { expected: shortest, actual };
    let (_, rest) = bytes.split_first_chunk::<{ MAGIC.len() }>().ok_or_else(cut)?;
    let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    let version = u32::from_le_bytes(*version);
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let (length, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
    let expected = u64::from_le_bytes(*length).max(shortest);
    if actual < expected {
        return Err(SnapshotError::Cut { expected, actual });
    }
    if actual > expected {
        return Err(SnapshotError::Inconsistent("bytes follow its end"));
    }
    let (body, checksum) = rest.split_last_chunk::<CHECKSUM>().ok_or(SnapshotError::Inconsistent(fields::ENDS))?;
    let expected = u32::from_le_bytes(*checksum);
    let actual = crc32(bytes.get(..bytes.len() - CHECKSUM).unwrap_or_default());
    if actual != expected {
        return Err(SnapshotError::Checksum { expected, actual });
    }
    Ok(body)
}

/// Indexes and units have 32 bits, so there are no more devices.
fn count(devices: usize) -> u32 {
    u32::try_from(devices).unwrap_or(u32::MAX)
}

fn put_phb(bytes: &mut Vec<u8>, phb: &Phb) {
    let PhbConfig { index, ddw, pgsz, dma_win_addr, dma_win_size, dma64_win_addr } = *phb.config();
    put(bytes, &index.to_le_bytes());
    put(bytes, &[u8::from(ddw)]);
    for option in [pgsz, dma_win_addr.0, dma_win_size, dma64_win_addr.0] {
        put(bytes, &option.to_le_bytes());
    }
    for slot in phb.slots() {
        put(bytes, &[u8::from(slot.is_default()) | u8::from(slot.table().is_some()) << 1]);
        if let Some(table) = slot.table() {
            let table = table.borrow();
            let window = table.geometry();
            put(bytes, &window.bus_offset.0.to_le_bytes());
            put(bytes, &[window.page_shift]);
            put(bytes, &window.entries.to_le_bytes());
            put_entries(bytes, &table);
        }
    }
}

fn put_vio(bytes: &mut Vec<u8>, device: &VioDevice) {
    let VioConfig { unit, window_size } = *device.config();
    put(bytes, &unit.to_le_bytes());
    put(bytes, &window_size.to_le_bytes());
    put(bytes, &[u8::from(device.bypass())]);
    put_entries(bytes, &device.table().borrow());
}

/// The first number that only one of two ascending lists has, and whether it is the second.
fn odd_one(machine: impl Iterator<Item = u32>, saved: impl Iterator<Item = u32>) -> Option<(u32, bool)> {
    let (mut machine, mut saved) = (machine.fuse(), saved.fuse());
    loop {
        match (machine.next(), saved.next()) {
            (Some(one), Some(other)) if one == other => {}
            (Some(one), Some(other)) => return Some((one.min(other), other < one)),
            (Some(one), None) => return Some((one, false)),
            (None, Some(other)) => return Some((other, true)),
            (None, None) => return None,
        }
    }
}

fn check_phb(machine: &PhbConfig, saved: &PhbConfig) -> Result<(), SnapshotError> {
    let options = |phb: &PhbConfig| {
        [
            ("ddw", u64::from(phb.ddw)),
            ("pgsz", phb.pgsz),
            ("dma_win_addr", phb.dma_win_addr.0),
            ("dma_win_size", phb.dma_win_size),
            ("dma64_win_addr", phb.dma64_win_addr.0),
        ]
    };
    let differing = options(machine).into_iter().zip(options(saved)).find(|(machine, saved)| machine != saved);
    differing.map_or(Ok(()), |((option, machine_has), (_, saved_has))| {
        Err(SnapshotError::BridgeOption { index: machine.index, option, machine: machine_has, saved: saved_has })
    })
}

fn check_vio(machine: &VioConfig, saved: &VioConfig) -> Result<(), SnapshotError> {
    if machine == saved {
        return Ok(());
    }
    let (machine, saved, unit) = (machine.window_size, saved.window_size, machine.unit);
    Err(SnapshotError::DeviceOption { unit, option: "window_size", machine, saved })
}
