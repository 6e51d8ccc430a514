use super::*;
use proptest::prelude::*;

fn range(start: u64, last: u64) -> IovaRange {
    IovaRange::new(Iova(start), Iova(last)).expect("range")
}

fn entry(start: u64, last: u64, target: u64, page_shift: u8) -> Entry {
    Entry { range: range(start, last), target: Gpa(target), perm: Perm::READ_WRITE, page_shift, space: 0 }
}

/// Walks with an IOMMU given as a function; returns the runs and how many probes it took.
fn walk(
    mut walker: Walker,
    mut translate: impl FnMut(Iova) -> Option<Entry>,
    mut next: impl FnMut(Iova) -> NextMapped,
) -> (Vec<Run>, u64) {
    let mut runs = Vec::new();
    let mut probes = 0;
    while let Some(probe) = walker.probe() {
        probes += 1;
        assert!(probes < 1_000_000, "the walk does not end");
        let answer = match translate(probe) {
            Some(entry) => walker.answer_mapped(entry),
            None => walker.answer_hole(next(probe)),
        };
        runs.extend(answer.expect("good answer"));
    }
    runs.extend(walker.finish());
    (runs, probes)
}

fn unknown(_: Iova) -> NextMapped {
    NextMapped::Unknown
}

#[test]
fn a_region_of_2_to_the_64_minus_1_bytes_ends_with_its_last_page() {
    // The case in which QEMU's first loop never ended: the cut page at the top is visited, once.
    let top = range(0, u64::MAX - 1);
    let mut asked = Vec::new();
    let (runs, probes) = walk(
        Walker::new(top, 1 << 63).unwrap(),
        |probe| {
            asked.push(probe.0);
            Some(entry(probe.0 & !0xfff, probe.0 | 0xfff, 0, 12)).filter(|_| probe.0 >= 1 << 63)
        },
        |_| NextMapped::At(Iova(u64::MAX - 0xfff)),
    );
    assert_eq!(asked, [0, u64::MAX - 0xfff]);
    assert_eq!(probes, 2);
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].range, range(u64::MAX - 0xfff, u64::MAX - 1));
    assert_eq!(runs[0].pages_minus_1, 0);
}

#[test]
fn all_of_the_space_is_walked_at_the_coarsest_granularity() {
    let (runs, probes) = walk(Walker::new(IovaRange::ALL, 1 << 63).unwrap(), |_| None, unknown);
    assert_eq!((runs.len(), probes), (0, 2));
}

#[test]
fn one_entry_may_cover_all_of_the_space() {
    let all = Entry { range: IovaRange::ALL, ..entry(0, 0, 5, 64) };
    let (runs, probes) = walk(Walker::new(IovaRange::ALL, 1).unwrap(), |_| Some(all), unknown);
    assert_eq!(probes, 1);
    assert_eq!(
        runs,
        [Run {
            range: IovaRange::ALL,
            target: Gpa(5),
            perm: Perm::READ_WRITE,
            page_shift: 64,
            space: 0,
            pages_minus_1: 0
        }]
    );
}

#[test]
fn two_to_the_64_pages_of_one_byte_are_counted() {
    let all = Entry { range: IovaRange::ALL, ..entry(0, 0, 0, 0) };
    let (runs, _) = walk(Walker::new(IovaRange::ALL, 1).unwrap(), |_| Some(all), unknown);
    assert_eq!(runs[0].pages_minus_1, u64::MAX);
}

#[test]
fn halves_of_the_space_join_to_one_run() {
    let half = 1u64 << 63;
    let (runs, probes) = walk(
        Walker::new(IovaRange::ALL, 4096).unwrap(),
        |probe| Some(entry(probe.0 & half, probe.0 | (half - 1), probe.0 & half, 63)),
        unknown,
    );
    assert_eq!(probes, 2);
    assert_eq!(runs.iter().map(|run| (run.range, run.pages_minus_1)).collect::<Vec<_>>(), [(IovaRange::ALL, 1)]);
}

