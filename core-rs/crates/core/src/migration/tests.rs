use proptest::prelude::*;

use super::*;
use crate::address::Iova;
use crate::tce_table::{Change, TceTable};
use crate::trace::machine::{LogMachine, Stop};

/// Writes sections as QEMU does.
#[derive(Clone, Debug)]
struct Written {
    liobn: u32,
    values: Vec<u64>,
    place: Option<(u64, u32)>,
    number: u32,
}

impl Written {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x04];
        bytes.extend(self.number.to_be_bytes());
        bytes.push(11);
        bytes.extend(b"spapr_iommu");
        bytes.extend(self.liobn.to_be_bytes());
        bytes.extend(3u32.to_be_bytes());
        bytes.extend(self.liobn.to_be_bytes());
        bytes.extend(u32::try_from(self.values.len()).unwrap().to_be_bytes());
        bytes.push(0);
        self.values.iter().for_each(|value| bytes.extend(value.to_be_bytes()));
        bytes.push(1);
        if let Some((bus_offset, shift)) = self.place {
            bytes.push(5);
            bytes.push(14);
            bytes.extend(b"spapr_iommu_ex");
            bytes.extend(1u32.to_be_bytes());
            bytes.extend(bus_offset.to_be_bytes());
            bytes.extend(shift.to_be_bytes());
        }
        bytes.push(0x7e);
        bytes.extend(self.number.to_be_bytes());
        bytes
    }
}

fn sample() -> Vec<Written> {
    let values = |seed: u64, count: u64| {
        (0..count).map(|at| if (at + seed).is_multiple_of(3) { 0 } else { at << 12 | 3 }).collect()
    };
    vec![
        Written { liobn: 0x8000_0000, values: values(0, 64), place: None, number: 7 },
        Written { liobn: 0x8000_0001, values: values(1, 16), place: Some((1 << 59, 24)), number: 8 },
        Written { liobn: 0x8000_0101, values: vec![], place: Some((0, 0)), number: 9 },
        Written { liobn: 0x7100_0003, values: values(2, 5), place: None, number: 0x0b0b_0b0b },
    ]
}

fn stream(sections: &[Written], noise: &[u8]) -> Vec<u8> {
    let mut bytes = b"QEVM\0\0\0\x03".to_vec();
    for section in sections {
        bytes.extend(noise);
        bytes.extend(section.bytes());
    }
    bytes.extend(noise);
    bytes
}

fn read(stream: &[u8], cuts: &[usize]) -> StreamReader {
    let (mut reader, mut kept, mut from) = (StreamReader::new(), Vec::new(), 0);
    for to in cuts.iter().copied().chain([stream.len()]) {
        kept.extend_from_slice(&stream[from..to]);
        from = to;
        let used = reader.read(&kept, to == stream.len());
        kept.drain(..used);
        assert!(kept.len() < 64, "{} bytes are kept", kept.len());
    }
    reader
}

type Plain = (u32, Option<(u64, u8, Vec<u64>)>);

fn plain(reader: &StreamReader) -> Vec<Plain> {
    let plain = |table: &StreamTable| {
        let contents = table.table.as_ref().map(|table| {
            let table = table.borrow();
            let geometry = table.geometry();
            (geometry.bus_offset.0, geometry.page_shift, (0..geometry.entries).map(|at| table.get(at)).collect())
        });
        (table.liobn, contents)
    };
    reader.tables().iter().map(plain).collect()
}

fn expected(sections: &[Written]) -> Vec<Plain> {
    let plain = |section: &Written| {
        let (bus_offset, shift) = section.place.unwrap_or((0, 12));
        let contents =
            (!section.values.is_empty()).then(|| (bus_offset, u8::try_from(shift).unwrap(), section.values.clone()));
        (section.liobn, contents)
    };
    let mut list: Vec<Plain> = sections.iter().map(plain).collect();
    list.sort_by_key(|one| one.0);
    list
}

#[test]
fn every_section_is_found_with_its_entries_and_its_place() {
    let reader = read(&stream(&sample(), b"\x0bspapr_iomm\x04 noise \x0b"), &[]);
    assert_eq!(plain(&reader), expected(&sample()));
    assert_eq!((reader.unsound(), reader.cut()), (0, &[][..]));
    assert_eq!(reader.tables()[1].default_window, Some(true));
}

