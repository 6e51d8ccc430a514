//! Random guests against a plain model: every answer, every entry, every byte that a device reaches; and a listener
//! that knows nothing but what calls tell holds exactly what the tables map.

#![cfg(test)]

mod spapr_model;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use giommu_core::address::{Gpa, Iova};
use giommu_core::extent::Extent;
use giommu_core::hcall::H_PARAMETER;
use giommu_core::migration::StreamTable;
use giommu_core::perm::Perm;
use giommu_core::spapr::{DmaDevice, Effects, Event, GuestMemory, PhbConfig, SpaprMachine, VioConfig, token};
use giommu_core::tce_table::{Change, Runs, SharedTable, TceTable};
use proptest::prelude::*;
use spapr_model::{BUID, Model, UNIT};

const LIMIT: u32 = 700;
const RAM: u64 = 0x1_0000;
/// Where second windows begin: far away, as usual, or in the middle of the default window and of a large page.
const FAR: [u64; 2] = [1 << 59, 0x2000];

#[derive(Clone, Debug)]
enum Op {
    Put {
        liobn: u64,
        ioba: u64,
        tce: u64,
        undo: bool,
    },
    Stuff {
        liobn: u64,
        ioba: u64,
        tce: u64,
        npages: u64,
        undo: bool,
    },
    Indirect {
        liobn: u64,
        ioba: u64,
        list: u64,
        npages: u64,
        undo: bool,
    },
    Rtas {
        name: &'static str,
        args: Vec<u32>,
        nret: u32,
        undo: bool,
    },
    Raw {
        registers: [u64; 10],
    },
    Dma {
        vio: bool,
        at: u64,
        bytes: usize,
        write: bool,
    },
    Reset {
        undo: bool,
    },
    Save,
    /// Goes back to a saved state, or to the tables of one as a stream has them.
    Restore {
        which: usize,
        stream: bool,
        undo: bool,
    },
    /// Goes on with a machine that was made from the state of this one.
    Again,
}

fn liobn() -> impl Strategy<Value = u64> {
    let known = [0x8000_0000, 0x8000_0001, 0x8000_0100, 0x8000_0101, u64::from(UNIT), 0x8000_0002, 0x1_8000_0000];
    prop_oneof![15 => prop::sample::select(known.to_vec()), 1 => any::<u64>()]
}

/// Few pages, at both ends of likely windows; and anything.
fn bus() -> impl Strategy<Value = u64> {
    let ends = [0x3fff_c000, 0x0fff_e000, 1 << 24, FAR[0] + (1 << 24), u64::MAX - 0x3fff];
    let bases = [[0; 8].as_slice(), &[FAR[0]; 4], &ends].concat();
    let near = (prop::sample::select(bases), 0u64..0x6000).prop_map(|(base, more)| base.wrapping_add(more));
    prop_oneof![15 => near, 1 => any::<u64>()]
}

fn tce() -> impl Strategy<Value = u64> {
    let page = (0u64..20, 0u64..4).prop_map(|(page, perm)| page << 12 | perm);
    prop_oneof![5 => page, 2 => Just(0), 1 => any::<u64>()]
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0u64..8, 2 => 200u64..800, 1 => Just(1 << 18), 1 => any::<u64>()]
}