#[test]
fn an_entry_larger_than_the_granularity_is_met_once() {
    let big = entry(0x20_0000, 0x3f_ffff, 0x4000_0000, 21);
    let (runs, probes) = walk(
        Walker::new(range(0, 0x5f_ffff), 0x1000).unwrap(),
        |probe| big.range.contains(probe).then_some(big),
        unknown,
    );
    assert_eq!(probes, 512 + 1 + 512);
    assert_eq!(runs.iter().map(|run| (run.range, run.pages_minus_1)).collect::<Vec<_>>(), [(big.range, 0)]);
}

#[test]
fn entries_smaller_than_the_granularity_are_all_met_once_one_is_found() {
    let (runs, _) = walk(
        Walker::new(range(0, 0xffff), 0x1_0000).unwrap(),
        |probe| Some(entry(probe.0 & !0xfff, probe.0 | 0xfff, (probe.0 & !0xfff) * 2, 12)),
        unknown,
    );
    assert_eq!(runs.len(), 16);
}

#[test]
fn an_entry_that_straddles_the_range_is_cropped_and_its_target_advanced() {
    let big = entry(0x1000, 0x8fff, 0x10_0000, 12);
    let (runs, probes) = walk(Walker::new(range(0x2800, 0x4fff), 0x1000).unwrap(), |_| Some(big), unknown);
    assert_eq!(probes, 1);
    assert_eq!((runs[0].range, runs[0].target, runs[0].pages_minus_1), (range(0x2800, 0x4fff), Gpa(0x10_1800), 2));
}

#[test]
fn an_entry_that_begins_between_two_probes_is_told_as_a_whole() {
    let odd = entry(0x1800, 0x27ff, 0x9000, 12);
    let (runs, probes) =
        walk(Walker::new(range(0, 0x3fff), 0x1000).unwrap(), |probe| odd.range.contains(probe).then_some(odd), unknown);
    assert_eq!(probes, 5);
    assert_eq!(runs.iter().map(|run| (run.range, run.target)).collect::<Vec<_>>(), [(odd.range, Gpa(0x9000))]);
}

#[test]
fn targets_may_wrap_around() {
    let (runs, _) = walk(
        Walker::new(range(0, 0x1fff), 0x1000).unwrap(),
        |probe| {
            let page = probe.0 & !0xfff;
            Some(entry(page, page + 0xfff, page.wrapping_sub(0x1000), 12))
        },
        unknown,
    );
    assert_eq!(runs.len(), 1, "the second page's target, 0, follows the top of the space");
}

#[test]
fn what_differs_in_permission_page_or_space_does_not_join() {
    let base = entry(0, 0xfff, 0, 12);
    let next = entry(0x1000, 0x1fff, 0x1000, 12);
    for (other, joins) in [
        (next, true),
        (Entry { perm: Perm::READ, ..next }, false),
        (Entry { page_shift: 11, ..next }, false),
        (Entry { space: 1, ..next }, false),
        (Entry { target: Gpa(0x2000), ..next }, false),
    ] {
        let mut walker = Walker::new(range(0, 0x1fff), 0x1000).unwrap();
        assert_eq!(walker.answer_mapped(base), Ok(None));
        assert_eq!(walker.answer_mapped(other).unwrap().is_none(), joins);
    }
}

#[test]
fn without_joining_every_entry_is_a_run() {
    let (runs, _) = walk(
        Walker::new(range(0, 0x3fff), 0x1000).unwrap().without_joining(),
        |probe| Some(entry(probe.0 & !0xfff, probe.0 | 0xfff, probe.0 & !0xfff, 12)),
        unknown,
    );
    assert_eq!(runs.len(), 4);
}

#[test]
fn a_hint_that_is_not_ahead_cannot_stop_the_walk() {
    let (runs, probes) = walk(Walker::new(range(0, 0xffff), 0x1000).unwrap(), |_| None, |_| NextMapped::At(Iova(0)));
    assert_eq!((runs.len(), probes), (0, 16));
}

