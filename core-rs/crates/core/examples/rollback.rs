//! A host runs out of maps in the middle of a replay: what was mapped for it is unmapped again.
//!
//!     cargo run -p giommu-core --example rollback

use std::error::Error;

use giommu_core::address::{Gpa, Iova, IovaRange};
use giommu_core::container::{Coalesce, Container, GuestRun, HolePolicy, HostLimits, HostOp, Kind, Refusal};
use giommu_core::perm::Perm;

/// Makes the pending calls on a host that has room for so many maps; returns whether it refused one.
fn carry_out(container: &mut Container, held: &mut usize, room: usize) -> bool {
    while !container.is_idle() {
        let ops: Vec<HostOp> = container.pending().collect();
        for (done, op) in ops.iter().enumerate() {
            match op {
                HostOp::Map { .. } if *held == room => {
                    println!("  {op}: no room");
                    container.report(done, true);
                    return true;
                }
                HostOp::Map { .. } => {
                    println!("  {op}");
                    *held += 1;
                }
                HostOp::Unmap { .. } => {
                    println!("  {op}");
                    *held -= 1;
                }
                HostOp::Quiesce => {}
            }
        }
        container.report(ops.len(), false);
    }
    false
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let run = |start, length_minus_1| {
        let range = IovaRange::from_length(Iova(start), length_minus_1).ok_or("past the top")?;
        let (target, perm) = (Gpa(0x10_0000), Perm::READ_WRITE);
        Ok::<_, &str>(GuestRun { range, target, perm, page_shift: 12, phase: 0, readonly: false, backing: 0 })
    };
    let mut container = Container::new(HostLimits::new(1 << 12), Coalesce::None, HolePolicy::Forbid)?;
    let mut held = 0;

    println!("The host refuses what nobody could know beforehand");
    container.begin()?;
    container.map(run(0x5000, 0x3fff)?, Kind::Iommu)?;
    assert!(carry_out(&mut container, &mut held, 3));
    println!("Back to where it was, without \"{}\":", container.refused().ok_or("nothing was refused")?);
    container.rollback();
    assert!(!carry_out(&mut container, &mut held, 3));
    assert_eq!((held, container.maps().len()), (0, 0));
    assert!(container.lost().is_empty() && container.failure().is_none());

    println!("Where the limit is known, the same is refused before the first call");
    let limits = HostLimits { max_mappings: Some(3), ..HostLimits::new(1 << 12) };
    let mut container = Container::new(limits, Coalesce::None, HolePolicy::Forbid)?;
    let refused = container.map(run(0x5000, 0x3fff)?, Kind::Iommu);
    assert!(matches!(refused, Err(Refusal::MappingLimit { needed: 4, max: 3, .. })) && container.is_idle());
    if let Err(refusal) = refused {
        println!("  {refusal}");
    }
    Ok(())
}
