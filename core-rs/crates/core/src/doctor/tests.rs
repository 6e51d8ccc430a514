use super::finding::{Finding, FindingKind, Proof};
use super::*;

/// The logs of one made-up QEMU.
#[derive(Clone, Default)]
struct Logs {
    log: String,
    kernel: Option<String>,
    stderr: Option<String>,
}

const ATTACH: &str = "spapr_iommu_new_table liobn=0x80000000 table=0x7f7bbc6ab010 fd=-1\n\
    vfio_listener_region_add_iommu region_add [iommu] tce-iommu-80000000 0x0 - 0x3fffffff\n";
const DETACH: &str = "vfio_listener_region_del_iommu region_del [iommu] tce-iommu-80000000\n\
    vfio_listener_region_del region_del 0x0 - 0x3fffffff\n\
    vfio_disconnect_container close container->fd=13\n";

/// QEMU's lines for an entry that is written while a device is there.
fn put(iova: u64, tce: u64) -> String {
    let what = if tce & 3 == 0 { "UNMAP" } else { "MAP" };
    format!(
        "vfio_iommu_map_notify iommu {what} @ {iova:#x} - {:#x}\n\
         spapr_iommu_pci_put liobn=0x80000000 ioba={iova:#x} tce={tce:#x} ret=0\n",
        iova + 0xfff
    )
}

fn host_map(time: u64, iova: u64, paddr: u64) -> String {
    format!("qemu-7 [000] 1.{time:06}: map: IOMMU: iova={iova:#x} - {:#x} paddr={paddr:#x} size=4096\n", iova + 0x1000)
}

fn host_unmap(time: u64, iova: u64) -> String {
    format!(
        "qemu-7 [000] 1.{time:06}: unmap: IOMMU: iova={iova:#x} - {:#x} size=4096 unmapped_size=4096\n",
        iova + 0x1000
    )
}

/// Feeds the logs in pieces of a size.
fn doctor(logs: &Logs, piece: usize, options: Options) -> Doctor {
    let texts = [Some(&logs.log), logs.kernel.as_ref(), logs.stderr.as_ref()];
    let texts = texts.map(|text| text.map_or(&b""[..], |text| text.as_bytes()));
    let mut doctor = Doctor::new(Options { kernel: logs.kernel.is_some(), stderr: logs.stderr.is_some(), ..options });
    let (mut from, mut to) = ([0usize; 3], [0usize; 3]);
    for _ in 0..1_000_000 {
        let mut at = from;
        let [mut log_at, mut kernel_at, mut stderr_at] = [0usize; 3];
        let part = |which: usize| &texts[which][at[which]..to[which]];
        let last = |which: usize| to[which] == texts[which].len();
        let need = doctor.run(
            &mut Input { bytes: part(0), at: &mut log_at, last: last(0) },
            &mut Input { bytes: part(1), at: &mut kernel_at, last: last(1) },
            &mut Input { bytes: part(2), at: &mut stderr_at, last: last(2) },
        );
        for (from, read) in at.iter_mut().zip([log_at, kernel_at, stderr_at]) {
            *from += read;
        }
        from = at;
        let which = match need {
            Need::Log => 0,
            Need::Kernel => 1,
            Need::Stderr => 2,
            Need::Nothing => return doctor,
        };
        assert!(to[which] < texts[which].len(), "it asks for what is not there");
        to[which] = (to[which] + piece).min(texts[which].len());
    }
    panic!("it never ends");
}

fn examine(logs: &Logs) -> Vec<Finding> {
    doctor(logs, usize::MAX / 2, Options::default()).findings().to_vec()
}

fn kinds(findings: &[Finding]) -> Vec<FindingKind> {
    findings.iter().map(|one| one.kind).collect()
}

/// A guest that maps two pages, changes nothing in place and unmaps them; the device is plugged in before, and out after.
fn healthy() -> Logs {
    let log =
        [ATTACH, &put(0x1000, 0x10_0003), &put(0x5000, 0x20_0003), &put(0x1000, 0), &put(0x1000, 0x30_0003), DETACH];
    let kernel = [
        host_map(10, 0x1000, 0x7000),
        host_map(20, 0x5000, 0x8000),
        host_unmap(30, 0x1000),
        host_map(40, 0x1000, 0x9000),
        host_unmap(50, 0x1000),
        host_unmap(51, 0x5000),
    ];
    Logs { log: log.concat(), kernel: Some(kernel.concat()), stderr: Some("qemu: hello\n".into()) }
}

