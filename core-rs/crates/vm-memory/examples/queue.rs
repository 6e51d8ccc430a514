//! A device with a ring of buffers in guest memory, both behind the IOMMU: it answers requests until the guest unmaps a buffer.
//!
//!     cargo run -p giommu-vm-memory --example queue

use std::error::Error;

use giommu_core::address::Iova;
use giommu_core::hcall::{H_SUCCESS, h_put_tce};
use giommu_core::tce_table::{Change, Geometry, TceTable};
use giommu_vm_memory::{LockedTable, TceIommu};
use vm_memory::iommu::IommuMemory;
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryError, GuestMemoryMmap};

/// Where the ring lies on the bus: per request the address and the length of a buffer, both little-endian.
const RING: u64 = 0x1000;

/// A device that knows nothing of IOMMUs: any `GuestMemory` will do. It shouts back what it finds.
fn answer(memory: &impl GuestMemory, request: u64) -> Result<String, GuestMemoryError> {
    let slot = GuestAddress(RING + 16 * request);
    let buffer = GuestAddress(u64::from_le(memory.read_obj(slot)?));
    let length = u64::from_le(memory.read_obj(GuestAddress(slot.0 + 8))?);
    let mut text = vec![0; usize::try_from(length.min(4096)).unwrap_or(0)];
    memory.read_slice(&mut text, buffer)?;
    text.make_ascii_uppercase();
    memory.write_slice(&text, buffer)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// H_PUT_TCE, as the thread of a guest's processor makes it.
fn put(table: &LockedTable, ioba: u64, tce: u64) -> Result<(), Box<dyn Error>> {
    let mut table = table.write().map_err(|_| "a thread panicked over the table")?;
    let written = h_put_tce(&mut table, ioba, tce, &mut Change::quiet());
    if written.ret == H_SUCCESS { Ok(()) } else { Err(format!("H_PUT_TCE answered {}", written.ret).into()) }
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let geometry = Geometry { liobn: 0x8000_0000, bus_offset: Iova(0), page_shift: 12, entries: 1 << 18 };
    let iommu = TceIommu::new();
    let table = iommu.add_window(TceTable::new(geometry, 1 << 18)?)?;
    let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 1 << 20)])?;
    let dma = IommuMemory::new(ram.clone(), iommu, true, ());

    // The guest puts a ring and a text into its memory. The text crosses two pages that do not adjoin.
    let text = b"hello from two pages";
    ram.write_obj(0x5ff8_u64.to_le(), GuestAddress(0x2_0000))?;
    ram.write_obj((text.len() as u64).to_le(), GuestAddress(0x2_0008))?;
    ram.write_slice(&text[..8], GuestAddress(0x3_0ff8))?;
    ram.write_slice(&text[8..], GuestAddress(0x7_0000))?;
    put(&table, RING, 0x2_0001)?; // the device may only read the ring
    put(&table, 0x5000, 0x3_0003)?;
    put(&table, 0x6000, 0x7_0003)?;

    println!("The device answers: {}", answer(&dma, 0)?);
    assert_eq!(ram.read_obj::<[u8; 8]>(GuestAddress(0x3_0ff8))?, *b"HELLO FR");

    put(&table, 0x6000, 0)?;
    let refused = answer(&dma, 0).err().ok_or("half of the buffer is gone")?;
    println!("After an unmap: {refused}");
    let refused = dma.write_obj(0_u64, GuestAddress(RING)).err().ok_or("the ring is read-only")?;
    println!("To the ring:    {refused}");
    Ok(())
}
