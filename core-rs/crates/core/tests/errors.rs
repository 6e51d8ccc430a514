//! Errors can be passed on from any thread, and say what is wrong.

#![allow(clippy::expect_used, reason = "a test may stop at the first surprise")]

use std::error::Error;

use giommu_core::address::{Iova, IovaRange};
use giommu_core::container::{Coalesce, Container, Failure, FailureKind, HolePolicy, HostLimits};
use giommu_core::spapr::{PhbConfig, SpaprMachine};
use giommu_core::tce_table::{Geometry, TceTable};
use giommu_core::walker::Walker;

type Passed = Box<dyn Error + Send + Sync>;

fn said<T>(result: Result<T, impl Into<Passed>>) -> String {
    result.err().map(Into::into).map_or_else(String::new, |error: Passed| error.to_string())
}

#[test]
fn every_error_says_what_is_wrong() {
    let geometry = Geometry { liobn: 0, bus_offset: Iova(u64::MAX), page_shift: 12, entries: 1 };
    assert_eq!(said(TceTable::new(geometry, 1)), "the window passes the top of the 64-bit space");
    assert_eq!(said(Walker::new(IovaRange::ALL, 3)), "granularity 0x3 is not a power of two");
    let limits = HostLimits::new(0);
    assert_eq!(said(Container::new(limits, Coalesce::None, HolePolicy::Forbid)), "the host offers no page size");
    let mut machine = SpaprMachine::new(1);
    let unsound = PhbConfig { dma_win_size: 0, ..PhbConfig::new(0) };
    assert_eq!(said(machine.add_phb(unsound)), "the table has no entries");
    assert_eq!(said(SpaprMachine::from_snapshot(b"no", 1)), "the bytes are no snapshot of a machine");
}

#[test]
fn a_failure_names_the_first_range_and_counts_the_others() {
    let range = |start| IovaRange::from_length(Iova(start), 0xfff).expect("range");
    let failure =
        |ranges: &[IovaRange]| said(Err::<(), _>(Failure { kind: FailureKind::Unmap, ranges: ranges.to_vec() }));
    let kind = "the host did not unmap what the guest removed: host and guest differ in";
    assert_eq!(failure(&[range(0x1000)]), format!("{kind} 0x1000..=0x1fff"));
    assert_eq!(failure(&[range(0), range(0x3000), range(0x5000)]), format!("{kind} 0x0..=0xfff and 2 more ranges"));
}
