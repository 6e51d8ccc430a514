//! Runs one of the measured loops natively, for a profiler:
//!
//! ```sh
//! cargo build --release --package giommu-bench
//! valgrind --tool=callgrind target/release/giommu-bench put
//! ```

use std::process::ExitCode;
use std::time::Instant;

use giommu_bench::{Bench, Delivered, Order, Unsound};

const USAGE: &str = "usage: giommu-bench put|put-random|indirect|stuff|replay|translate [SHIFT]";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let what = args.next().unwrap_or_default();
    let shift = args.next().and_then(|shift| shift.parse().ok()).unwrap_or(19);
    match run(&what, shift) {
        Ok(Some((delivered, nanoseconds))) => {
            println!("{what} 2^{shift}: {nanoseconds:.2} ns each, {delivered:?}");
            ExitCode::SUCCESS
        }
        Ok(None) => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
        Err(Unsound) => {
            eprintln!("giommu-bench: a window of 2^{shift} entries cannot be");
            ExitCode::from(2)
        }
    }
}

/// Does the work a few times; the fastest counts.
fn run(what: &str, shift: u32) -> Result<Option<(Delivered, f64)>, Unsound> {
    let scattered = 1 << 32;
    let (length, threshold) = if what == "stuff" { (0, 0) } else { (1, scattered) };
    let writes = what.starts_with("put") || what == "indirect";
    let mut bench = Bench::new(shift, length, if writes { 0 } else { threshold })?;
    let entries = 1 << shift;
    let mut best = f64::INFINITY;
    for round in 0..6 {
        let map = round % 2 == 0;
        if what == "stuff" {
            bench.fill(Order::Sequential, 0, 0)?;
        }
        bench.delivered = Delivered::default();
        let start = Instant::now();
        match what {
            "put" => _ = bench.put(Order::Sequential, 0, entries, map),
            "put-random" => _ = bench.put(Order::Random, 0, entries, map),
            "indirect" => _ = bench.indirect(0, entries, map),
            "stuff" => _ = bench.clear(0, entries, 512),
            "replay" => _ = bench.replay(0, u32::MAX),
            "translate" => bench.translate(Order::Sequential, 0, entries),
            _ => return Ok(None),
        }
        let nanoseconds = start.elapsed().as_secs_f64() * 1e9 / f64::from(entries);
        if map {
            best = best.min(nanoseconds);
        }
    }
    Ok(Some((bench.delivered, best)))
}