fn rtas() -> impl Strategy<Value = Op> {
    let shift = || prop_oneof![4 => prop::sample::select(vec![12u32, 16, 21, 24]), 2 => 10u32..80, 1 => any::<u32>()];
    let word = || prop_oneof![liobn().prop_map(|liobn| (liobn & 0xffff_ffff) as u32), any::<u32>()];
    let buid = (0u64..3).prop_map(|index| BUID + index);
    let create = (buid.clone(), shift(), shift(), 0u32..6).prop_map(|(buid, page, more, far)| {
        vec![0, (buid >> 32) as u32, (buid & 0xffff_ffff) as u32, page, page.wrapping_add(more / (far + 1))]
    });
    let buids = buid.prop_map(|buid| vec![0, (buid >> 32) as u32, (buid & 0xffff_ffff) as u32]);
    let call = |name, args, nret| Op::Rtas { name, args, nret, undo: false };
    let names =
        vec!["ibm,query-pe-dma-window", "ibm,create-pe-dma-window", "ibm,reset-pe-dma-window", "quiesce", "unknown"];
    prop_oneof![
        6 => create.prop_map(move |args| call("ibm,create-pe-dma-window", args, 4)),
        4 => word().prop_map(move |liobn| call("ibm,remove-pe-dma-window", vec![liobn], 1)),
        2 => (buids.clone(), 5u32..7).prop_map(move |(args, nret)| call("ibm,query-pe-dma-window", args, nret)),
        1 => buids.prop_map(move |args| call("ibm,reset-pe-dma-window", args, 1)),
        1 => (0u32..3).prop_map(move |on| call("ibm,set-tce-bypass", vec![UNIT, on], 1)),
        1 => (0u32..3).prop_map(move |nret| call("quiesce", vec![], nret)),
        1 => (prop::sample::select(names), prop::collection::vec(word(), 0..20), any::<u32>())
            .prop_map(move |(name, args, nret)| call(name, args, nret)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let undo = || prop::bool::weighted(0.2);
    let list = || prop_oneof![4 => (0u64..20).prop_map(|page| page << 12), 1 => any::<u64>()];
    prop_oneof![
        16 => (liobn(), bus(), tce(), undo()).prop_map(|(liobn, ioba, tce, undo)| Op::Put { liobn, ioba, tce, undo }),
        8 => (liobn(), bus(), tce(), count(), undo())
            .prop_map(|(liobn, ioba, tce, npages, undo)| Op::Stuff { liobn, ioba, tce, npages, undo }),
        6 => (liobn(), bus(), list(), count(), undo())
            .prop_map(|(liobn, ioba, list, npages, undo)| Op::Indirect { liobn, ioba, list, npages, undo }),
        8 => (rtas(), undo()).prop_map(|(mut op, again)| {
            if let Op::Rtas { undo, .. } = &mut op {
                *undo = again;
            }
            op
        }),
        10 => (prop::bool::weighted(0.3), bus(), 0usize..0x3000, any::<bool>())
            .prop_map(|(vio, at, bytes, write)| Op::Dma { vio, at, bytes, write }),
        1 => any::<[u64; 10]>().prop_map(|registers| Op::Raw { registers }),
        1 => undo().prop_map(|undo| Op::Reset { undo }),
        2 => Just(Op::Save),
        2 => (any::<usize>(), any::<bool>(), undo())
            .prop_map(|(which, stream, undo)| Op::Restore { which, stream, undo }),
        1 => Just(Op::Again),
    ]
}

/// Pages by LIOBN and bus address, as a listener knows them.
type Shadow = BTreeMap<(u32, u64), (u64, Perm)>;

struct Run {
    machine: SpaprMachine,
    effects: Effects,
    model: Model,
    shadow: Shadow,
    ram: Vec<u8>,
    saves: Vec<Saved>,
}

/// A state that was saved, and what belonged to it.
#[derive(Clone)]
struct Saved {
    bytes: Vec<u8>,
    tables: Vec<StreamTable>,
    model: Model,
    shadow: Shadow,
}

fn each_page(extent: &Extent, mut visit: impl FnMut(u64, u64)) {
    for page in 0..u64::from(extent.pages) {
        let ahead = page << extent.page_shift;
        visit(extent.iova.0.wrapping_add(ahead), extent.target.wrapping_add(ahead).0);
    }
}

fn follow(shadow: &mut Shadow, liobn: u32, change: &Change) {
    for extent in change.unmaps() {
        each_page(extent, |at, target| assert_eq!(shadow.remove(&(liobn, at)), Some((target, extent.perm))));
    }
    for extent in change.maps() {
        each_page(extent, |at, target| assert_eq!(shadow.insert((liobn, at), (target, extent.perm)), None));
    }
}

/// A listener takes a table over as it is.
fn replay(shadow: &mut Shadow, liobn: u32, table: &TceTable) {
    assert!(!shadow.keys().any(|(owner, _)| *owner == liobn), "the window was removed before");
    table.each_extent(0, u32::MAX, Runs::Call, |_, extent| {
        each_page(&extent, |at, target| assert_eq!(shadow.insert((liobn, at), (target, extent.perm)), None));
        ControlFlow::Continue(())
    });
}

impl Run {
    fn new(far: u64) -> Self {
        let mut machine = SpaprMachine::new(LIMIT);
        for index in 0..2 {
            let config = PhbConfig { dma64_win_addr: Iova(far), ..PhbConfig::new(index) };
            machine.add_phb(config).expect("a bridge");
        }
        machine.add_vio(VioConfig::new(UNIT)).expect("a device");
        // Entries for lists: page n of RAM, readable and writable, but for a few.
        let word = |i: u64| if i.is_multiple_of(7) { 0 } else { (i % 20) << 12 | i & 3 };
        let ram = (0..RAM / 8).flat_map(|i| word(i).to_be_bytes()).collect();
        let (model, shadow) = (Model::new(LIMIT as usize, far), Shadow::new());
        let mut run = Self { machine, effects: Effects::new(), model, shadow, ram, saves: Vec::new() };
        run.saves.push(run.saved());
        run
    }

    fn saved(&self) -> Saved {
        let own = |table: SharedTable| SharedTable::new(table.borrow().clone().into());
        let tables = self.machine.stream_tables().into_iter();
        Saved {
            bytes: self.machine.save(),
            tables: tables.map(|table| StreamTable { table: table.table.map(own), ..table }).collect(),
            model: self.model.clone(),
            shadow: self.shadow.clone(),
        }
    }

    fn deliver(&mut self) {
        let place = |event: &Event| match event {
            Event::Changed { .. } => 0,
            Event::WindowRemoved { .. } => 1,
            Event::WindowAdded { .. } => 2,
            Event::Bypass { .. } => 3,
        };
        assert!(self.effects.events.is_sorted_by_key(place));
        for event in &self.effects.events {
            match event {
                Event::WindowAdded { liobn, table } => replay(&mut self.shadow, *liobn, &table.borrow()),
                Event::WindowRemoved { liobn, .. } => self.shadow.retain(|(owner, _), _| owner != liobn),
                Event::Changed { liobn, change, .. } => follow(&mut self.shadow, *liobn, change),
                Event::Bypass { on, .. } => assert_eq!(*on, self.model.bypass),
            }
        }
        if let Some(table) = &self.effects.written {
            follow(&mut self.shadow, table.borrow().geometry().liobn, &self.effects.change);
        }
    }

    /// A call that writes: what the machine answered is what the model does; then possibly all of it is undone.
    fn written(&mut self, ret: i64, before: Option<Saved>, model: impl FnOnce(&mut Model) -> i64) {
        assert_eq!(ret, model(&mut self.model));
        self.deliver();
        self.undo(before);
    }

    /// The state before a call that is to be undone.
    fn before(&self, undo: bool) -> Option<Saved> {
        undo.then(|| self.saved())
    }

    /// Undoes the newest call, if the state before it is known: that is what there is then.
    fn undo(&mut self, before: Option<Saved>) {
        let Some(before) = before else { return };
        assert!(self.machine.undo(&mut self.effects));
        assert!(self.effects.is_empty() && self.effects.written.is_none());
        assert!(self.machine.save() == before.bytes, "the state before the call");
        (self.model, self.shadow) = (before.model, before.shadow);
    }

    fn restore(&mut self, which: usize, stream: bool) {
        let saved = self.saves[which % self.saves.len()].clone();
        if stream {
            self.machine.load_stream(&saved.tables, &mut self.effects).expect("its own");
        } else {
            self.machine.restore(&saved.bytes, &mut self.effects).expect("its own");
        }
        self.model = saved.model;
        self.deliver();
        assert_eq!(self.shadow, saved.shadow);
        assert!(self.machine.save() == saved.bytes);
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Put { liobn, ioba, tce, undo } => {
                let before = self.before(undo);
                let ret = self.machine.h_put_tce(liobn, ioba, tce, &mut self.effects);
                self.written(ret, before, |model| model.write(liobn, ioba, 1, 512, |_| tce));
                assert_eq!(self.machine.h_get_tce(liobn, ioba), self.model.get(liobn, ioba));
            }
            Op::Stuff { liobn, ioba, tce, npages, undo } => {
                let before = self.before(undo);
                let ret = self.machine.h_stuff_tce([liobn, ioba, tce, npages], &mut self.effects);
                self.written(ret, before, |model| model.write(liobn, ioba, npages, u64::MAX, |_| tce));
            }
            Op::Indirect { liobn, ioba, list, npages, undo } => {
                let before = self.before(undo);
                let args = [liobn, ioba, list, npages];
                let ret = self.machine.h_put_tce_indirect(args, self.ram.as_slice(), &mut self.effects);
                let word = |i: u64| {
                    let mut word = [0; 8];
                    self.ram.read(Gpa(list + 8 * i), &mut word);
                    u64::from_be_bytes(word)
                };
                let words: Vec<_> = if list & 0xfff == 0 { (0..npages.min(512)).map(word).collect() } else { vec![] };
                self.written(ret, before, |model| match words.is_empty() {
                    true => H_PARAMETER,
                    false => model.write(liobn, ioba, npages, 512, |i| words[usize::try_from(i).expect("fits")]),
                });
            }
            Op::Rtas { name, ref args, nret, undo } => {
                let before = self.before(undo);
                let reply = self.machine.rtas(token::of(name).unwrap_or(0x20ff), args, nret, &mut self.effects);
                let expected = self.model.rtas(name, args, nret);
                assert_eq!(reply.ret, if expected.is_some() { 0 } else { -4 });
                assert_eq!(reply.rets(), expected.unwrap_or(vec![(-3i32).cast_unsigned()]));
                self.deliver();
                self.undo(before);
            }
            Op::Raw { registers } => {
                // H_RTAS on anything in RAM, whose words are entries and no tokens.
                let mut after = registers;
                after[0] = 0xf000;
                assert!(self.machine.hcall(&mut after, self.ram.clone().as_mut_slice(), &mut self.effects));
                assert_eq!(after[1..], registers[1..]);
                assert!(self.effects.is_empty());
            }
            Op::Dma { vio, at, bytes, write } => self.dma(vio, at, bytes, write),
            Op::Reset { undo } => {
                let before = self.before(undo);
                self.machine.reset(&mut self.effects);
                self.model.reset();
                self.deliver();
                self.undo(before);
            }
            Op::Save => self.saves.push(self.saved()),
            Op::Restore { which, stream, undo } => {
                let before = self.before(undo);
                self.restore(which, stream);
                self.undo(before);
            }
            Op::Again => {
                let bytes = self.machine.save();
                self.machine.restore(&bytes, &mut self.effects).expect("its own");
                assert!(self.effects.is_empty(), "nothing changes");
                self.machine = SpaprMachine::from_snapshot(&bytes, LIMIT).expect("its own");
                assert!(self.machine.save() == bytes);
            }
        }
    }

    fn dma(&mut self, vio: bool, at: u64, bytes: usize, write: bool) {
        let device = if vio { DmaDevice::Vio(UNIT) } else { DmaDevice::Pci(0) };
        let mut buffer = vec![0x5a; bytes];
        let mut expected = self.ram.clone();
        for (i, byte) in (0u64..).zip(&mut buffer) {
            let reach = self.model.reach(vio, at.wrapping_add(i), write).filter(|target| *target < RAM);
            let target = reach.map(|target| usize::try_from(target).expect("fits"));
            match target {
                Some(target) if write => expected[target] = 0x5a,
                Some(target) => *byte = expected[target],
                None if write => {}
                None => *byte = 0,
            }
        }
        if write {
            self.machine.dma_write(device, Iova(at), &buffer, self.ram.as_mut_slice());
            assert!(self.ram == expected, "the device wrote what it may");
        } else {
            let mut read = vec![0xff; bytes];
            self.machine.dma_read(device, Iova(at), &mut read, self.ram.as_slice());
            assert!(read == buffer, "the device read what it may");
        }
    }

    fn check(&self) {
        assert_eq!(self.machine.stored(), self.model.entries.len() as u64);
        let stored: u64 = self.machine.tables().map(|table| u64::from(table.borrow().stored())).sum();
        assert_eq!(self.machine.stored(), stored, "the budget is exact");
        assert!(self.machine.stored() <= u64::from(LIMIT));
        let windows = self.machine.tables().map(|table| table.borrow().geometry());
        let windows: Vec<_> =
            windows.map(|w| (w.liobn, w.bus_offset.0, u32::from(w.page_shift), u64::from(w.entries))).collect();
        let modelled: Vec<_> = self.model.windows.iter().map(|(l, w)| (*l, w.bus, w.shift, w.entries)).collect();
        assert_eq!(windows, modelled);
        let mut mapped = Shadow::new();
        for ((liobn, index), tce) in &self.model.entries {
            let table = self.machine.table(u64::from(*liobn)).expect("a window").borrow();
            assert_eq!(table.get(u32::try_from(*index).expect("fits")), *tce);
            let window = self.model.windows[liobn];
            if tce & 3 != 0 {
                let target = tce >> window.shift << window.shift;
                mapped.insert((*liobn, window.bus + (index << window.shift)), (target, Perm::from_bits(*tce)));
            }
        }
        assert_eq!(self.shadow, mapped);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_call_answers_as_the_model_and_tells_listeners_what_changed(
        ops in prop::collection::vec(op(), 1..120),
        far in prop::sample::select(FAR.to_vec()),
    ) {
        let mut run = Run::new(far);
        for op in &ops {
            run.step(op);
            run.check();
        }
    }

    #[test]
    fn any_argument_of_any_call_is_no_panic(
        calls in prop::collection::vec((any::<[u64; 10]>(), 0usize..5, liobn(), any::<bool>()), 1..40),
        block in prop::collection::vec(any::<u8>(), 64),
        names in 0u32..7,
    ) {
        let mut run = Run::new(FAR[0]);
        let mut ram = block;
        ram.splice(..4, (0x2023 + names).to_be_bytes());
        for (mut registers, opcode, known, likely) in calls {
            registers[0] = [0x1c, 0x20, 0x138, 0x13c, 0xf000][opcode];
            if likely {
                registers[1] = if opcode == 4 { 0 } else { known };
            }
            prop_assert!(run.machine.hcall(&mut registers, ram.as_mut_slice(), &mut run.effects));
            for device in [DmaDevice::Pci(0), DmaDevice::Pci(7), DmaDevice::Vio(UNIT)] {
                let chunk = run.machine.translate(device, Iova(registers[2]), registers[3]);
                prop_assert!(chunk.bytes <= registers[3] && (chunk.bytes > 0 || registers[3] == 0));
            }
            prop_assert!(run.machine.stored() <= u64::from(LIMIT));
        }
    }
}
