//! The sections of real migration streams (`tests/data/logs`), read and written again: every byte is as QEMU wrote it,
//! also after a machine took the tables over.

#![cfg(test)]

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use giommu_core::address::Iova;
use giommu_core::hcall::{H_NOT_ENOUGH_RESOURCES, H_SUCCESS};
use giommu_core::migration::{SectionWriter, StreamReader, StreamTable};
use giommu_core::spapr::{Effects, Event, LoadError, PhbConfig, SpaprMachine, VioConfig, token};
use giommu_core::tce_table::{Change, Geometry, Runs, SharedTable, TceTable};

/// Sizes of pieces: all at once, some, and such that entries are split.
const PIECES: [usize; 4] = [usize::MAX, 65_536, 8191, 13];

fn recordings() -> Vec<PathBuf> {
    let folders = [Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/data/logs")), whole_recordings()];
    let files = folders.into_iter().flatten().flat_map(|folder| fs::read_dir(folder).expect("the recordings"));
    let files = files.map(|file| file.expect("a file").path());
    files.filter(|path| path.to_string_lossy().ends_with(".mig.gz")).collect()
}

/// Whole recordings, where they are: the bundled ones hold little but the tables.
fn whole_recordings() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("GIOMMU_RECORDINGS")?).join("migration"))
}

fn inflated(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(path).expect("the recording")).read_to_end(&mut bytes).expect("a sound .gz");
    bytes
}

fn read(stream: &[u8]) -> StreamReader {
    let mut reader = StreamReader::new();
    assert_eq!(reader.read(stream, true), stream.len());
    reader
}

fn written(id: u32, table: &StreamTable, piece: usize) -> Vec<u8> {
    let mut writer = SectionWriter::new(id, table);
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        let more = writer.next(&mut bytes, piece);
        assert!(bytes.len() - before <= piece);
        if !more {
            assert!(!writer.next(&mut bytes, piece), "the end stays the end");
            return bytes;
        }
        assert_eq!(bytes.len() - before, piece, "pieces are full up to the last");
    }
}

/// Where the section of a table begins: at its header, which is nowhere else.
fn section<'a>(stream: &'a [u8], table: &StreamTable) -> &'a [u8] {
    let mut header = vec![4];
    header.extend(table.section_id.expect("read from a stream").to_be_bytes());
    header.extend(b"\x0bspapr_iommu");
    header.extend(table.liobn.to_be_bytes());
    let mut found = stream.windows(header.len()).enumerate().filter(|(_, window)| *window == header);
    let (at, _) = found.next().expect("the section");
    assert_eq!(found.next(), None);
    &stream[at..]
}

/// A machine like the one that a stream comes from.
fn machine_for(tables: &[StreamTable]) -> SpaprMachine {
    let mut machine = SpaprMachine::new(1 << 20);
    let ddw = tables.iter().any(|table| table.liobn == 0x8000_0001);
    machine.add_phb(PhbConfig { ddw, ..PhbConfig::new(0) }).expect("a bridge");
    for vio in tables.iter().filter(|table| table.liobn >> 31 == 0) {
        machine.add_vio(VioConfig::new(vio.liobn)).expect("a device");
    }
    machine
}

#[test]
fn every_section_that_was_read_is_written_byte_for_byte() {
    let recordings = recordings();
    assert!(recordings.len() >= 2);
    for path in recordings {
        let stream = inflated(&path);
        let reader = read(&stream);
        assert_eq!((reader.tables().len(), reader.unsound(), reader.cut().len()), (3, 0, 0), "{}", path.display());
        for table in reader.tables() {
            let original = section(&stream, table);
            for piece in PIECES {
                let bytes = written(table.section_id.expect("read"), table, piece);
                assert!(original.starts_with(&bytes), "{} {:#x} {piece}", path.display(), table.liobn);
            }
        }
    }
}