/// What a writer makes of a table, in pieces of these sizes over and over.
fn rewritten(table: &StreamTable, pieces: &[usize]) -> Vec<u8> {
    let mut writer = SectionWriter::new(table.section_id.expect("read"), table);
    let mut bytes = Vec::new();
    for piece in pieces.iter().cycle() {
        let before = bytes.len();
        let more = writer.next(&mut bytes, *piece);
        assert!(bytes.len() - before == *piece || !more);
        if !more {
            break;
        }
    }
    bytes
}

#[test]
fn a_section_is_written_as_it_was_read() {
    let reader = read(&stream(&sample(), b"noise"), &[]);
    for table in reader.tables() {
        let original = sample().into_iter().find(|section| section.liobn == table.liobn).expect("read from it");
        assert_eq!(rewritten(table, &[usize::MAX]), original.bytes());
    }
    // Of the windows that are not in use QEMU tells the place alone, and it is nowhere.
    let last = &reader.tables()[3];
    assert!(last.table.is_none() && rewritten(last, &[64]).ends_with(&sample()[2].bytes()[33..]));
}

#[test]
fn a_section_of_version_2_stays_one() {
    let mut bytes = sample()[0].bytes();
    bytes[24] = 2;
    bytes.remove(bytes.len() - 6);
    let reader = read(&bytes, &[]);
    assert_eq!(reader.tables()[0].default_window, None);
    assert_eq!(rewritten(&reader.tables()[0], &[7]), bytes);
}

#[test]
fn a_section_of_gigabytes_is_written_piece_by_piece() {
    let geometry = Geometry { liobn: 0x8000_0000, bus_offset: Iova(0), page_shift: 12, entries: u32::MAX };
    let mut table = TceTable::new(geometry, 8).expect("sound");
    assert!(table.put(1 << 20, 0x5003, &mut Change::new()));
    let table = Some(SharedTable::new(table.into()));
    let of = StreamTable { liobn: 0x8000_0000, section_id: None, table, bypass: true, default_window: Some(false) };
    let mut writer = SectionWriter::new(7, &of);
    let mut piece = Vec::new();
    assert!(writer.next(&mut piece, 0) && piece.is_empty());
    assert!(writer.next(&mut piece, 34 + 4));
    assert_eq!(piece[25..], [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0]);
    piece.clear();
    assert!(writer.next(&mut piece, 9 << 20));
    assert_eq!(piece.iter().position(|byte| *byte != 0), Some((8 << 20) - 4 + 6), "big-endian");
    assert_eq!(piece.len(), 9 << 20);
}

#[test]
fn a_section_that_does_not_fit_together_is_not_taken() {
    let whole = sample()[0].bytes();
    // Version, LIOBN, number of entries, bypass, default window, footer, its number.
    let wrong = [24, 28, 32, 33, whole.len() - 6, whole.len() - 5, whole.len() - 1];
    for at in wrong {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        bytes.extend([0; 4096]);
        let reader = read(&bytes, &[]);
        assert!(reader.tables().is_empty(), "byte {at}");
    }
    // A subsection of another name.
    let mut bytes = sample()[1].bytes();
    let length = bytes.len();
    bytes[length - 24] ^= 1;
    assert!(read(&bytes, &[]).tables().is_empty());
}

#[test]
fn a_section_inside_one_that_is_not_sound_is_found() {
    let mut bytes = sample()[0].bytes();
    let inner = sample()[3].bytes();
    let length = bytes.len();
    bytes[60..60 + inner.len()].copy_from_slice(&inner);
    bytes[length - 1] ^= 1;
    assert_eq!(plain(&read(&bytes, &[])), expected(&sample()[3..]));
}

#[test]
fn a_stream_cut_anywhere_gives_what_was_whole() {
    let whole = stream(&sample(), b"noise");
    for length in 0..whole.len() {
        let reader = read(&whole[..length], &[]);
        let tables = plain(&reader);
        assert_eq!(tables, expected(&sample()[..tables.len()]));
        assert!(reader.cut().len() <= 1);
    }
}

