//! Every interleaving of a guest of two or three pages with two containers.

#![allow(clippy::expect_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::collections::HashSet;

use giommu_model_check::explore::{Found, explore};
use giommu_model_check::host::HostKind::{Atomic, Exact, Quiesced, Type1};
use giommu_model_check::setup::Setup;
use giommu_model_check::sight::{SIGHTS, Sight};

/// Explores a setup, in which nothing may be broken, and enough is there to be tried.
fn keeps_its_promises(setup: Setup, least: usize) -> Found {
    let found = explore(&setup, 2);
    if let Some(broken) = found.broken.first() {
        panic!("{broken}");
    }
    assert!(found.states >= least, "only {} states", found.states);
    println!("{} states, {} steps, {:?}", found.states, found.steps, found.time);
    found
}

#[test]
fn three_pages_keep_every_promise() {
    let found = keeps_its_promises(Setup::new(3, &[Type1, Atomic]).with_refusals(2), 50_000);
    let seen: HashSet<Sight> = found.sights.into_iter().collect();
    let elsewhere = HashSet::from([Sight::LimitReached, Sight::QuiesceFailed, Sight::RestFailed]);
    let missing: Vec<Sight> =
        SIGHTS.into_iter().filter(|one| !seen.contains(one) && !elsewhere.contains(one)).collect();
    assert_eq!(missing, [], "the model does not come across these, and so proves nothing about them");
}

#[test]
fn two_pages_keep_every_promise_however_often_hosts_refuse() {
    keeps_its_promises(Setup::new(2, &[Type1, Atomic]), 7_000);
}

#[test]
fn a_device_that_is_stopped_for_holes_keeps_every_promise() {
    let found = keeps_its_promises(Setup::new(3, &[Quiesced]), 1_500);
    assert!(found.sights.contains(&Sight::QuiesceFailed) && found.sights.contains(&Sight::RestFailed));
}

#[test]
fn a_host_without_wide_unmaps_keeps_every_promise_beside_one_that_is_stopped() {
    keeps_its_promises(Setup::new(2, &[Quiesced, Exact]), 7_000);
}

#[test]
fn a_device_that_is_unplugged_from_inside_its_failure_keeps_every_promise() {
    keeps_its_promises(Setup::new(2, &[Type1, Atomic]).with_unplug(), 4_000);
}

#[test]
fn a_host_without_room_keeps_every_promise() {
    let found = keeps_its_promises(Setup::new(3, &[Type1]).with_limit(2), 500);
    assert!(found.sights.contains(&Sight::LimitReached));
}
