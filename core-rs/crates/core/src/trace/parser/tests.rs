use proptest::prelude::*;

use super::*;

/// A log with what logs hold: events with and without a prefix, foreign lines, damaged ones, both line ends.
const LOG: &[u8] = b"107@1795217470.303126:spapr_iommu_new_table liobn=0x80000000 table=0x7f7bbc6ab010 fd=-1\n\
111@1795217470.439280:spapr_iommu_pci_put liobn=0x80000000 ioba=0x0 tce=0x100003 ret=0\n\
spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x101003 ret=0\r\n\
\n\
qemu-system-ppc64: warning: spapr_iommu_put liobn=0x0 ioba=0x0 tce=0x0 ret=0\n\
111@1795217470.447384:spapr_iommu_pci_indirect liobn=0x80000000 ioba=0x1000000 tcelist=0x20000 iobaN=0x1ff tceN=0x1e00003 ret=0\n\
spapr_iommu_put liobn=0x80000000 ioba=0xz tce=0x101003 ret=0\n\
spapr_iommu_put\n\
spapr_iommu_puts liobn=0x80000000 ioba=0x0 tce=0x101003 ret=0\n\
107@1795217470.668597:vfio_mdev  (0000:00:04.0) is_mdev 0\n\
107@1795217470.675090:vfio_listener_region_add_iommu region_add [iommu] tce-iommu-80000000 0x0 - 0x3fffffff\n\
107@1795217470.686755:vfio_iommu_map_notify iommu MAP @ 0x0 - 0xfff\n\
107@1795217470.68675:vfio_iommu_map_notify iommu MAP @ 0x0 - 0xfff\n\
spapr_iommu_xlate liobn=0x80000000 0x0 -> 0x100000 perm=3 mask=0xfff\n\
vfio_reset_handler \n\
spapr_iommu_pci_stuff liobn=0x80000000 ioba=0x5010000 tcevalue=0x0 npages=16 ret=0";

type Event = (Kind, [u64; FIELDS], Vec<u8>, u64, bool, Option<u64>);

/// Reads `log` in pieces that end at `cuts`, as a reader does that keeps what is left.
fn read(log: &[u8], cuts: &[usize]) -> (Vec<Event>, Parser) {
    let (mut parser, mut events, mut kept) = (Parser::default(), Vec::new(), Vec::new());
    let mut from = 0;
    for to in cuts.iter().copied().chain([log.len()]) {
        let last = to == log.len();
        kept.extend_from_slice(&log[from..to]);
        from = to;
        let mut at = 0;
        while let Found::Event(event) = parser.next(&kept, &mut at, last, &Limits::NONE) {
            events.push((event.kind, event.fields, event.text.to_vec(), event.line, event.terminated, event.time()));
        }
        kept.drain(..at);
        assert!(kept.len() <= LINE_MAX && (!last || kept.is_empty()));
    }
    (events, parser)
}

#[test]
fn events_are_told_from_foreign_and_damaged_lines() {
    let (events, parser) = read(LOG, &[]);
    let lines: Vec<u64> = events.iter().map(|event| event.3).collect();
    assert_eq!(lines, [1, 2, 3, 6, 11, 12, 14, 15, 16]);
    assert_eq!((parser.lines(), parser.events(), parser.unparsed()), (16, 9, 2));
    assert_eq!(parser.offset(), LOG.len() as u64);
    assert_eq!(events[0].5, Some(1_795_217_470_303_126));
    assert_eq!(events[2].5, None);
    assert!(events[7].4 && !events[8].4);
}

#[test]
fn a_long_line_is_passed_over_in_constant_memory() {
    let mut log = b"spapr_iommu_ddw_remove liobn=0x1\nspapr_iommu_put ".to_vec();
    log.resize(3 << 20, b'x');
    log.extend_from_slice(b"\nsomething else ");
    log.resize(6 << 20, b'\r');
    log.extend_from_slice(b"\nspapr_iommu_ddw_remove liobn=0x2");
    for step in [1 << 20, 4096, 1000] {
        let cuts: Vec<usize> = (1..log.len() / step).map(|piece| piece * step).collect();
        let (events, parser) = read(&log, &cuts);
        assert_eq!(events.iter().map(|event| event.3).collect::<Vec<_>>(), [1, 4]);
        assert_eq!((parser.lines(), parser.events(), parser.unparsed()), (4, 2, 1));
    }
}

