//! Snapshots that somebody made up: their length and checksum are right.

use proptest::prelude::*;

use super::*;

/// Bytes that were changed on purpose: length and checksum are right again.
fn forged(body: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(((HEAD + CHECKSUM + body.len()) as u64).to_le_bytes());
    bytes.extend(body);
    let checksum = crc32(&bytes);
    bytes.extend(checksum.to_le_bytes());
    bytes
}

#[test]
fn contradictions_behind_a_right_checksum_are_refused() {
    let whole = busy().machine.save();
    let body = &whole[HEAD..whole.len() - CHECKSUM];
    assert_eq!(forged(body), whole);
    // Bridges: 1; index, ddw, pgsz, address, size, address; flags of the first place, its window, stored, runs.
    let places = [
        (0, 2u8, "bridges are not in ascending order"),
        (4 + 3, 0x80, "a bridge can not have its options"),
        (8, 3, "a flag that means nothing is set"),
        (41, 7, "a flag that means nothing is set"),
        (42 + 7, 0xff, "a bridge can not have one of its windows"),
        (50, 64, "a bridge can not have one of its windows"),
        (59, 0, "a run is empty, or passes the end of its table"),
        (60, 0x02, "a run is empty, or passes the end of its table"),
        (60, 0x0f, "a run is of no known kind"),
    ];
    for (at, byte, why) in places {
        let mut changed = body.to_vec();
        changed[at] = byte;
        let error = refused(&forged(&changed));
        assert!(matches!(error, SnapshotError::Inconsistent(_)), "{at}: {error}");
        if at != 0 && at != 59 {
            assert_eq!(error, SnapshotError::Inconsistent(why), "{at}");
        }
    }
    for length in 0..body.len() {
        assert!(matches!(refused(&forged(&body[..length])), SnapshotError::Inconsistent(_)), "{length}");
    }
    let more = [body, &[0]].concat();
    assert_eq!(refused(&forged(&more)), SnapshotError::Inconsistent("bytes follow the last device"));
}

#[test]
fn every_changed_byte_is_an_error_or_another_machine() {
    let whole = busy().machine.save();
    let body = &whole[HEAD..whole.len() - CHECKSUM];
    for at in 0..body.len() {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = body.to_vec();
            changed[at] = byte;
            let bytes = forged(&changed);
            if let Ok(machine) = SpaprMachine::from_snapshot(&bytes, 1 << 20) {
                assert!(machine.stored() <= 1 << 20);
                let again = machine.save();
                assert_eq!(SpaprMachine::from_snapshot(&again, 1 << 20).expect("its own").save(), again);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_an_error_or_a_machine(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        const LIMIT: u32 = 1000;
        let whole = busy().machine.save();
        let mut body = whole[HEAD..whole.len() - CHECKSUM].to_vec();
        for (place, byte) in places {
            let at = place.index(body.len());
            body[at] = byte;
        }
        let at = cut.index(body.len());
        let spliced = [&body[..at], &bytes, &body[at..]].concat();
        for bytes in [bytes.clone(), forged(&bytes), forged(&body), forged(&spliced), forged(&body[..at])] {
            let mut guest = busy();
            let before = guest.machine.save();
            if guest.restore(&bytes).is_ok() {
                prop_assert!(guest.machine.undo(&mut guest.effects));
            }
            prop_assert!(guest.machine.save() == before);
            let Ok(machine) = SpaprMachine::from_snapshot(&bytes, LIMIT) else { continue };
            prop_assert!(machine.stored() <= u64::from(LIMIT));
            let again = machine.save();
            prop_assert!(SpaprMachine::from_snapshot(&again, LIMIT).expect("its own").save() == again);
        }
    }
}

#[test]
fn a_snapshot_of_many_devices_takes_no_more_memory_than_it_has_bytes() {
    let mut machine = SpaprMachine::new(0);
    for index in 0..2000 {
        machine.add_phb(PhbConfig { dma_win_size: (1 << 44) - 1, ..PhbConfig::new(index) }).expect("a bridge");
    }
    let saved = machine.save();
    let machine = SpaprMachine::from_snapshot(&saved, 0).expect("its own");
    assert!(machine.memory_bytes() < 8 * saved.len(), "{} of {}", machine.memory_bytes(), saved.len());
}

/// The body of a snapshot of one VIO device, whose entries are these bytes.
fn with_entries(entries: &[u8]) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(1u32.to_le_bytes());
    body.extend(UNIT.to_le_bytes());
    body.extend((256u64 << 20).to_le_bytes());
    body.push(0);
    body.extend(entries);
    forged(&body)
}

#[test]
fn runs_that_can_not_be_are_refused() {
    let entries = |stored: u32, runs: &[u8], calls: u32, stretches: &[u8]| {
        let bytes = [&stored.to_le_bytes(), runs, &calls.to_le_bytes(), stretches].concat();
        SpaprMachine::from_snapshot(&with_entries(&bytes), 1 << 20).map(|machine| machine.stored())
    };
    let run = |gap: u64, count: u64, kind: u64, values: &[u64]| {
        let mut bytes = Vec::new();
        fields::put_short(&mut bytes, gap);
        fields::put_short(&mut bytes, count << 2 | kind);
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        bytes
    };
    let wrong = |why| Err(SnapshotError::Inconsistent(why));
    let end = wrong("a run is empty, or passes the end of its table");
    assert_eq!(entries(4, &run(0, 4, 2, &[0x1003]), 2, &[1, 2]), Ok(4));
    assert_eq!(entries(1, &run(0xffff, 1, 0, &[8]), 0, &[]), Ok(1));
    assert_eq!(entries(1, &run(0x1_0000, 1, 0, &[8]), 0, &[]), end);
    assert_eq!(entries(1, &run(u64::MAX, 1, 0, &[8]), 0, &[]), end);
    assert_eq!(entries(2, &run(0xffff, 2, 1, &[8]), 0, &[]), end);
    assert_eq!(entries(2, &run(0, 3, 1, &[8]), 0, &[]), end, "more entries than there are to be");
    assert_eq!(entries(2, &run(0, u64::MAX >> 2, 1, &[8]), 0, &[]), end);
    assert_eq!(entries(1, &run(0, 1, 0, &[0]), 0, &[]), wrong("an entry of a run is zero"));
    assert_eq!(entries(4, &run(0, 4, 2, &[0xffff_ffff_ffff_e003]), 0, &[]), wrong("a run passes 2^64"));
    let starts = wrong("a call starts where no mapping goes on");
    assert_eq!(entries(4, &run(0, 4, 2, &[0x1003]), 1, &[0, 1]), starts, "a run begins there");
    assert_eq!(entries(4, &run(0, 4, 2, &[0x1003]), 1, &[4, 1]), starts, "nothing is there");
    assert_eq!(entries(4, &run(0, 4, 1, &[8]), 1, &[1, 1]), starts, "nothing is mapped there");
    assert_eq!(entries(4, &run(0, 4, 2, &[0x1003]), 1, &[1, 0]), end);
    assert_eq!(entries(u32::MAX, &[], 0, &[]), Err(SnapshotError::EntryLimit { limit: 1 << 20 }));
    assert_eq!(entries(4, &run(0, 4, 2, &[0x1003]), u32::MAX, &[1, 3]), Err(SnapshotError::Inconsistent(fields::ENDS)));
}