fn without(text: &str, part: &str) -> String {
    assert_eq!(text.matches(part).count(), 1, "{part}");
    text.replacen(part, "", 1)
}

#[test]
fn a_healthy_run_has_no_findings() {
    let logs = healthy();
    let examined = doctor(&logs, 1 << 20, Options::default());
    assert_eq!(examined.findings(), []);
    let counts = examined.kernel_counts();
    assert_eq!((counts.maps, counts.unmaps, counts.unexplained, counts.exit), (3, 3, 0, 0));
    for logs in [Logs { kernel: None, ..logs.clone() }, Logs { stderr: None, ..logs.clone() }] {
        assert_eq!(examine(&logs), []);
    }
}

#[test]
fn findings_do_not_depend_on_how_the_bytes_come() {
    let mut logs = healthy();
    logs.log = logs.log.replace(&put(0x1000, 0), "");
    logs.kernel =
        logs.kernel.map(|text| without(&without(&text, &host_unmap(30, 0x1000)), &host_map(40, 0x1000, 0x9000)));
    let whole = examine(&logs);
    assert_eq!(kinds(&whole), [FindingKind::StaleMapping]);
    for piece in [1, 7, 64, 1000] {
        assert_eq!(doctor(&logs, piece, Options::default()).findings(), whole, "pieces of {piece}");
    }
}

#[test]
fn a_change_in_place_is_stale_until_it_is_unmapped() {
    let mut logs = healthy();
    logs.log = without(&logs.log, &put(0x1000, 0));
    logs.kernel =
        logs.kernel.map(|text| without(&without(&text, &host_unmap(30, 0x1000)), &host_map(40, 0x1000, 0x9000)));
    let cases = [
        (logs.clone(), Proof::Kernel),
        (Logs { kernel: None, ..logs.clone() }, Proof::Derived),
        (Logs { kernel: None, stderr: None, ..logs.clone() }, Proof::Derived),
        (
            Logs {
                kernel: None,
                stderr: Some("vfio_container_dma_map(0x5, 0x1000, 0x1000, 0x7f) = -17 (File exists)\n".into()),
                ..logs
            },
            Proof::Stderr,
        ),
    ];
    for (logs, proof) in cases {
        let findings = examine(&logs);
        let [one] = &findings[..] else { panic!("{findings:?}") };
        assert_eq!((one.kind, one.errno, one.first, one.last, one.open), (FindingKind::StaleMapping, 17, 7, 10, 0));
        assert_eq!((one.example.before, one.example.now), (Some(0x10_0003), Some(0x30_0003)));
        assert_eq!((one.call.map(|call| call.line), one.proof), (Some(8), proof));
        assert_eq!(one.ranges.hull(), Some((0x1000, 0x1fff)));
    }
}

#[test]
fn the_same_entry_written_again_changes_nothing() {
    let log = [ATTACH, &put(0x1000, 0x10_0003), &put(0x1000, 0x10_0003), &put(0x1000, 0x10_0007)].concat();
    let logs = Logs { log, ..Logs::default() };
    let examined = doctor(&logs, 100, Options::default());
    assert_eq!(examined.findings(), []);
    assert_eq!(examined.counts().repeated, 2);
}

#[test]
fn another_permission_is_lost_as_another_page_is() {
    let log = [ATTACH, &put(0x1000, 0x10_0003), &put(0x1000, 0x10_0001)].concat();
    let findings = examine(&Logs { log, ..Logs::default() });
    assert_eq!(kinds(&findings), [FindingKind::WrongPermission]);
    // QEMU maps everything readable: it makes no difference there.
    let log = [ATTACH, &put(0x1000, 0x10_0003), &put(0x1000, 0x10_0002)].concat();
    assert_eq!(examine(&Logs { log, ..Logs::default() }), []);
}

#[test]
fn hosts_that_exchange_hold_what_was_written_last() {
    let log =
        ["vfio_prereg_register va=0x1 size=0x2 ret=0\n", ATTACH, &put(0x1000, 0x10_0003), &put(0x1000, 0x30_0003)];
    assert_eq!(examine(&Logs { log: log.concat(), ..Logs::default() }), []);
}

#[test]
fn a_map_without_the_kernels_line_failed() {
    let mut logs = healthy();
    logs.kernel =
        logs.kernel.map(|text| without(&without(&text, &host_map(20, 0x5000, 0x8000)), &host_unmap(51, 0x5000)));
    let findings = examine(&logs);
    let [one] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!((one.kind, one.errno, one.first, one.last), (FindingKind::MappingMissing, 0, 5, 12));
    assert_eq!((one.ranges.hull(), one.proof), (Some((0x5000, 0x5fff)), Proof::Kernel));
}