#[test]
fn a_line_as_long_as_allowed_is_read_and_a_longer_one_is_not() {
    for (length, events) in [(LINE_MAX, 1), (LINE_MAX + 1, 0)] {
        let mut line = b"vfio_listener_region_del_iommu region_del [iommu] ".to_vec();
        line.resize(length, b'n');
        line.push(b'\n');
        for cuts in [&[][..], &[1], &[LINE_MAX - 1], &[LINE_MAX], &[LINE_MAX + 1], &[1, 2, 3, 4000]] {
            let (found, parser) = read(&line, cuts);
            assert_eq!((found.len(), parser.unparsed()), (events, 1 - events as u64));
        }
    }
}

#[test]
fn limits_stop_where_they_say() {
    let stop = |limits: Limits| {
        let (mut parser, mut at) = (Parser::default(), 0);
        let mut last = 0;
        loop {
            match parser.next(LOG, &mut at, true, &limits) {
                Found::Event(event) => last = event.line,
                found => return (found, last, parser.lines()),
            }
        }
    };
    assert_eq!(stop(Limits { line: 5, ..Limits::NONE }), (Found::Limit, 3, 5));
    assert_eq!(stop(Limits { line: 0, ..Limits::NONE }), (Found::Limit, 0, 0));
    assert_eq!(stop(Limits { line: 16, ..Limits::NONE }), (Found::Input, 16, 16));
    assert_eq!(stop(Limits { offset: 88, ..Limits::NONE }), (Found::Limit, 1, 1));
    assert_eq!(stop(Limits { offset: 87, ..Limits::NONE }), (Found::Limit, 0, 0));
    assert_eq!(stop(Limits { time: 1_795_217_470_447_384, ..Limits::NONE }), (Found::Limit, 6, 10));
    assert_eq!(stop(Limits { time: 1_795_217_470_447_383, ..Limits::NONE }), (Found::Limit, 3, 5));
    assert_eq!(stop(Limits { time: u64::MAX - 1, ..Limits::NONE }), (Found::Input, 16, 16));
}

#[test]
fn unread_gives_the_same_event_again() {
    let (mut parser, mut at) = (Parser::default(), 0);
    while let Found::Event(event) = parser.next(LOG, &mut at, true, &Limits::NONE) {
        let counts = (parser.lines(), parser.events(), parser.offset());
        parser.unread(&event, &mut at);
        assert_eq!(parser.next(LOG, &mut at, true, &Limits::NONE), Found::Event(event));
        assert_eq!((parser.lines(), parser.events(), parser.offset()), counts);
    }
}

fn cuts(length: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..=length, 0..8).prop_map(|mut cuts| {
        cuts.sort_unstable();
        cuts
    })
}

proptest! {
    #[test]
    fn pieces_of_any_size_read_as_one(cuts in cuts(LOG.len())) {
        prop_assume!(cuts.last() != Some(&LOG.len()));
        prop_assert_eq!(read(LOG, &cuts), read(LOG, &[]));
    }

    #[test]
    fn noise_never_panics_and_pieces_do_not_matter(
        (log, cuts) in prop::collection::vec(prop_oneof![
            any::<u8>(),
            prop::sample::select(b"\n\r 0x=@:.spapr_iommu_put".to_vec()),
        ], 1..400).prop_flat_map(|log| { let length = log.len(); (Just(log), cuts(length - 1)) })
    ) {
        prop_assert_eq!(read(&log, &cuts), read(&log, &[]));
    }

    #[test]
    fn damaged_lines_never_panic_and_pieces_do_not_matter(
        damage in prop::collection::vec((0..LOG.len(), any::<u8>()), 1..12),
        cuts in cuts(LOG.len() - 1),
    ) {
        let mut log = LOG.to_vec();
        for (at, byte) in damage {
            log[at] = byte;
        }
        let (events, parser) = read(&log, &cuts);
        prop_assert_eq!((events, parser.clone()), read(&log, &[]));
        prop_assert!(parser.events() + parser.unparsed() <= parser.lines());
    }
}
