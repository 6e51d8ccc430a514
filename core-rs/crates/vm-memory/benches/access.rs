//! What an access costs: through the table, through a vm-memory IOTLB that misses nothing, and without an IOMMU.
//!
//!     cargo bench -p giommu-vm-memory

#![allow(clippy::expect_used, reason = "a benchmark may stop at the first surprise")]

use std::hint::black_box;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use giommu_core::address::Iova;
use giommu_core::tce_table::{Change, Geometry, TceTable};
use giommu_vm_memory::TceIommu;
use vm_memory::iommu::{Error, IommuMemory, Iotlb, IotlbIterator};
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryMmap, Iommu, Permissions};

const PAGES: u32 = 4096;
const RAM: u64 = 64 << 20;

/// The peer: everything is in an IOTLB already, so that nothing has to be asked for.
#[derive(Debug)]
struct Cached(RwLock<Iotlb>);

impl Iommu for Cached {
    type IotlbGuard<'a> = RwLockReadGuard<'a, Iotlb>;

    fn translate(
        &self,
        iova: GuestAddress,
        length: usize,
        access: Permissions,
    ) -> Result<IotlbIterator<RwLockReadGuard<'_, Iotlb>>, Error> {
        let iotlb = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Iotlb::lookup(iotlb, iova, length, access)
            .map_err(|fails| Error::IommuMisconfigured { reason: format!("{fails:?}") })
    }
}

/// Numbers that look random, the same each time.
fn numbers() -> impl Iterator<Item = u64> {
    let step =
        |number: &u64| Some(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    std::iter::successors(Some(7), step).map(|number| number >> 33)
}

/// Nanoseconds of one read, at random addresses; the best of five rounds.
fn cost(memory: &impl GuestMemory, length: usize) -> f64 {
    const READS: u32 = 100_000;
    let mut into = vec![0; length];
    let space = (u64::from(PAGES) << 12) - (1 << 16);
    let round = |_| {
        let start = Instant::now();
        for address in numbers().take(READS as usize).map(|number| (number % space) & !7) {
            memory.read_slice(black_box(&mut into), GuestAddress(address)).expect("mapped");
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(READS)
    };
    (0..5).map(round).fold(f64::INFINITY, f64::min)
}

fn main() {
    let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 64 << 20)]).expect("RAM");
    let geometry = Geometry { liobn: 0x8000_0000, bus_offset: Iova(0), page_shift: 12, entries: PAGES };
    let mut table = TceTable::new(geometry, u32::MAX).expect("sound");
    let mut iotlb = Iotlb::new();
    for (page, number) in (0..PAGES).zip(numbers()) {
        // Hardly any two neighbours adjoin.
        let target = (number % (RAM >> 12)) << 12;
        assert!(table.put(page, target | 3, &mut Change::quiet()));
        let iova = GuestAddress(u64::from(page) << 12);
        iotlb.set_mapping(iova, GuestAddress(target), 4096, Permissions::ReadWrite).expect("room");
    }
    let iommu = TceIommu::new();
    iommu.add_window(table).expect("the first window");
    let through_table = IommuMemory::new(ram.clone(), iommu, true, ());
    let through_iotlb = IommuMemory::new(ram.clone(), Cached(RwLock::new(iotlb)), true, ());
    println!("ns per read, {PAGES} pages   table   full IOTLB   no IOMMU");
    for length in [8, 4096, 61440] {
        let [table, iotlb, none] = [cost(&through_table, length), cost(&through_iotlb, length), cost(&ram, length)];
        println!("{length:>6} bytes           {table:>8.0}     {iotlb:>8.0}   {none:>8.0}");
    }
}
