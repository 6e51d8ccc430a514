//! Rebuilds a guest's tables from QEMU's log (`-trace 'spapr_iommu_*' -trace 'vfio_*'`), and says where the log contradicts them.
//!
//!     cargo run -p giommu-core --example rebuild            # a log of a few lines
//!     cargo run -p giommu-core --example rebuild qemu.log

use std::error::Error;

use giommu_core::tce_table::Runs;
use giommu_core::trace::machine::{LogMachine, Stop};

/// The line of a stuff call names the address where it ended.
const SAMPLE: &[u8] = b"\
7@1.000001:spapr_iommu_new_table liobn=0x80000000 table=0x7fd8b1133010 fd=-1
7@1.000002:spapr_iommu_pci_put liobn=0x80000000 ioba=0x5000 tce=0x100003 ret=0
7@1.000003:spapr_iommu_pci_stuff liobn=0x80000000 ioba=0x8000 tcevalue=0x200001 npages=2 ret=0
this line is not QEMU's
7@1.000004:spapr_iommu_xlate liobn=0x80000000 0x5000 -> 0x100000 perm=3 mask=0xfff
7@1.000005:spapr_iommu_xlate liobn=0x80000000 0x6000 -> 0x999000 perm=1 mask=0xfff
";

/// Reads a log that is in memory as a whole; one that is not comes in pieces of any size.
fn read(log: &[u8]) -> LogMachine {
    let (mut machine, mut at) = (LogMachine::default(), 0);
    while machine.run(log, &mut at, true) != Stop::End {}
    machine
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    // Not a test's own arguments.
    let path = std::env::args().nth(1).filter(|_| !cfg!(test));
    let machine = match &path {
        Some(path) => read(&std::fs::read(path)?),
        None => read(SAMPLE),
    };
    println!("{} lines, {} events", machine.parser().lines(), machine.parser().events());
    for rebuilt in machine.tables() {
        let table = rebuilt.table();
        println!("LIOBN {:#x}: {} pages mapped, {} unknown", table.geometry().liobn, table.mapped(), rebuilt.unknown());
        for extent in table.extents(Runs::Full) {
            println!("  {} -> {} {}", extent.range(), extent.target, extent.perm);
        }
    }
    let translations = machine.translations();
    println!("{} translations agree, {} do not", translations.agreed, translations.disagreed);
    for odd in machine.disagreements().shown() {
        println!(
            "  line {}: {:#x} goes to {:#x}, not {:#x}",
            odd.line, odd.address, odd.theirs.target, odd.ours.target
        );
    }
    if path.is_none() {
        let table = machine.table(0x8000_0000).ok_or("the log has this table")?;
        assert_eq!((table.table().mapped(), translations.agreed, translations.disagreed), (3, 1, 1));
    }
    Ok(())
}
