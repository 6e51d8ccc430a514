//! A device is plugged onto a bus whose guest mapped memory before: the newcomer's container is told all of it, then follows.
//!
//!     cargo run -p giommu-core --example hotplug

use std::collections::BTreeMap;
use std::error::Error;

use giommu_core::address::{Gpa, Iova, IovaRange};
use giommu_core::container::{Coalesce, Container, GuestRun, HolePolicy, HostLimits, HostOp, Kind};
use giommu_core::hcall::{h_put_tce, h_stuff_tce};
use giommu_core::tce_table::{Change, Geometry, Runs, TceTable};

/// Stands for the ioctls of a VFIO container; this one never refuses.
#[derive(Default)]
struct Host(BTreeMap<IovaRange, Gpa>);

impl Host {
    fn carry_out(&mut self, container: &mut Container) {
        while !container.is_idle() {
            let ops: Vec<HostOp> = container.pending().collect();
            for op in &ops {
                println!("  {op}");
                match *op {
                    HostOp::Map { range, target, .. } => {
                        self.0.insert(range, target);
                    }
                    HostOp::Unmap { range, .. } => {
                        self.0.retain(|mapped, _| mapped.intersection(range).is_none());
                    }
                    HostOp::Quiesce => {}
                }
            }
            container.report(ops.len(), false);
        }
    }
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let geometry = Geometry { liobn: 0x8000_0000, bus_offset: Iova(0), page_shift: 12, entries: 1 << 18 };
    let (mut table, mut change) = (TceTable::new(geometry, 1 << 18)?, Change::new());
    assert_eq!(h_stuff_tce(&mut table, 0x5000, 0x10_0003, 2, &mut change).ret, 0);
    assert_eq!(h_put_tce(&mut table, 0x9000, 0x20_0001, &mut change).ret, 0);

    println!("Hotplug: {} pages are mapped already", table.mapped());
    let mut host = Host::default();
    let mut container = Container::new(HostLimits::new(1 << 12), Coalesce::None, HolePolicy::Forbid)?;
    for extent in table.extents(Runs::Full) {
        container.map(GuestRun::from(extent), Kind::Iommu)?;
        host.carry_out(&mut container);
    }
    assert_eq!(host.0.len(), 3);

    println!("The guest changes an entry in place");
    assert_eq!(h_put_tce(&mut table, 0x5000, 0x30_0003, &mut change).ret, 0);
    for gone in &change.unmaps {
        container.unmap(gone.range())?;
        host.carry_out(&mut container);
    }
    for new in &change.maps {
        container.map(GuestRun::from(*new), Kind::Iommu)?;
        host.carry_out(&mut container);
    }

    // What the host holds is what the table says, and what the container remembers.
    for map in container.maps().iter() {
        assert_eq!(host.0.get(&map.range), Some(&map.target));
        assert_eq!(table.translate(map.range.start().0).map(|entry| entry.target), Some(map.target));
    }
    println!("{} host maps, in step with the guest", container.maps().len());
    Ok(())
}