#[test]
fn lost_events_prove_nothing() {
    let mut logs = healthy();
    logs.kernel = logs.kernel.map(|text| {
        let text = without(&without(&text, &host_map(20, 0x5000, 0x8000)), &host_unmap(51, 0x5000));
        format!("CPU:0 [LOST 2 EVENTS]\n{text}")
    });
    assert_eq!(examine(&logs), []);
}

/// The same with times: each call and what the kernel did for it are 10 ms after the one before.
fn timed(logs: Logs) -> Logs {
    let stamp = |(at, line): (usize, &str)| format!("7@5000.{:06}:{line}\n", at / 2 * 10_000 + at % 2 * 20);
    let log = logs.log.lines().enumerate().map(stamp).collect();
    let slow = |line: &str| {
        let (head, rest) = line.split_once("] 1.").unwrap();
        let (micros, rest) = rest.split_once(": ").unwrap();
        format!("{head}] 1.{:06}: {rest}\n", micros.parse::<u64>().unwrap() * 1000 + 10)
    };
    Logs { log, kernel: logs.kernel.map(|text| text.lines().map(slow).collect()), ..logs }
}

#[test]
fn an_unmap_that_the_kernel_did_not_do_leaves_the_page() {
    let mut logs = healthy();
    logs.kernel = logs.kernel.map(|text| without(&text, &host_unmap(30, 0x1000)));
    assert_eq!(examine(&timed(healthy())), []);
    let findings = examine(&timed(logs));
    assert_eq!(findings[0].kind, FindingKind::LeftBehind);
    assert_eq!((findings[0].first, findings[0].call.map(|call| call.line)), (7, Some(8)));
    assert_eq!(findings[0].example.host, Some(0x7000));
}

#[test]
fn part_of_a_mapping_cannot_be_unmapped() {
    let log = [
        ATTACH,
        "vfio_iommu_map_notify iommu MAP @ 0x0 - 0x1ffff\n",
        "vfio_iommu_map_notify iommu UNMAP @ 0x0 - 0xffff\n",
    ];
    let findings = examine(&Logs { log: log.concat(), ..Logs::default() });
    assert_eq!(kinds(&findings), [FindingKind::LeftBehind]);
    assert_eq!((findings[0].errno, findings[0].ranges.hull()), (22, Some((0, 0x1_ffff))));
}

#[test]
fn what_the_kernel_does_by_itself_is_unexplained() {
    let mut logs = healthy();
    let late = host_map(45, 0x9000, 0xa000);
    logs.kernel = logs.kernel.map(|text| text.replace(&host_unmap(50, 0x1000), &(late + &host_unmap(50, 0x1000))));
    let findings = examine(&logs);
    let [one] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!((one.kind, one.first, one.ranges.hull()), (FindingKind::Unexplained, 5, Some((0x9000, 0x9fff))));
}

#[test]
fn other_processes_and_the_drivers_test_are_told_apart() {
    let mut logs = healthy();
    logs.kernel = logs.kernel.map(|text| {
        let test = "qemu-7 [000] 1.000001: map: IOMMU: iova=0x0 - 0x2000 paddr=0x3000 size=8192\n\
            qemu-7 [000] 1.000002: unmap: IOMMU: iova=0x0 - 0x1000 size=4096 unmapped_size=4096\n\
            qemu-7 [000] 1.000003: unmap: IOMMU: iova=0x1000 - 0x2000 size=4096 unmapped_size=4096\n";
        let other = host_map(15, 0x1000, 0xf000).replace("qemu-7", "swapper-0");
        [test, &text.replace(&host_map(20, 0x5000, 0x8000), &(other + &host_map(20, 0x5000, 0x8000)))].concat()
    });
    let examined = doctor(&logs, 1000, Options::default());
    assert_eq!(examined.findings(), []);
    let counts = examined.kernel_counts();
    assert_eq!((counts.tests, counts.foreign, counts.unexplained, counts.maps), (3, 1, 0, 3));
}

#[test]
fn a_kernel_log_of_another_qemu_is_not_used() {
    let mut logs = healthy();
    logs.kernel = Some(host_map(10, 0x77_0000, 0x7000).replace("qemu-7", "qemu-9"));
    let examined = doctor(&logs, 1000, Options::default());
    assert_eq!((examined.findings(), examined.is_kernel_matched()), (&[][..], false));
}

