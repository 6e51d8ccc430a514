use proptest::prelude::*;

use super::*;

/// What a plain list remembers of an entry: whether it is known, and by which call it was stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Plain {
    known: State,
    call: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Known,
    PageOnly,
    Unknown,
    InUse,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Know,
    Forget,
    List(bool),
    Learn(bool),
    Tidy,
}

/// The entries that are looked at lie in two blocks, so many of them in the first.
const BEFORE: u32 = 1100;
const FIRST: u32 = (1 << BLOCK_SHIFT) - BEFORE;
const SPACE: u32 = 2300;

fn steps() -> impl Strategy<Value = Vec<(Step, u32, u32)>> {
    let step = prop_oneof![
        Just(Step::Know),
        Just(Step::Forget),
        any::<bool>().prop_map(Step::List),
        any::<bool>().prop_map(Step::Learn),
        Just(Step::Tidy),
    ];
    // Ends fall on ends of parts as often as between them.
    let edge = prop_oneof![
        0..SPACE,
        (0..SPACE / 64, 0..3u32).prop_map(|(word, near)| (word * 64 + BEFORE % 64 + near).saturating_sub(1)),
        (0..SPACE / 512).prop_map(|leaf| leaf * 512 + BEFORE % 512),
    ];
    let more = prop_oneof![3 => 0..4u32, 1 => 0..700u32, 1 => Just(511), 1 => Just(1023)];
    prop::collection::vec((step, edge, more), 1..50)
}

fn apply(plain: &mut [Plain], step: Step, first: usize, last: usize, call: u32) {
    match step {
        Step::Know => plain[first..=last].fill(Plain { known: State::Known, call: None }),
        Step::Forget => plain[first..=last].fill(Plain { known: State::Unknown, call: None }),
        Step::List(in_use) => {
            let known = if in_use { State::InUse } else { State::Unknown };
            plain[first..=last].fill(Plain { known, call: Some(call) });
            plain[last].known = State::Known;
        }
        Step::Learn(page_only) => plain[first].known = if page_only { State::PageOnly } else { State::Known },
        Step::Tidy => {}
    }
}

fn same(map: &KnowledgeMap, plain: &[Plain]) {
    let is_unknown = |entry: &Plain| matches!(entry.known, State::Unknown | State::InUse);
    let mut before: Option<u32> = None;
    for (entry, index) in plain.iter().zip(FIRST..) {
        assert_eq!(map.is_unknown(index), is_unknown(entry), "entry {index}");
        assert_eq!(map.is_page_only(index), entry.known == State::PageOnly, "entry {index}");
        assert_eq!(map.is_listed(index), entry.call.is_some(), "entry {index}");
        assert_eq!(map.continues_call(index), entry.call.is_some() && entry.call == before, "entry {index}");
        before = entry.call;
    }
    let count = |entries: &[Plain]| entries.iter().filter(|entry| is_unknown(entry)).count() as u64;
    assert_eq!(map.unknown(), count(plain));
    assert_eq!(map.in_use(), plain.iter().filter(|entry| entry.known == State::InUse).count() as u64);
    for (first, last) in [(0, SPACE - 1), (70, 70), (64, 1700), (BEFORE, 2000)] {
        assert_eq!(map.unknown_in(FIRST + first, FIRST + last), count(&plain[first as usize..=last as usize]));
    }
    let mut from = 0;
    for chunk in plain.chunk_by(|one, other| is_unknown(one) == is_unknown(other)) {
        if is_unknown(&chunk[0]) {
            let first = FIRST + from;
            let last = first + u32::try_from(chunk.len()).unwrap() - 1;
            assert_eq!(map.next_unknown(first.saturating_sub(1)), Some((first, last)));
        }
        from += u32::try_from(chunk.len()).unwrap();
    }
    let mixed = |part: &Part<Block>| match part {
        Part::Mixed(block) => {
            (0..=BLOCK_MASK).step_by(512).filter(|at| matches!(block.leaf(*at), Part::Mixed(_))).count()
        }
        Part::All(_) => 0,
    };
    assert_eq!(map.tally.leaves as usize, map.blocks.iter().map(mixed).sum::<usize>());
}

proptest! {
    #[test]
    fn a_map_knows_what_a_plain_list_knows(steps in steps(), cut in 0..SPACE) {
        let mut map = KnowledgeMap::default();
        let mut plain = [Plain { known: State::Known, call: None }; SPACE as usize];
        for (call, (step, first, more)) in (0..).zip(steps) {
            let last = if matches!(step, Step::Learn(_)) { first } else { (first + more).min(SPACE - 1) };
            let range = (FIRST + first, FIRST + last);
            match step {
                Step::Know => map.know(range.0, range.1),
                Step::Forget => map.forget(range.0, range.1),
                Step::List(in_use) => map.list(range.0, range.1, in_use),
                Step::Learn(page_only) => map.learn(range.0, page_only),
                Step::Tidy => {
                    map.tidy();
                }
            }
            apply(&mut plain, step, first as usize, last as usize, call);
            same(&map, &plain);
        }
        // Beyond its end, a table that became smaller has nothing; and calls are not remembered.
        for entry in &mut plain {
            entry.call = None;
        }
        plain[cut as usize..].fill(Plain { known: State::Known, call: None });
        same(&map.resized(FIRST + cut - 1), &plain);
    }
}

#[test]
fn a_map_of_all_entries_takes_little_and_costs_little() {
    let mut map = KnowledgeMap::default();
    map.forget(0, u32::MAX);
    assert_eq!((map.unknown(), map.tally.leaves), (1 << 32, 0));
    assert_eq!(map.next_unknown(0), Some((0, u32::MAX)));
    map.know(u32::MAX, u32::MAX);
    map.know(0, 0);
    assert_eq!((map.unknown(), map.tally.leaves), ((1 << 32) - 2, 2));
    assert_eq!(map.next_unknown(0), Some((1, u32::MAX - 1)));
    assert_eq!(map.unknown_in(0, u32::MAX), (1 << 32) - 2);
    map.list(u32::MAX - 1, u32::MAX, true);
    assert_eq!((map.in_use(), map.continues_call(u32::MAX)), (1, true));
    map.know(0, u32::MAX);
    assert_eq!((map.unknown(), map.in_use(), map.tally.leaves), (0, 0, 0));
}

#[test]
fn what_says_nothing_is_given_back() {
    let mut map = KnowledgeMap::default();
    map.forget(0, (1 << 20) - 1);
    for leaf in 0..1 << 11 {
        map.know(leaf << 9, leaf << 9);
    }
    assert_eq!(map.tally.leaves, 1 << 11);
    for leaf in 0..1 << 10 {
        map.know((leaf << 9) + 1, (leaf << 9) + 300);
        map.know((leaf << 9) + 301, (leaf << 9) + 511);
    }
    assert!(map.is_crowded());
    map.allow();
    assert!(!map.is_crowded());
    assert!(map.tidy() && !map.tidy());
    assert_eq!((map.leaves(), map.unknown()), (1 << 10, ((1 << 10) * 511)));
}