#[test]
fn a_machine_that_loaded_a_stream_writes_it_again() {
    for path in recordings() {
        let stream = inflated(&path);
        let reader = read(&stream);
        let mut machine = machine_for(reader.tables());
        let empty = machine.save();
        let mut effects = Effects::new();
        machine.load_stream(reader.tables(), &mut effects).expect("the same devices");
        for event in &effects.events {
            match event {
                Event::Changed { table, change, .. } => {
                    assert!(change.unmaps().is_empty());
                    let pages: u32 = change.maps().iter().map(|extent| extent.pages).sum();
                    assert_eq!(pages, table.borrow().mapped());
                }
                Event::WindowAdded { liobn, table } => {
                    assert_eq!((*liobn, table.borrow().mapped()), (0x8000_0001, 32));
                }
                event => panic!("{event:?}"),
            }
        }
        let ids = reader.tables().iter().map(|table| table.section_id.expect("read"));
        for (id, table) in ids.zip(machine.stream_tables()) {
            let bytes = written(id, &table, usize::MAX);
            assert!(section(&stream, &StreamTable { section_id: Some(id), ..table }).starts_with(&bytes));
        }
        for table in machine.tables() {
            let table = table.borrow();
            // A stream does not say what one call stored, so that no entry is taken for part of another one's.
            assert_eq!(table.count_runs(Runs::Call), table.mapped());
        }
        let loaded = machine.save();
        let restored = SpaprMachine::from_snapshot(&loaded, machine.entry_limit()).expect("sound");
        assert_eq!(restored.save(), loaded);
        assert!(machine.undo(&mut effects));
        assert_eq!(machine.save(), empty);
    }
}

#[test]
fn a_stream_says_which_place_counts_as_the_default_windows() {
    let mut machine = SpaprMachine::new(8);
    machine.add_phb(PhbConfig::new(0)).expect("a bridge");
    let before = machine.save();
    let mut effects = Effects::new();
    let flags = |machine: &SpaprMachine| -> Vec<_> {
        machine.stream_tables().iter().map(|table| table.default_window).collect()
    };
    let flagged = |flags: [Option<bool>; 2], machine: &SpaprMachine| -> Vec<StreamTable> {
        let tables = machine.stream_tables().into_iter().zip(flags);
        tables.map(|(table, default_window)| StreamTable { default_window, ..table }).collect()
    };
    let load = |machine: &mut SpaprMachine, flags, effects: &mut Effects| {
        let tables = flagged(flags, machine);
        machine.load_stream(&tables, effects).expect("the same windows");
        assert!(effects.is_empty(), "nobody is told");
    };
    let swapped = vec![Some(false), Some(true)];
    load(&mut machine, [Some(false), Some(true)], &mut effects);
    assert_eq!(flags(&machine), swapped);
    let saved = machine.save();
    assert!(machine.undo(&mut effects) && machine.save() == before);
    machine.restore(&saved, &mut effects).expect("its own");
    assert_eq!(flags(&machine), swapped);
    assert!(machine.undo(&mut effects) && machine.save() == before);
    machine.restore(&saved, &mut effects).expect("its own");
    // A section of version 2 does not say it.
    load(&mut machine, [None, None], &mut effects);
    assert_eq!(flags(&machine), swapped);
    // The last window was in a place that is not the default one's, so that the default window returns.
    machine.rtas(token::REMOVE, &[0x8000_0000], 1, &mut effects);
    assert!(matches!(effects.events[..], [Event::WindowRemoved { .. }, Event::WindowAdded { .. }]));
    assert_eq!(flags(&machine), [Some(true), Some(true)], "as QEMU, which never takes the flag away");
    assert!(machine.undo(&mut effects) && machine.save() == saved);
}

#[test]
fn a_table_that_was_loaded_leaves_the_limit_of_its_reader_and_the_reader_its_table() {
    let mut machine = SpaprMachine::new(8);
    machine.add_phb(PhbConfig::new(0)).expect("a bridge");
    let mut tables = machine.stream_tables();
    let window = Geometry { liobn: 0x8000_0001, bus_offset: Iova(1 << 59), page_shift: 16, entries: 16 };
    let mut full = TceTable::new(window, 1).expect("sound");
    assert!(full.put(0, 3, &mut Change::new()) && !full.put(1, 3, &mut Change::new()));
    tables[1].table = Some(SharedTable::new(full.into()));
    let mut effects = Effects::new();
    machine.load_stream(&tables, &mut effects).expect("a window that a guest can create");
    for page in 1..8 {
        assert_eq!(machine.h_put_tce(0x8000_0001, (1 << 59) + (page << 16), 3, &mut effects), H_SUCCESS);
    }
    assert_eq!(machine.h_put_tce(0x8000_0001, (1 << 59) + (8 << 16), 3, &mut effects), H_NOT_ENOUGH_RESOURCES);
    assert_eq!(tables[1].table.as_ref().expect("it stays").borrow().stored(), 1);
    // The machine's own tables, as they are now, change nothing.
    machine.load_stream(&machine.stream_tables(), &mut effects).expect("its own");
    assert!(effects.is_empty());
}