#[test]
fn one_page_of_the_guest_at_two_places_of_the_host_is_wrong() {
    let mut logs = healthy();
    logs.log = logs.log.replace("0x200003", "0x100003");
    let findings = examine(&logs);
    let [one] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!((one.kind, one.ranges.hull(), one.first), (FindingKind::WrongTarget, Some((0x5000, 0x5fff)), 5));
    assert_eq!((one.example.before, one.example.other, one.example.host), (Some(0x1000), Some(0x7000), Some(0x8000)));
}

#[test]
fn a_replay_that_fails_in_part_is_told_of() {
    let log = [
        "spapr_iommu_new_table liobn=0x80000000 table=0x7f7bbc6ab010 fd=-1\n",
        "spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x100003 ret=0\n",
        "spapr_iommu_pci_put liobn=0x80000000 ioba=0x4000 tce=0x200003 ret=0\n",
        "vfio_listener_region_add_iommu region_add [iommu] tce-iommu-80000000 0x0 - 0x3fffffff\n",
        "vfio_iommu_map_notify iommu MAP @ 0x1000 - 0x1fff\n",
        "vfio_iommu_map_notify iommu MAP @ 0x4000 - 0x4fff\n",
        &put(0x9000, 0x30_0003),
        DETACH,
    ]
    .concat();
    let stderr = "vfio_dma_map(0x5, 0x4000, 0x1000, 0x7f) = -28 (No space left on device)\n";
    let findings = examine(&Logs { log: log.clone(), kernel: None, stderr: Some(stderr.into()) });
    assert_eq!(
        kinds(&findings),
        [FindingKind::MappingLimit, FindingKind::MappingMissing, FindingKind::HotplugIncomplete]
    );
    assert_eq!((findings[0].measure[0], findings[1].first, findings[1].replayed), (1, 6, 1));
    assert_eq!((findings[2].first, findings[2].last, findings[2].pages), (4, 9, 1));
    // What QEMU leaves out is missing as well.
    let log = without(&log, "vfio_iommu_map_notify iommu MAP @ 0x4000 - 0x4fff\n");
    let findings = examine(&Logs { log, ..Logs::default() });
    assert_eq!(kinds(&findings), [FindingKind::MappingMissing, FindingKind::HotplugIncomplete]);
    assert_eq!((findings[0].errno, findings[0].ranges.hull()), (-1, Some((0x4000, 0x4fff))));
}

#[test]
fn a_window_that_the_guest_makes_later_is_no_hotplug() {
    let window = "spapr_iommu_new_table liobn=0x80000001 table=0x7fc94001c6f0 fd=-1\n\
        spapr_iommu_ddw_create buid=0x800000020000000 addr=0x0, page size=0x1000, requested=0x10000, \
        start addr=0x1000000000, liobn=0x80000001\n\
        vfio_listener_region_add_iommu region_add [iommu] tce-iommu-80000001 0x1000000000 - 0x100000ffff\n\
        vfio_iommu_map_notify iommu MAP @ 0x1000000000 - 0x1000000fff\n\
        spapr_iommu_pci_put liobn=0x80000001 ioba=0x1000000000 tce=0x200003 ret=0\n";
    let log = [ATTACH, &put(0x1000, 0x10_0003), window, &put(0x5000, 0x30_0003)].concat();
    let examined = doctor(&Logs { log, ..Logs::default() }, 100, Options::default());
    assert_eq!((examined.findings(), examined.hotplugs().len(), examined.host_maps().0), (&[][..], 1, 3));
}

#[test]
fn calls_of_which_qemu_does_not_tell_are_found() {
    let mut logs = healthy();
    logs.log = without(&logs.log, "vfio_iommu_map_notify iommu UNMAP @ 0x1000 - 0x1fff\n");
    logs.kernel = None;
    logs.stderr = None;
    let findings = examine(&logs);
    assert_eq!((findings[0].kind, findings[0].errno, findings[0].first), (FindingKind::LeftBehind, -1, 7));
    let log =
        [ATTACH, &put(0x1000, 0x10_0003), "spapr_iommu_pci_put liobn=0x80000000 ioba=0x8000 tce=0x200003 ret=0\n"];
    let findings = examine(&Logs { log: log.concat(), ..Logs::default() });
    assert_eq!((findings[0].kind, findings[0].errno, findings[0].first), (FindingKind::MappingMissing, -1, 5));
}