#[test]
fn bad_answers_are_refused_and_leave_the_walk_where_it_is() {
    assert_eq!(Walker::new(IovaRange::ALL, 0), Err(WalkError::Granularity(0)));
    assert_eq!(Walker::new(IovaRange::ALL, 3), Err(WalkError::Granularity(3)));
    let mut walker = Walker::new(range(0x1000, 0x1fff), 0x1000).unwrap();
    let before = walker.clone();
    assert!(matches!(walker.answer_mapped(entry(0x2000, 0x2fff, 0, 12)), Err(WalkError::WrongEntry { .. })));
    let none = Entry { perm: Perm::NONE, ..entry(0x1000, 0x1fff, 0, 12) };
    assert_eq!(walker.answer_mapped(none), Err(WalkError::BadEntry(Iova(0x1000))));
    assert_eq!(walker.answer_mapped(entry(0x1000, 0x1fff, 0, 65)), Err(WalkError::BadEntry(Iova(0x1000))));
    assert_eq!(walker, before);
    walker.answer_hole(NextMapped::Nothing).unwrap();
    assert_eq!(walker.answer_hole(NextMapped::Unknown), Err(WalkError::Over));
    assert_eq!(walker.answer_mapped(entry(0x1000, 0x1fff, 0, 12)), Err(WalkError::Over));
}

#[test]
fn the_position_is_the_start_of_the_open_run() {
    let mut walker = Walker::new(range(0, 0x3fff), 0x1000).unwrap();
    walker.answer_hole(NextMapped::Unknown).unwrap();
    assert_eq!((walker.position(), walker.probe()), (Some(Iova(0)), Some(Iova(0x1000))));
    walker.answer_mapped(entry(0x1000, 0x1fff, 0, 12)).unwrap();
    walker.answer_mapped(entry(0x2000, 0x2fff, 0x1000, 12)).unwrap();
    assert_eq!((walker.position(), walker.probe()), (Some(Iova(0x1000)), Some(Iova(0x3000))));
    walker.finish();
    assert_eq!((walker.position(), walker.probe()), (Some(Iova(0x3000)), Some(Iova(0x3000))));
}

/// A plain model: a sorted list of disjoint entries, told one by one, cropped.
#[derive(Clone, Debug)]
struct Model {
    entries: Vec<Entry>,
}

impl Model {
    fn translate(&self, probe: Iova) -> Option<Entry> {
        self.entries.iter().copied().find(|entry| entry.range.contains(probe))
    }

    fn next(&self, probe: Iova) -> NextMapped {
        self.entries
            .iter()
            .map(|entry| entry.range.start().max(probe))
            .zip(&self.entries)
            .find(|(start, entry)| *start <= entry.range.last())
            .map_or(NextMapped::Nothing, |(start, _)| NextMapped::At(start))
    }

    /// What a walk over `walked` should tell, byte for byte: cropped pieces that do not join.
    fn expected(&self, walked: IovaRange) -> Vec<(IovaRange, Gpa, Perm)> {
        let mut pieces: Vec<(IovaRange, Gpa, Perm)> = Vec::new();
        for entry in &self.entries {
            let Some(range) = entry.range.intersection(walked) else { continue };
            let target = entry.target.wrapping_add(range.start().0 - entry.range.start().0);
            pieces.push((range, target, entry.perm));
        }
        pieces
    }
}

/// Cuts runs where the model's entries are cut, to compare them whatever was joined.
fn cut(runs: &[Run], model: &Model) -> Vec<(IovaRange, Gpa, Perm)> {
    let mut pieces = Vec::new();
    for run in runs {
        for entry in &model.entries {
            let Some(range) = run.range.intersection(entry.range) else { continue };
            pieces.push((range, run.target.wrapping_add(range.start().0 - run.range.start().0), run.perm));
        }
    }
    pieces
}

/// Entries of any alignment, anywhere in the space, also at its very top.
fn entries(count: usize) -> impl Strategy<Value = Model> {
    let bound = prop_oneof![0..0x40u64, (0..0x40u64).prop_map(|n| u64::MAX - n), any::<u64>()];
    let lengths = prop_oneof![0..8u64, 0..0x10_0000u64, any::<u64>()];
    prop::collection::vec((bound, lengths, any::<u64>(), 1..4u64, 0..=64u8, 0..2u32), 0..count).prop_map(|raw| {
        let mut entries: Vec<Entry> = Vec::new();
        let mut sorted = raw;
        sorted.sort_unstable();
        for (start, length, target, perm, page_shift, space) in sorted {
            let start = match entries.last() {
                Some(before) if before.range.last().0 >= start => match before.range.last().0.checked_add(1) {
                    Some(start) => start,
                    None => break,
                },
                _ => start,
            };
            let range = range(start, start.saturating_add(length));
            entries.push(Entry { range, target: Gpa(target), perm: Perm::from_bits(perm), page_shift, space });
        }
        Model { entries }
    })
}