#[test]
fn a_stream_of_another_machine_is_refused_and_changes_nothing() {
    let path = recordings().into_iter().find(|path| path.ends_with("migration-ddw-on.mig.gz")).expect("bundled");
    let stream = inflated(&path);
    let reader = read(&stream);
    let [vio, first, second] = reader.tables() else { panic!("three tables") };
    let refused = |machine: &mut SpaprMachine, tables: &[StreamTable]| {
        let (before, mut effects) = (machine.save(), Effects::new());
        let error = machine.load_stream(tables, &mut effects).expect_err("another machine");
        assert!(machine.save() == before && effects.is_empty());
        error
    };
    let tables = [vio, first, second].map(Clone::clone);
    let mut machine = machine_for(&tables);
    assert_eq!(refused(&mut machine, &tables[1..]), LoadError::Missing(vio.liobn));
    assert_eq!(refused(&mut machine, &tables[..2]), LoadError::Missing(0x8000_0001));
    let twice = [&tables[..], &tables[..1]].concat();
    assert_eq!(refused(&mut machine, &twice), LoadError::Duplicate(vio.liobn));
    for liobn in [0x7100_0009, 0x8000_0002, 0x8000_0100, u32::MAX] {
        let other = [&tables[..], &[StreamTable { liobn, ..second.clone() }]].concat();
        assert_eq!(refused(&mut machine, &other), LoadError::Unknown(liobn));
    }
    let bypassed = [vio.clone(), StreamTable { bypass: true, ..first.clone() }, second.clone()];
    assert_eq!(refused(&mut machine, &bypassed), LoadError::Bypass(0x8000_0000));
    let swapped = [vio.clone(), StreamTable { table: second.table.clone(), ..first.clone() }, second.clone()];
    assert!(matches!(refused(&mut machine, &swapped), LoadError::Window { liobn: 0x8000_0000, window: Some(_) }));
    let unused = [StreamTable { table: None, ..vio.clone() }, first.clone(), second.clone()];
    assert_eq!(refused(&mut machine, &unused), LoadError::Window { liobn: vio.liobn, window: None });
    let mut small = SpaprMachine::new(8);
    small.add_phb(PhbConfig::new(0)).expect("a bridge");
    small.add_vio(VioConfig::new(vio.liobn)).expect("a device");
    assert_eq!(refused(&mut small, &tables), LoadError::EntryLimit { limit: 8 });
    let mut coarse = SpaprMachine::new(1 << 20);
    coarse.add_phb(PhbConfig { pgsz: 1 << 12, ..PhbConfig::new(0) }).expect("a bridge");
    coarse.add_vio(VioConfig::new(vio.liobn)).expect("a device");
    let error = refused(&mut coarse, &tables).to_string();
    assert_eq!(error, "LIOBN 0x80000001 can not have a window of 32 pages with page shift 24 at 0x800000000000000");
    let mut wide = SpaprMachine::new(1 << 20);
    wide.add_phb(PhbConfig::new(0)).expect("a bridge");
    wide.add_vio(VioConfig { window_size: 1 << 20, ..VioConfig::new(vio.liobn) }).expect("a device");
    assert!(matches!(refused(&mut wide, &tables), LoadError::Window { window: Some(_), .. }));
    let held = first.table.as_ref().expect("in use").borrow_mut();
    let error = machine.load_stream(&tables, &mut Effects::new()).expect_err("a borrow is held");
    assert_eq!(error, LoadError::InUse(0x8000_0000));
    drop(held);
    assert!(machine.load_stream(&tables, &mut Effects::new()).is_ok());
}