#[test]
fn two_containers_are_told_of_everything_twice() {
    let twice = |text: String| {
        let (notify, call) = text.split_once('\n').unwrap();
        format!("{notify}\n{notify}\n{call}")
    };
    let log = [
        ATTACH.into(),
        "vfio_listener_region_add_iommu region_add [iommu] tce-iommu-80000000 0x0 - 0x3fffffff\n".into(),
        twice(put(0x1000, 0x10_0003)),
        twice(put(0x1000, 0)),
        twice(put(0x1000, 0x30_0003)),
    ];
    assert_eq!(examine(&Logs { log: log.concat(), ..Logs::default() }), []);
}

#[test]
fn iommufd_answers_in_its_own_lines() {
    let answer = |ret: i32| {
        format!("iommufd_backend_map_dma  iommufd=10 ioas=2 iova=0x1000 size=0x1000 addr=0x7f64 readonly=0 ({ret})\n")
    };
    let told = put(0x1000, 0x10_0003);
    let (notify, call) = told.split_once('\n').unwrap();
    for (ret, expected) in [(0, vec![]), (-12, vec![FindingKind::MappingMissing])] {
        let log = format!("{ATTACH}{notify}\n{}{call}", answer(ret));
        assert_eq!(kinds(&examine(&Logs { log, ..Logs::default() })), expected);
    }
    let log = format!("{ATTACH}{notify}\n{}{call}", answer(0).replace("readonly=0", "readonly=1"));
    assert_eq!(kinds(&examine(&Logs { log, ..Logs::default() })), [FindingKind::WrongPermission]);
}

#[test]
fn the_history_of_an_address_is_told_in_order() {
    let logs = healthy();
    let examined = doctor(&logs, 1000, Options { iova: Some(0x1234), ..Options::default() });
    let (moments, count) = examined.history();
    assert_eq!(count, moments.len() as u64);
    let codes: Vec<u64> = moments.iter().map(|one| one.moment.code()).collect();
    assert_eq!(codes, [9, 2, 4, 0, 3, 6, 0, 2, 4, 0, 10, 3, 6]);
    assert_eq!(moments[2].value, 0x7000);
}

#[test]
fn reading_ends_where_it_was_to_end() {
    let mut logs = healthy();
    logs.log = without(&logs.log, &put(0x1000, 0));
    logs.kernel = None;
    logs.stderr = None;
    let mut doctor = Doctor::new(Options::default());
    doctor.set_limits(Limits { line: 6, ..Limits::NONE });
    let [mut log, mut kernel, mut stderr] = [0usize; 3];
    let need = doctor.run(
        &mut Input { bytes: logs.log.as_bytes(), at: &mut log, last: true },
        &mut Input { bytes: b"", at: &mut kernel, last: true },
        &mut Input { bytes: b"", at: &mut stderr, last: true },
    );
    assert_eq!((need, doctor.findings(), doctor.parser().lines()), (Need::Nothing, &[][..], 6));
}

mod damaged {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Lines that are missing, doubled, cut or in another order make findings, never a panic, and never more of them than
        /// there are lines.
        #[test]
        fn logs_never_make_it_panic(
            changes in prop::collection::vec((0..3usize, any::<prop::sample::Index>(), 0..4u8, 0..120usize), 1..12),
            piece in 1..400usize,
        ) {
            let logs = healthy();
            let mut texts = [logs.log, logs.kernel.unwrap(), "vfio_container_dma_map(0x5, 0x1000, 0x1000, 0x7f) = -17 (x)\n".into()];
            for (which, index, change, cut) in changes {
                let mut lines: Vec<String> = texts[which].lines().map(str::to_owned).collect();
                if lines.is_empty() { continue; }
                let at = index.index(lines.len());
                match change {
                    0 => { lines.remove(at); }
                    1 => { let line = lines[at].clone(); lines.insert(at, line); }
                    2 => { let cut = cut.min(lines[at].len()); lines[at].truncate(cut); }
                    _ => { let other = cut % lines.len(); lines.swap(at, other); }
                }
                texts[which] = lines.join("\n");
            }
            let [log, kernel, stderr] = texts;
            let logs = Logs { log, kernel: Some(kernel), stderr: Some(stderr) };
            let examined = doctor(&logs, piece, Options { iova: Some(0x1000), ..Options::default() });
            let whole = doctor(&logs, 1 << 20, Options { iova: Some(0x1000), ..Options::default() });
            prop_assert_eq!(examined.findings(), whole.findings());
            prop_assert!(examined.findings().len() < 40);
        }
    }
}
