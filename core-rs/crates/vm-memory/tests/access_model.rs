//! Random guests and devices, compared byte by byte with a plain model.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

use std::collections::BTreeMap;

use giommu_core::address::Iova;
use giommu_core::hcall::{H_SUCCESS, h_put_tce_indirect, h_stuff_tce};
use giommu_core::tce_table::{Change, Geometry, TceTable};
use giommu_vm_memory::TceIommu;
use proptest::prelude::*;
use vm_memory::iommu::{Error as IommuError, IommuMemory};
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryError, GuestMemoryMmap, Permissions};

/// Bytes of RAM.
const RAM: u64 = 0x8000;
/// Where the windows may lie: they adjoin, overlap or leave gaps, and one ends at the top of the space.
const STARTS: [u64; 5] = [0x1000, 0x3000, 0x5000, 0x1_0000, u64::MAX - 0x7fff];
/// LIOBNs of windows.
const LIOBNS: u32 = 3;
/// Entries of the largest window; more than two leaves.
const ENTRIES: u32 = 1040;

#[derive(Clone, Debug)]
enum Step {
    Add { liobn: u32, start: usize, page_shift: u8, entries: u32 },
    Remove { liobn: u32 },
    List { liobn: u32, index: u32, list: Vec<u64> },
    Stuff { liobn: u32, index: u32, tce: u64, pages: u32 },
    Write { iova: u64, bytes: Vec<u8> },
    Read { iova: u64, length: usize },
    Check { iova: u64, length: usize, access: u8 },
}

/// A window whose entries are a list.
#[derive(Debug)]
struct Plain {
    start: u64,
    page_shift: u8,
    entries: Vec<u64>,
}

/// What a byte reaches, address by address.
#[derive(Debug, Default)]
struct Model {
    windows: BTreeMap<u32, Plain>,
    ram: Vec<u8>,
}

impl Model {
    /// Where a byte goes; `None` if the access may not go there.
    fn target(&self, iova: u64, access: u64) -> Option<u64> {
        let seen = self.windows.values().rev().find_map(|window| {
            let offset = iova.checked_sub(window.start)?;
            let tce = window.entries.get(usize::try_from(offset >> window.page_shift).ok()?)?;
            Some((*tce, (1u64 << window.page_shift) - 1, offset))
        });
        let (tce, mask, offset) = seen?;
        (tce & 3 != 0 && tce & access == access).then_some((tce & !mask) | (offset & mask))
    }

    /// Whether all of an access is allowed, or the first address at which it is not.
    fn targets(&self, iova: u64, length: usize, access: u64) -> Result<Vec<u64>, u64> {
        if iova.checked_add(length as u64).is_none() {
            return Err(iova);
        }
        (0..length as u64).map(|at| self.target(iova + at, access).ok_or(iova + at)).collect()
    }

    fn byte(&mut self, at: u64) -> Option<&mut u8> {
        self.ram.get_mut(usize::try_from(at).ok()?)
    }
}

fn entry() -> impl Strategy<Value = u64> {
    // Targets in RAM and beyond, in few pages, so that neighbours adjoin now and then; all permissions; bits that mean nothing.
    let page = prop_oneof![8 => 0..10u64, 1 => Just(0x000f_ffff_ffff_ffff_u64)];
    (page, 0..4u64, 0..3u64).prop_map(|(page, perm, noise)| (page << 12) | (noise << 4) | perm)
}

fn entries() -> impl Strategy<Value = Vec<u64>> {
    let adjoining = (0..8u64, 1..4u64, 1..6u64)
        .prop_map(|(first, perm, pages)| (first..first + pages).map(|page| (page << 12) | perm).collect());
    prop_oneof![prop::collection::vec(entry(), 1..6), adjoining]
}

/// Few entries, among them those around the ends of leaves.
fn index() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..12u32, 1 => 508..516u32, 1 => 1020..1028u32]
}

