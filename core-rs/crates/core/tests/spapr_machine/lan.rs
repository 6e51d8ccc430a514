//! The logical LAN: registers buffers with a device that reaches memory through its VIO table.

use giommu_core::address::Iova;
use giommu_core::hcall::H_PARAMETER;
use giommu_core::perm::Perm;
use giommu_core::spapr::{DmaDevice, SpaprMachine};

const H_RESOURCE: i64 = -16;
const PAGE: u64 = 4096;

/// Whether the only unit has its buffers registered.
#[derive(Default)]
pub(super) struct LogicalLan {
    open: bool,
}

impl LogicalLan {
    pub(super) fn call(&mut self, name: &str, args: &[u64], iommus: &SpaprMachine, ram: &mut [u8]) -> i64 {
        let Some(unit) = u32::try_from(args[0]).ok().filter(|unit| iommus.vio(*unit).is_some()) else {
            return H_PARAMETER;
        };
        match name {
            "H_REGISTER_LOGICAL_LAN" if self.open => H_RESOURCE,
            "H_REGISTER_LOGICAL_LAN" => self.register(DmaDevice::Vio(unit), args, iommus, ram),
            _ if !self.open => H_RESOURCE,
            _ => {
                self.open = false;
                0
            }
        }
    }

    /// Both lists are a page; the queue's descriptor has its length in bits 32 to 55.
    fn register(&mut self, device: DmaDevice, args: &[u64], iommus: &SpaprMachine, ram: &mut [u8]) -> i64 {
        let (list, queue, filters) = (args[1], args[2], args[3]);
        let buffers = [(list, PAGE), (queue & 0xffff_ffff, queue >> 32 & 0xff_ffff), (filters, PAGE)];
        if !buffers.iter().all(|(at, bytes)| both_ways(iommus, device, *at, *bytes)) {
            return H_PARAMETER;
        }
        let mut page = vec![0; 4096];
        page[..8].copy_from_slice(&queue.to_be_bytes());
        page[8..16].copy_from_slice(&(1 << 63 | PAGE << 32 | filters).to_be_bytes());
        iommus.dma_write(device, Iova(list), &page, ram);
        self.open = true;
        0
    }
}

/// Whether the device may both read and write all of these bytes.
fn both_ways(iommus: &SpaprMachine, device: DmaDevice, at: u64, bytes: u64) -> bool {
    let (mut at, mut left) = (at, bytes);
    while left > 0 {
        let chunk = iommus.translate(device, Iova(at), left);
        if chunk.reach.target(Perm::READ_WRITE).is_none() {
            return false;
        }
        (at, left) = (at.wrapping_add(chunk.bytes), left - chunk.bytes);
    }
    true
}
