//! A mirror's bus reaches what the machine's bridge does, whatever the guest calls.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

use giommu_core::address::{Gpa, Iova};
use giommu_core::perm::Perm;
use giommu_core::spapr::{DmaDevice, Effects, PhbConfig, SpaprMachine, token};
use giommu_vm_memory::{BridgeMirror, MirrorError};
use proptest::prelude::*;
use vm_memory::{GuestAddress, Iommu, Permissions};

/// The bridge that is mirrored; the machine has another one before it.
const INDEX: u32 = 1;
const LIOBNS: [u32; 4] = [0x8000_0100, 0x8000_0101, 0x8000_0000, 0x8000_0001];
/// The bridge's windows overlap if both are there.
const STARTS: [u64; 2] = [0, 0x10_0000];

fn config(index: u32) -> PhbConfig {
    PhbConfig { dma_win_size: 4 << 20, dma64_win_addr: Iova(STARTS[1]), ..PhbConfig::new(index) }
}

#[derive(Clone, Debug)]
enum Call {
    Put { liobn: usize, ioba: u64, tce: u64 },
    List { liobn: usize, ioba: u64, list: Vec<u64> },
    Stuff { liobn: usize, ioba: u64, tce: u64, pages: u64 },
    Create { bridge: u32, page_shift: u32, window_shift: u32 },
    Remove { liobn: usize },
    ResetWindows { bridge: u32 },
    Reset,
    Restore,
}

fn tce() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 5 => (0..8u64, 0..4u64).prop_map(|(page, perm)| (page << 16) | (page << 12) | perm)]
}

fn list() -> impl Strategy<Value = Vec<u64>> {
    // Adjoining pages of either size, so that one extent has several.
    let adjoining = (prop_oneof![Just(12), Just(16)], 0..8u64, 1..4u64, 2..8u64)
        .prop_map(|(shift, first, perm, pages)| (first..first + pages).map(|page| (page << shift) | perm).collect());
    prop_oneof![prop::collection::vec(tce(), 1..8), adjoining]
}

fn call() -> impl Strategy<Value = Call> {
    let liobn = || prop_oneof![8 => 0..2usize, 1 => 2..4usize];
    let ioba = || (0..2usize, 0..24u64).prop_map(|(start, page)| STARTS[start] + (page << 12));
    let bridge = || prop_oneof![5 => Just(INDEX), 1 => Just(0)];
    prop_oneof![
        6 => (liobn(), ioba(), tce()).prop_map(|(liobn, ioba, tce)| Call::Put { liobn, ioba, tce }),
        4 => (liobn(), ioba(), list())
            .prop_map(|(liobn, ioba, list)| Call::List { liobn, ioba, list }),
        4 => (liobn(), ioba(), tce(), 1..20u64)
            .prop_map(|(liobn, ioba, tce, pages)| Call::Stuff { liobn, ioba, tce, pages }),
        3 => (bridge(), prop_oneof![Just(12u32), Just(16)], 18..22u32)
            .prop_map(|(bridge, page_shift, window_shift)| Call::Create { bridge, page_shift, window_shift }),
        2 => liobn().prop_map(|liobn| Call::Remove { liobn }),
        1 => bridge().prop_map(|bridge| Call::ResetWindows { bridge }),
        1 => Just(Call::Reset),
        1 => Just(Call::Restore),
    ]
}

