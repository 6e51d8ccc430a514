//! A guest makes itself a DMA window, a device writes through it, and the machine is saved and restored.
//!
//!     cargo run -p giommu-core --example window

use std::error::Error;

use giommu_core::address::Iova;
use giommu_core::hcall::H_SUCCESS;
use giommu_core::spapr::{DmaDevice, Effects, Event, PhbConfig, SpaprMachine, token};

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let mut machine = SpaprMachine::new(1 << 20);
    let buid = machine.add_phb(PhbConfig::new(0))?.buid();
    let [high, low] = [buid >> 32, buid & 0xffff_ffff].map(|half| u32::try_from(half).unwrap_or(0));
    let mut effects = Effects::new();

    // ibm,create-pe-dma-window: 1 GiB of 64 KiB pages.
    let reply = machine.rtas(token::CREATE, &[0, high, low, 16, 30], 4, &mut effects);
    let [0, liobn, start_high, start_low] = *reply.rets() else { return Err("the window was refused".into()) };
    let start = u64::from(start_high) << 32 | u64::from(start_low);
    println!("Window {liobn:#x} begins at bus address {start:#x}");
    // Whoever mirrors the bus is told of it before the guest goes on.
    assert!(matches!(effects.events[..], [Event::WindowAdded { .. }]));

    let ret = machine.h_put_tce(liobn.into(), start, 0x2_0003, &mut effects);
    assert_eq!((ret, effects.change.maps.len()), (H_SUCCESS, 1));

    let mut ram = vec![0; 0x4_0000];
    let device = DmaDevice::Pci(0);
    assert!(machine.dma_write(device, Iova(start + 0x10), b"from a device", &mut ram[..]));
    println!("RAM has {:?} at 0x20010", String::from_utf8_lossy(ram.get(0x2_0010..0x2_001d).unwrap_or_default()));
    assert!(!machine.dma_write(device, Iova(start + 0x1_0000), b"unmapped", &mut ram[..]));

    let saved = machine.save();
    machine.reset(&mut effects);
    assert!(machine.table(liobn.into()).is_none(), "a reboot leaves the default window alone");
    machine.restore(&saved, &mut effects)?;
    assert_eq!(machine.h_get_tce(liobn.into(), start), Ok(0x2_0003));
    println!("{} bytes hold the state of the machine", saved.len());
    Ok(())
}