fn iova() -> impl Strategy<Value = u64> {
    let near = (0..STARTS.len(), index(), 0..0x1100u64)
        .prop_map(|(start, index, offset)| STARTS[start].saturating_add((u64::from(index) << 12) + offset));
    prop_oneof![9 => near, 1 => any::<u64>()]
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![1 => 0..3usize, 3 => 0..0x40usize, 3 => 0..0x4000usize];
    let liobn = 0..LIOBNS;
    let shape = (prop_oneof![4 => Just(12u8), 1 => Just(13u8)], prop_oneof![2 => 1..8u32, 1 => Just(ENTRIES)]);
    prop_oneof![
        2 => (liobn.clone(), 0..STARTS.len(), shape)
            .prop_map(|(liobn, start, (page_shift, entries))| Step::Add { liobn, start, page_shift, entries }),
        1 => liobn.clone().prop_map(|liobn| Step::Remove { liobn }),
        6 => (liobn.clone(), index(), entries()).prop_map(|(liobn, index, list)| Step::List { liobn, index, list }),
        3 => (liobn, index(), prop_oneof![1 => Just(0), 2 => entry()], 1..8u32)
            .prop_map(|(liobn, index, tce, pages)| Step::Stuff { liobn, index, tce, pages }),
        5 => (iova(), length.clone(), any::<u8>())
            .prop_map(|(iova, length, seed)| Step::Write { iova, bytes: bytes(length, seed) }),
        5 => (iova(), length.clone()).prop_map(|(iova, length)| Step::Read { iova, length }),
        2 => (iova(), length, 0..4u8).prop_map(|(iova, length, access)| Step::Check { iova, length, access }),
    ]
}

/// Bytes of which neighbours differ.
fn bytes(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| seed.wrapping_add(at.to_le_bytes()[0])).collect()
}

/// Both of them.
struct Both {
    iommu: TceIommu,
    memory: IommuMemory<GuestMemoryMmap<()>, TceIommu>,
    model: Model,
}

impl Both {
    fn new() -> Self {
        let iommu = TceIommu::new();
        // Two regions, so that an extent may cross from one into the other.
        let half = usize::try_from(RAM / 2).expect("fits");
        let regions = [(GuestAddress(0), half), (GuestAddress(RAM / 2), half)];
        let ram = GuestMemoryMmap::from_ranges(&regions).expect("RAM");
        let memory = IommuMemory::new(ram, iommu.clone(), true, ());
        Self { iommu, memory, model: Model { ram: vec![0; 2 * half], ..Model::default() } }
    }

    fn add(&mut self, liobn: u32, start: u64, page_shift: u8, entries: u32) {
        let geometry = Geometry { liobn, bus_offset: Iova(start), page_shift, entries };
        let Ok(table) = TceTable::new(geometry, u32::MAX) else { return };
        let added = self.iommu.add_window(table).is_ok();
        assert_eq!(added, !self.model.windows.contains_key(&liobn));
        let entries = vec![0; entries as usize];
        self.model.windows.entry(liobn).or_insert(Plain { start, page_shift, entries });
    }

    fn remove(&mut self, liobn: u32) {
        assert_eq!(self.iommu.remove_window(liobn).is_some(), self.model.windows.remove(&liobn).is_some());
    }

    /// A call that stores values; what lies beyond the end of the window is not stored.
    fn store(&mut self, liobn: u32, index: u32, values: &[u64], stuff: bool) {
        let Some(window) = self.model.windows.get_mut(&liobn) else { return };
        let Some(ioba) = (u64::from(index) << window.page_shift).checked_add(window.start) else { return };
        // A hypercall rounds the address down to a page, which may lie before a window that does not begin at one.
        let page = ioba >> window.page_shift << window.page_shift;
        let Some(index) = page.checked_sub(window.start).map(|offset| offset >> window.page_shift) else { return };
        let index = usize::try_from(index).expect("fits");
        let fits_at_all = !stuff || values.len() <= window.entries.len();
        let places = window.entries.get_mut(index..).filter(|_| fits_at_all).unwrap_or_default();
        let fitting = places.len().min(values.len());
        places.iter_mut().zip(values).for_each(|(place, value)| *place = *value);
        let table = self.iommu.table(liobn).expect("the model has it");
        let (mut table, mut change) = (table.write().expect("nobody panicked"), Change::new());
        let written = if stuff {
            h_stuff_tce(&mut table, ioba, values[0], values.len() as u64, &mut change)
        } else {
            h_put_tce_indirect(&mut table, ioba, values, &mut change)
        };
        assert_eq!(written.ret == H_SUCCESS, fitting == values.len() && fitting > 0);
    }

