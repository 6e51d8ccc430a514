//! Everything that a guest did to a running QEMU 10.0.2 (`tests/data/vectors`, 30 scenarios), done to a
//! `SpaprMachine`: every recorded field must agree.

#![cfg(test)]

mod recording;
mod spapr_machine;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use spapr_machine::{Answer, Machine, RtasVia};

/// A field that does not agree: the operation's number, the field, and both values.
type Difference = (Option<u64>, String, Value, Value);

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../tests/data/vectors")
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn scenarios() -> Vec<(String, Vec<Value>)> {
    let files = fs::read_dir(vectors()).expect("the recordings").map(|file| file.expect("a file").path());
    let recordings = files.filter(|path| path.extension().is_some_and(|end| end == "jsonl"));
    let mut all: Vec<_> = recordings
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, lines(&fs::read_to_string(path).expect("text")))
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn scenario(name: &str) -> Vec<Value> {
    lines(&fs::read_to_string(vectors().join(name).with_extension("jsonl")).expect("text"))
}

/// What an operation is told, beside what it answers.
fn inputs(op: &str) -> &'static [&'static str] {
    match op {
        "POKE64" => &["n", "op", "addr", "data"],
        "POKE64_SEQ" => &["n", "op", "addr", "count", "start", "step"],
        "PEEK64" => &["n", "op", "addr", "count"],
        "DMA_READ" | "DMA_WRITE" => &["n", "op", "bus", "len", "off"],
        "REBOOT" => &["n", "op"],
        _ if op.starts_with("H_") => &["n", "op", "args"],
        _ => &["n", "op", "args", "nret"],
    }
}

/// The facts that only say how a recording was made.
const ABOUT: [&str; 8] = ["scenario", "seed", "qemu", "ram", "options", "machine", "accel", "dma_device"];

/// Compares all fields of a line with what was answered, both ways.
fn compare(line: &Value, answer: &Answer, inputs: &[&str], differences: &mut Vec<Difference>) {
    let recorded = line.as_object().expect("an object");
    let names = recorded.keys().map(String::as_str).filter(|name| !inputs.contains(name));
    for name in names.chain(answer.keys().copied()).collect::<BTreeSet<_>>() {
        let (old, new) = (recorded.get(name).unwrap_or(&Value::Null), answer.get(name).unwrap_or(&Value::Null));
        if old != new || !answer.contains_key(name) {
            differences.push((line["n"].as_u64(), name.to_owned(), old.clone(), new.clone()));
        }
    }
}

/// Runs a scenario: how many operations it has, and what does not agree.
fn run(scenario: &[Value], via: RtasVia) -> (usize, Vec<Difference>) {
    let (facts, rest) = scenario.split_first().expect("facts");
    let (last, operations) = rest.split_last().expect("final windows");
    let mut machine = Machine::new(facts, via);
    let mut differences = Vec::new();
    compare(facts, &machine.facts(facts), &ABOUT, &mut differences);
    for line in operations {
        let op = line["op"].as_str().expect("an operation");
        match machine.run(line) {
            Some(answer) => compare(line, &answer, inputs(op), &mut differences),
            None => differences.push((line["n"].as_u64(), "op".to_owned(), json!(op), Value::Null)),
        }
    }
    compare(last, &Answer::from([("final_windows", machine.windows())]), &[], &mut differences);
    (operations.len(), differences)
}

#[test]
fn every_recorded_operation_has_the_recorded_effect() {
    for via in [RtasVia::Arguments, RtasVia::Block] {
        let (mut files, mut operations) = (0, 0);
        for (name, scenario) in scenarios() {
            let (count, differences) = run(&scenario, via);
            assert!(differences.is_empty(), "{name}, RTAS through {via:?}: {differences:#?}");
            (files, operations) = (files + 1, operations + count);
        }
        assert_eq!((files, operations), (30, 6023));
    }
}

#[test]
fn an_altered_recording_differs_in_exactly_what_was_altered() {
    let altered = |file: &str, pick: &dyn Fn(&Value) -> bool, path: &str, value: Value| {
        let mut lines = scenario(file);
        let line = lines.iter_mut().find(|line| pick(line)).expect("such a line");
        let (n, field) = (line["n"].as_u64(), path.split('/').nth(1).expect("a field").to_owned());
        *line.pointer_mut(path).expect("such a field") = value;
        let (_, differences) = run(&lines, RtasVia::Block);
        let found: Vec<_> = differences.iter().map(|(n, field, ..)| (*n, field.clone())).collect();
        assert_eq!(found, [(n, field)], "{file} {path}");
    };
    let op = |name: &'static str| move |line: &Value| line["op"] == name;
    altered("put_get", &op("H_PUT_TCE"), "/ret", json!(-4));
    altered("put_get", &op("H_GET_TCE"), "/out/0", json!("0x77"));
    altered("ddw_lifecycle", &op("ibm,create-pe-dma-window"), "/rets/2", json!(1));
    altered("ddw_lifecycle", &op("ibm,create-pe-dma-window"), "/status", json!(-1));
    altered("ddw_lifecycle", &op("ibm,remove-pe-dma-window"), "/h_ret", json!(-4));
    altered("ddw_bad_params", &|line: &Value| line.get("beyond").is_some(), "/beyond/0", json!(0));
    altered("dma_translate", &op("DMA_READ"), "/xlate/0/3", json!(0));
    altered("vio_dma", &op("PEEK64"), "/data/1", json!("0x0"));
    let is_last = |line: &Value| line.get("final_windows").is_some();
    altered("liobns", &is_last, "/final_windows/0/size", json!("0x1000"));
    let is_first = |line: &Value| line.get("scenario").is_some();
    altered("liobns", &is_first, "/fdt_dma_windows/pci@800000020000000/size", json!("0x1000"));
    altered("ddw_off", &is_first, "/ddw_in_fdt", json!(true));
}

#[test]
fn an_operation_or_a_field_that_the_runner_does_not_know_is_a_difference() {
    for extra in [
        json!({ "n": 900, "op": "H_PUT_TCE_INDIRECTLY", "args": [] }),
        json!({ "n": 900, "op": "REBOOT", "cold": true }),
    ] {
        let mut lines = scenario("put_get");
        lines.insert(lines.len() - 1, extra);
        let (_, differences) = run(&lines, RtasVia::Arguments);
        assert_eq!(differences.len(), 1);
        assert_eq!(differences[0].0, Some(900));
    }
}
