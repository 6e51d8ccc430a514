//! The sections of real migration streams (`tests/data/logs`), read and written again: every byte is as QEMU wrote it,
//! also after a machine took the tables over.

#![cfg(test)]

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use giommu_core::migration::{SectionWriter, StreamReader, StreamTable};
use giommu_core::spapr::{Effects, Event, LoadError, PhbConfig, SpaprMachine, VioConfig};
use giommu_core::tce_table::Runs;

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
                    assert!(change.unmaps.is_empty());
                    let pages: u32 = change.maps.iter().map(|extent| extent.pages).sum();
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