    /// Whether vm-memory's answer is the model's: how many bytes are RAM, or where the first unreachable one is.
    fn compare(&mut self, done: Result<usize, GuestMemoryError>, iova: u64, length: usize, access: u64) -> usize {
        match (self.model.targets(iova, length, access), done) {
            (Ok(targets), done) => {
                let in_ram = targets.iter().take_while(|target| **target < RAM).count();
                match done {
                    Ok(bytes) => assert_eq!(bytes, in_ram),
                    Err(error) => {
                        assert_eq!(in_ram, 0, "{error}");
                        assert!(!matches!(error, GuestMemoryError::IommuError(_)), "{error}");
                    }
                }
                in_ram
            }
            (Err(first), Err(GuestMemoryError::IommuError(IommuError::CannotResolve { iova_range, .. }))) => {
                assert_eq!(iova_range.base.0, first);
                assert!(iova_range.length > 0);
                let end = first.saturating_add(iova_range.length as u64);
                assert!(end <= iova.saturating_add(length as u64));
                if iova.checked_add(length as u64).is_some() {
                    assert!((first..end).all(|at| self.model.target(at, access).is_none()), "{iova_range:?}");
                }
                0
            }
            (model, done) => panic!("{model:?}, {done:?}"),
        }
    }

    fn write(&mut self, iova: u64, bytes: &[u8]) {
        let done = self.memory.write(bytes, GuestAddress(iova));
        let written = self.compare(done, iova, bytes.len(), 2);
        for (at, byte) in bytes.iter().take(written).enumerate() {
            let target = self.model.target(iova + at as u64, 2).expect("compared");
            *self.model.byte(target).expect("RAM") = *byte;
        }
        let mut ram = vec![0; self.model.ram.len()];
        self.memory.get_backend().read_slice(&mut ram, GuestAddress(0)).expect("RAM");
        assert!(ram == self.model.ram, "RAM differs");
    }

    fn read(&mut self, iova: u64, length: usize) {
        let mut into = vec![0; length];
        let done = self.memory.read(&mut into, GuestAddress(iova));
        let read = self.compare(done, iova, length, 1);
        for (at, byte) in into.iter().take(read).enumerate() {
            let target = self.model.target(iova + at as u64, 1).expect("compared");
            assert_eq!(self.model.byte(target), Some(&mut byte.clone()));
        }
    }

    fn check(&self, iova: u64, length: usize, access: u8) {
        let asked = [Permissions::No, Permissions::Read, Permissions::Write, Permissions::ReadWrite];
        let targets = self.model.targets(iova, length, access.into());
        let expected = targets.is_ok_and(|targets| targets.iter().all(|target| *target < RAM));
        let asked = asked[usize::from(access)];
        assert_eq!(self.memory.check_range(GuestAddress(iova), length, asked), expected);
    }
}

proptest! {
    #[test]
    fn devices_reach_what_a_plain_model_says(steps in prop::collection::vec(step(), 1..60)) {
        let mut both = Both::new();
        both.add(0, STARTS[0], 12, ENTRIES);
        for step in steps {
            match step {
                Step::Add { liobn, start, page_shift, entries } => both.add(liobn, STARTS[start], page_shift, entries),
                Step::Remove { liobn } => both.remove(liobn),
                Step::List { liobn, index, list } => both.store(liobn, index, &list, false),
                Step::Stuff { liobn, index, tce, pages } => both.store(liobn, index, &vec![tce; pages as usize], true),
                Step::Write { iova, bytes } => both.write(iova, &bytes),
                Step::Read { iova, length } => both.read(iova, length),
                Step::Check { iova, length, access } => both.check(iova, length, access),
            }
        }
    }
}
