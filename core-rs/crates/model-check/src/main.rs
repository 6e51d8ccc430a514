//! Explores what is too much for the gate: `deno task model-check [PAGES]`. With `walks` instead of a number it prints what
//! tests/data/model/walks.txt holds.

use std::process::ExitCode;
use std::thread::available_parallelism;

use giommu_model_check::explore::explore;
use giommu_model_check::host::HostKind::{Atomic, Exact, Quiesced, Type1};
use giommu_model_check::setup::Setup;
use giommu_model_check::walks::walks;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("walks") {
        print!("{}", walks());
        return ExitCode::SUCCESS;
    }
    let pages = match std::env::args().nth(1).map(|pages| pages.parse::<u32>()) {
        None => 4,
        Some(Ok(pages @ 2..=6)) => pages,
        Some(_) => {
            eprintln!("Cannot check the model: expected a number of pages from 2 to 6, or \"walks\"");
            return ExitCode::from(2);
        }
    };
    let setups = [
        ("2 pages, type1 and atomic, nothing left out", Setup::new(2, &[Type1, Atomic]).in_full()),
        ("3 pages, type1 and atomic", Setup::new(3, &[Type1, Atomic])),
        ("3 pages, two that split", Setup::new(3, &[Atomic, Atomic])),
        ("3 pages, one that is stopped and one without wide unmaps", Setup::new(3, &[Quiesced, Exact])),
        ("3 pages, unplugged when it fails", Setup::new(3, &[Type1, Atomic]).with_unplug()),
        ("3 pages, room for two maps", Setup::new(3, &[Type1, Exact]).with_limit(2)),
    ];
    let large = Setup::new(pages, &[Type1, Atomic]).with_refusals(2);
    let large = [("all pages asked for, two refusals in one act at most", large)];
    let threads = available_parallelism().map_or(2, usize::from);
    let mut is_right = true;
    for (name, setup) in setups.into_iter().chain(large) {
        let found = explore(&setup, threads);
        let seconds = found.time.as_secs_f64();
        println!("{name}: {} states, {} steps, {seconds:.1} s", found.states, found.steps);
        for broken in &found.broken {
            println!("{broken}");
            is_right = false;
        }
    }
    if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