fn walked() -> impl Strategy<Value = IovaRange> {
    prop_oneof![
        Just(IovaRange::ALL),
        Just(range(0, u64::MAX - 1)),
        (any::<u64>(), any::<u64>()).prop_map(|(a, b)| range(a.min(b), a.max(b))),
        (any::<u64>()).prop_map(|start| range(start, u64::MAX)),
    ]
}

proptest! {
    #[test]
    fn with_the_next_mapped_address_every_entry_is_told_exactly(
        model in entries(12), walked in walked(), shift in 0..64u32, joins in any::<bool>(),
    ) {
        let walker = Walker::new(walked, 1 << shift).unwrap();
        let walker = if joins { walker } else { walker.without_joining() };
        let (runs, probes) = walk(walker, |probe| model.translate(probe), |probe| model.next(probe));
        prop_assert_eq!(cut(&runs, &model), model.expected(walked));
        // One probe per entry, and one per hole before it.
        prop_assert!(probes <= 2 * model.entries.len() as u64 + 1);
        // Ascending, disjoint, inside.
        for pair in runs.windows(2) {
            prop_assert!(pair[0].range.last() < pair[1].range.start());
        }
        for run in &runs {
            prop_assert!(walked.covers(run.range));
        }
    }

    #[test]
    fn by_stepping_every_entry_that_meets_a_multiple_of_the_granularity_is_told(
        model in entries(8), start in prop_oneof![0..0x1000u64, (u64::MAX - 0xffff..u64::MAX)], length in 0..0x2000u64, shift in 0..13u32,
    ) {
        let walked = range(start, start.saturating_add(length));
        let walker = Walker::new(walked, 1 << shift).unwrap();
        let (runs, probes) = walk(walker, |probe| model.translate(probe), unknown);
        // Entries as coarse as the granularity and aligned to it cannot hide.
        let told = cut(&runs, &model);
        let mut holes = 0;
        for expected in model.expected(walked) {
            let mask = (1u64 << shift) - 1;
            let seen = expected.0.start().0 == walked.start().0
                || (expected.0.start().0..=expected.0.last().0).take(1 << shift).any(|a| a & mask == 0);
            if seen {
                prop_assert!(told.contains(&expected), "{expected:?} was missed");
            }
            holes += 1;
        }
        prop_assert!(probes <= (walked.length_minus_1() >> shift) + 2 + 2 * holes);
    }

    #[test]
    fn stopping_and_finishing_anywhere_tells_the_same_bytes(
        model in entries(10), walked in walked(), stops in prop::collection::vec(any::<bool>(), 1..16),
    ) {
        let mut walker = Walker::new(walked, 4096).unwrap();
        let mut runs = Vec::new();
        let mut stop = stops.iter().cycle();
        while let Some(probe) = walker.probe() {
            let answer = match model.translate(probe) {
                Some(entry) => walker.answer_mapped(entry),
                None => walker.answer_hole(model.next(probe)),
            };
            runs.extend(answer.unwrap());
            // Behind an unknown hole a stop would crop an entry that begins in it; here none does.
            if *stop.next().unwrap() {
                runs.extend(walker.finish());
                prop_assert_eq!(walker.position(), walker.probe());
            }
        }
        runs.extend(walker.finish());
        prop_assert_eq!(cut(&runs, &model), model.expected(walked));
    }

    #[test]
    fn pages_are_counted_in_the_page_size_of_the_entries(
        pages in prop::collection::vec(any::<bool>(), 1..40), shift in 0..20u8,
    ) {
        let size = 1u64 << shift;
        let walked = range(0, (pages.len() as u64) * size - 1);
        let (runs, _) = walk(
            Walker::new(walked, size).unwrap(),
            |probe| {
                let index = probe.0 >> shift;
                let start = index << shift;
                pages[usize::try_from(index).unwrap()].then(|| entry(start, start + (size - 1), start, shift))
            },
            unknown,
        );
        let counted: u64 = runs.iter().map(|run| run.pages_minus_1 + 1).sum();
        prop_assert_eq!(counted, pages.iter().filter(|mapped| **mapped).count() as u64);
    }
}