#[test]
fn a_table_is_compared_as_far_as_the_log_tells_it() {
    let log = b"spapr_iommu_new_table liobn=0x80000000 table=0x1 fd=-1\n\
        spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x1003 ret=0\n\
        spapr_iommu_pci_put liobn=0x80000000 ioba=0x2000 tce=0x2003 ret=0\n\
        spapr_iommu_pci_indirect liobn=0x80000000 ioba=0x4000 tcelist=0x0 iobaN=0x2 tceN=0x6003 ret=0\n\
        spapr_iommu_xlate liobn=0x80000000 0x4000 -> 0x4000 perm=3 mask=0xfff\n";
    let mut machine = LogMachine::default();
    assert_eq!(machine.run(log, &mut 0, true), Stop::End);
    let mut values = vec![0; 1 << 18];
    // Entry 1 is as logged, entry 2 is not, entry 4 differs in bits that a translation does not show.
    values[1] = 0x1003;
    values[2] = 0x2001;
    values[4] = 0x4ff3;
    values[5] = 0x5003;
    values[6] = 0x6003;
    let reader = read(&Written { liobn: 0x8000_0000, values, place: None, number: 1 }.bytes(), &[]);
    let found = compare(&machine, &reader);
    let [only] = &found[..] else { panic!("{found:?}") };
    assert_eq!((only.entries, only.agreed, only.differing, only.unknown), (1 << 18, (1 << 18) - 2, 1, 1));
    assert_eq!(only.differences.shown(), [StateDifference { address: 0x2000, log: 0x2003, stream: 0x2001 }]);
}

#[test]
fn tables_of_which_the_log_says_nothing_are_unknown() {
    let reader = read(&stream(&sample(), b""), &[]);
    let found = compare(&LogMachine::default(), &reader);
    let counts: Vec<_> =
        found.iter().map(|one| (one.liobn, one.entries, one.agreed, one.differing, one.unknown)).collect();
    assert_eq!(
        counts,
        [
            (0x7100_0003, 5, 0, 0, 5),
            (0x8000_0000, 64, 0, 0, 64),
            (0x8000_0001, 16, 0, 0, 16),
            (0x8000_0101, 0, 0, 0, 0)
        ]
    );
}

fn cuts(length: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..length, 0..8).prop_map(|mut cuts| {
        cuts.sort_unstable();
        cuts
    })
}

proptest! {
    #[test]
    fn pieces_of_any_size_read_as_one(
        (bytes, cuts) in prop::collection::vec(prop::sample::select(b"\x0b\x04\x7espapr_iommu".to_vec()), 0..30)
            .prop_map(|noise| stream(&sample(), &noise))
            .prop_flat_map(|bytes| { let length = bytes.len(); (Just(bytes), cuts(length)) })
    ) {
        let (one, many) = (read(&bytes, &[]), read(&bytes, &cuts));
        prop_assert_eq!(plain(&one), plain(&many));
        prop_assert_eq!(plain(&one), expected(&sample()));
        prop_assert_eq!(one.offset(), bytes.len() as u64);
    }

    #[test]
    fn pieces_of_any_size_make_one_section(
        values in prop::collection::vec(prop_oneof![2 => Just(0u64), 1 => any::<u64>()], 0..1200),
        place in prop_oneof![Just(None), (0u64..1 << 50, 0u32..50).prop_map(Some)],
        pieces in prop::collection::vec(0usize..2000, 1..6),
    ) {
        prop_assume!(pieces.iter().any(|piece| *piece > 0));
        // What is not in use is nowhere; what is nowhere else is not told.
        let place = if values.is_empty() { Some((0, 0)) } else { place.filter(|place| *place != (0, 12)) };
        let section = Written { liobn: 0x8000_0001, values, place, number: 0x7e7e_7e7e };
        let bytes = section.bytes();
        let reader = read(&bytes, &[]);
        prop_assert_eq!(rewritten(&reader.tables()[0], &pieces), bytes);
    }

    #[test]
    fn damage_never_panics(
        damage in prop::collection::vec((0..900usize, any::<u8>()), 1..12),
        cut in 0..900usize,
    ) {
        let mut bytes = stream(&sample(), b"noise");
        for (at, byte) in damage {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        let cut = cut.min(bytes.len() - 1);
        prop_assert_eq!(plain(&read(&bytes, &[cut])), plain(&read(&bytes, &[])));
    }
}
