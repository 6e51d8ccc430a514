//! The checker is checked: whatever is done wrong on purpose, it finds.

#![allow(clippy::expect_used, clippy::panic, reason = "a test may stop at the first surprise")]

use giommu_core::address::Gpa;
use giommu_model_check::breach::Breach;
use giommu_model_check::explore::{Broken, shortest};
use giommu_model_check::host::HostKind::{self, Atomic, Holes, Type1};
use giommu_model_check::model::name;
use giommu_model_check::setup::{Fault, Setup};

/// The shortest way to a breach, which must be there.
fn finds(breach: Breach, setup: Setup) -> Broken {
    shortest(&setup, name(breach)).unwrap_or_else(|| panic!("{} is not found to be broken", name(breach)))
}

fn two_pages(hosts: &[HostKind], fault: Fault) -> Setup {
    Setup::new(2, hosts).with_fault(fault)
}

#[test]
fn it_finds_the_change_in_place_that_qemu_loses() {
    let setup = two_pages(&[Type1], Fault::Qemu).with_refusals(0);
    let Broken { actions, world, .. } = finds(Breach::Differs, setup);
    // A page is mapped, a device attached, and the page mapped to elsewhere, as short as that.
    assert_eq!(actions.len(), 3, "{actions:?}");
    let target = |tce: u64| Some(Gpa(tce & !0xfff));
    let held = |page: u32| world.seat(0).host.translate(page).map(|(target, _)| target);
    let said = |page: u32| world.table.translate(page).map(|(target, _)| target);
    let page = world.all().each().find(|page| held(*page) != said(*page)).expect("host and table differ");
    let stored: Vec<u64> = actions.iter().filter_map(|action| action.act.stored(page)).collect();
    let [before, after] = stored[..] else { panic!("two writes are enough: {actions:?}") };
    assert!(before & 3 != 0 && after & 3 != 0, "the page was mapped all the time");
    // The guest was told that all went well, and its device goes on reaching the old page.
    assert_eq!((held(page), said(page)), (target(before), target(after)));
}

#[test]
fn it_finds_unmaps_that_are_not_told() {
    finds(Breach::NotRemoved, two_pages(&[Type1], Fault::ForgetsUnmaps));
    finds(Breach::Differs, two_pages(&[Type1], Fault::ForgetsUnmaps));
}

#[test]
fn it_finds_what_an_aborted_attach_leaves() {
    finds(Breach::LeftOver, two_pages(&[Type1], Fault::ForgetsToClear));
}

#[test]
fn it_finds_writes_that_a_replay_tells_twice_or_not_at_all() {
    finds(Breach::ToldTwice, two_pages(&[Type1], Fault::TellsAhead));
    finds(Breach::Differs, two_pages(&[Type1], Fault::WithholdsBehind));
    finds(Breach::Differs, Setup::new(3, &[Type1]).with_fault(Fault::TrustsOldBatch));
}

#[test]
fn it_finds_neighbours_that_are_gone_for_a_moment() {
    finds(Breach::Neighbour, two_pages(&[Holes], Fault::None));
}

#[test]
fn it_finds_refused_calls_that_stay_in_the_table() {
    finds(Breach::NotUndone, two_pages(&[Type1], Fault::ForgetsUndo));
}

#[test]
fn it_finds_what_one_container_lost_and_another_keeps() {
    finds(Breach::Differs, two_pages(&[Type1, Atomic], Fault::KeepsLost));
}

#[test]
fn it_finds_replays_that_need_not_end() {
    finds(Breach::Endless, two_pages(&[Type1], Fault::NeverCatchesUp));
}

/// What it found in giommu itself: a container that listens in two places failed of what it was told in the one, and was not
/// told in the other.
#[test]
fn it_finds_a_container_that_closes_before_it_heard_everything() {
    finds(Breach::LeftOver, two_pages(&[Type1, Atomic], Fault::TellsLostOneByOne));
}
