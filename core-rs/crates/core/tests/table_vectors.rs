//! The hypercalls against what a running QEMU 10.0.2 answered (`tests/data/vectors`, one operation per line).

#![cfg(test)]

mod recording;

use std::collections::BTreeMap;

use giommu_core::address::Iova;
use giommu_core::hcall::{H_PARAMETER, check_indirect, h_get_tce, h_put_tce, h_put_tce_indirect, h_stuff_tce};
use giommu_core::tce_table::{Change, Geometry, TceTable};
use recording::{number, numbers};
use serde_json::Value;

/// One recorded machine: its tables, and the RAM that the guest wrote, in 64-bit words.
struct Machine {
    ram: u64,
    tables: BTreeMap<u64, TceTable>,
    words: BTreeMap<u64, u64>,
    change: Change,
}

impl Machine {
    fn new(facts: &Value) -> Self {
        let windows = facts["windows"].as_array().expect("windows");
        let tables = windows.iter().map(|window| {
            let liobn = number(&window["liobn"]);
            let geometry = Geometry {
                liobn: u32::try_from(liobn).expect("32 bits"),
                bus_offset: Iova(number(&window["bus"])),
                page_shift: 12,
                entries: u32::try_from(number(&window["size"]) >> 12).expect("32 bits"),
            };
            (liobn, TceTable::new(geometry, u32::MAX).expect("sound"))
        });
        Self { ram: number(&facts["ram"]), tables: tables.collect(), words: BTreeMap::new(), change: Change::new() }
    }

    /// The list of an indirect call: what lies outside RAM reads as 0.
    fn list(&self, address: u64, count: u32) -> Vec<u64> {
        let word = |at: u64| if at < self.ram { self.words.get(&at).copied().unwrap_or(0) } else { 0 };
        (0..u64::from(count)).map(|i| word(address.wrapping_add(i * 8))).collect()
    }

    /// Makes one call: r3 and r4 after it.
    fn call(&mut self, name: &str, args: &[u64]) -> (i64, u64) {
        let r4 = args[0];
        let list = match name {
            "H_PUT_TCE_INDIRECT" => check_indirect(args[2], args[3]).map(|count| self.list(args[2], count)),
            _ => Ok(Vec::new()),
        };
        let Some(table) = self.tables.get_mut(&args[0]) else { return (H_PARAMETER, r4) };
        let change = &mut self.change;
        match name {
            "H_PUT_TCE" => (h_put_tce(table, args[1], args[2], change).ret, r4),
            "H_GET_TCE" => h_get_tce(table, args[1]).map_or_else(|ret| (ret, r4), |tce| (0, tce)),
            "H_STUFF_TCE" => (h_stuff_tce(table, args[1], args[2], args[3], change).ret, r4),
            "H_PUT_TCE_INDIRECT" => {
                (list.map_or_else(|ret| ret, |list| h_put_tce_indirect(table, args[1], &list, change).ret), r4)
            }
            _ => panic!("no such call: {name}"),
        }
    }
}

/// Runs one scenario; returns how many calls it made.
fn run(scenario: &str) -> usize {
    let mut lines = scenario.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut machine = Machine::new(&lines.next().expect("facts"));
    let mut calls = 0;
    for line in lines {
        match line["op"].as_str() {
            None => {}
            Some("POKE64") => {
                for (word, at) in numbers(&line["data"]).iter().zip((number(&line["addr"])..).step_by(8)) {
                    machine.words.insert(at, *word);
                }
            }
            Some("POKE64_SEQ") => {
                for i in 0..number(&line["count"]) {
                    let word = number(&line["start"]).wrapping_add(number(&line["step"]).wrapping_mul(i));
                    machine.words.insert(number(&line["addr"]) + 8 * i, word);
                }
            }
            Some(name) => {
                let (ret, r4) = machine.call(name, &numbers(&line["args"]));
                assert_eq!(Some(ret), line["ret"].as_i64(), "{line}");
                assert_eq!(r4, number(&line["out"][0]), "{line}");
                calls += 1;
            }
        }
    }
    calls
}

#[test]
fn put_and_get_answer_as_qemu_does() {
    assert_eq!(run(include_str!("../../../../tests/data/vectors/put_get.jsonl")), 67);
}

#[test]
fn stuff_answers_as_qemu_does() {
    assert_eq!(run(include_str!("../../../../tests/data/vectors/stuff.jsonl")), 114);
}

#[test]
fn put_indirect_answers_as_qemu_does() {
    assert_eq!(run(include_str!("../../../../tests/data/vectors/indirect.jsonl")), 152);
}