fn make(machine: &mut SpaprMachine, call: &Call, saved: &[u8], effects: &mut Effects) {
    let buid = |index: u32| [0x0800_0000, 0x2000_0000 + index];
    match call {
        Call::Put { liobn, ioba, tce } => {
            machine.h_put_tce(LIOBNS[*liobn].into(), *ioba, *tce, effects);
        }
        Call::List { liobn, ioba, list } => {
            machine.h_put_tce_list(LIOBNS[*liobn].into(), *ioba, list, effects);
        }
        Call::Stuff { liobn, ioba, tce, pages } => {
            machine.h_stuff_tce([LIOBNS[*liobn].into(), *ioba, *tce, *pages], effects);
        }
        Call::Create { bridge, page_shift, window_shift } => {
            let [high, low] = buid(*bridge);
            machine.rtas(token::CREATE, &[0, high, low, *page_shift, *window_shift], 4, effects);
        }
        Call::Remove { liobn } => {
            machine.rtas(token::REMOVE, &[LIOBNS[*liobn]], 1, effects);
        }
        Call::ResetWindows { bridge } => {
            let [high, low] = buid(*bridge);
            machine.rtas(token::RESET, &[0, high, low], 1, effects);
        }
        Call::Reset => machine.reset(effects),
        Call::Restore => machine.restore(saved, effects).expect("of this machine"),
    }
}

fn reached(mirror: &BridgeMirror, iova: u64, access: Permissions) -> Option<Gpa> {
    let mut found = mirror.bus().translate(GuestAddress(iova), 1, access).ok()?;
    found.next().map(|piece| Gpa(piece.base.0))
}

fn compare(machine: &SpaprMachine, mirror: &BridgeMirror) {
    let windows = machine.phb(INDEX).map(|phb| phb.active_windows());
    assert_eq!(Some(mirror.bus().tables().len()), windows);
    let wanted = [(Perm::READ, Permissions::Read), (Perm::WRITE, Permissions::Write)];
    for iova in STARTS.into_iter().flat_map(|start| (0..48).map(move |page| start + (page << 12) + 0x123)) {
        for (perm, access) in wanted {
            let reach = machine.translate(DmaDevice::Pci(INDEX), Iova(iova), 1).reach;
            assert_eq!(reached(mirror, iova, access), reach.target(perm), "{iova:#x} {perm}");
        }
    }
}

proptest! {
    #[test]
    fn the_mirror_is_in_step_after_every_call(calls in prop::collection::vec((call(), any::<u8>()), 1..40)) {
        let mut machine = SpaprMachine::new(200);
        machine.add_phb(config(0)).expect("a bridge");
        machine.add_phb(config(INDEX)).expect("a bridge");
        let mut effects = Effects::new();
        let mut saved = machine.save();
        let mut mirror = BridgeMirror::new(&machine, INDEX).expect("the bridge is there");
        for (call, chance) in calls {
            make(&mut machine, &call, &saved, &mut effects);
            match chance {
                // A host refuses the call, so that it is taken back and the mirror never knows.
                0..=40 => assert!(machine.undo(&mut effects)),
                _ => mirror.deliver(&effects).expect("nothing is in use"),
            }
            compare(&machine, &mirror);
            match chance {
                200..=220 => saved = machine.save(),
                // One that is made now is in step as well.
                221..=240 => mirror = BridgeMirror::new(&machine, INDEX).expect("the bridge is there"),
                _ => {}
            }
        }
    }
}

#[test]
fn a_mirror_says_why_it_can_not_follow() {
    let mut machine = SpaprMachine::new(200);
    machine.add_phb(config(0)).expect("a bridge");
    assert_eq!(BridgeMirror::new(&machine, INDEX).err(), Some(MirrorError::NoBridge(INDEX)));
    let mirror = BridgeMirror::new(&machine, 0).expect("the bridge is there");
    let table = machine.table(0x8000_0000).expect("the default window").clone();
    let mut effects = Effects::new();
    assert_eq!(machine.h_put_tce(0x8000_0000, 0, 3, &mut effects), 0);
    {
        let _held = table.borrow_mut();
        assert_eq!(mirror.deliver(&effects), Err(MirrorError::InUse));
        assert_eq!(BridgeMirror::new(&machine, 0).err(), Some(MirrorError::InUse));
    }
    assert_eq!(mirror.deliver(&effects), Ok(()));
    let copy = mirror.bus().table(0x8000_0000).expect("mirrored");
    let ended = std::thread::spawn(move || {
        let _held = copy.write().expect("nobody panicked yet");
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(ended.join().is_err());
    assert_eq!(mirror.deliver(&effects), Err(MirrorError::Poisoned(0x8000_0000)));
}
