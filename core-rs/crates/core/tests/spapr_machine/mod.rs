//! The machine of the recordings: RAM, the core's IOMMUs, a device with a DMA engine, and a logical LAN.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

mod facts;
mod lan;

use std::collections::BTreeMap;

use giommu_core::address::{Gpa, Iova};
use giommu_core::spapr::{
    DmaDevice, DmaReach, Effects, GuestMemory, H_GET_TCE, H_PUT_TCE, H_PUT_TCE_INDIRECT, H_RTAS, H_STUFF_TCE,
    PhbConfig, SpaprMachine, VioConfig, token,
};
use serde_json::{Value, json};

use crate::recording::{number, numbers};

/// What a word holds that no call has written.
const UNWRITTEN: u32 = 0xa5a5_a5a5;
/// Bytes of the DMA engine's buffer.
const BUFFER: usize = 4096;

/// How the runner makes RTAS calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RtasVia {
    Arguments,
    Block,
}

pub(crate) struct Machine {
    iommus: SpaprMachine,
    ram: Vec<u8>,
    buffer: Vec<u8>,
    lan: lan::LogicalLan,
    effects: Effects,
    via: RtasVia,
}

/// What an operation did, by the recording's names of fields.
pub(crate) type Answer = BTreeMap<&'static str, Value>;

pub(crate) fn hex(value: u64) -> Value {
    json!(format!("{value:#x}"))
}

fn word(value: u64) -> u32 {
    u32::try_from(value).expect("32 bits")
}

impl Machine {
    pub(crate) fn new(facts: &Value, via: RtasVia) -> Self {
        let mut iommus = SpaprMachine::new(u32::MAX);
        for phb in facts["phbs"].as_array().expect("bridges") {
            let config = PhbConfig {
                index: word(number(&phb["index"])),
                ddw: phb["ddw"].as_bool().expect("yes or no"),
                pgsz: number(&phb["page_size_mask"]),
                dma_win_addr: Iova(number(&phb["dma_win_addr"])),
                dma_win_size: number(&phb["dma_win_size"]),
                dma64_win_addr: Iova(number(&phb["dma64_win_addr"])),
            };
            iommus.add_phb(config).expect("a bridge");
        }
        for vio in facts["vio"].as_array().expect("devices") {
            iommus.add_vio(VioConfig::new(word(number(&vio["unit"])))).expect("a device");
        }
        let ram = vec![0; usize::try_from(number(&facts["ram"])).expect("fits")];
        let (lan, effects) = (lan::LogicalLan::default(), Effects::new());
        Self { iommus, ram, buffer: vec![0; BUFFER], lan, effects, via }
    }

    /// Does what one line says; `None` if there is no such operation.
    pub(crate) fn run(&mut self, line: &Value) -> Option<Answer> {
        let name = line["op"].as_str()?;
        Some(match name {
            "POKE64" => {
                for (word, at) in numbers(&line["data"]).iter().zip((number(&line["addr"])..).step_by(8)) {
                    self.ram.write(Gpa(at), &word.to_be_bytes());
                }
                Answer::new()
            }
            "POKE64_SEQ" => {
                for i in 0..number(&line["count"]) {
                    let word = number(&line["start"]).wrapping_add(number(&line["step"]).wrapping_mul(i));
                    self.ram.write(Gpa(number(&line["addr"]) + 8 * i), &word.to_be_bytes());
                }
                Answer::new()
            }
            "PEEK64" => {
                let mut bytes = vec![0; 8 * usize::try_from(number(&line["count"])).expect("fits")];
                self.ram.read(Gpa(number(&line["addr"])), &mut bytes);
                let words = bytes.as_chunks().0.iter().map(|word| hex(u64::from_be_bytes(*word)));
                Answer::from([("data", Value::Array(words.collect()))])
            }
            "DMA_READ" | "DMA_WRITE" => self.dma(name == "DMA_READ", line),
            "REBOOT" => {
                self.iommus.reset(&mut self.effects);
                self.lan = lan::LogicalLan::default();
                Answer::new()
            }
            _ if line.get("h_ret").is_some() => self.rtas(name, line)?,
            _ => self.hcall(name, &numbers(&line["args"]))?,
        })
    }

    fn hcall(&mut self, name: &str, args: &[u64]) -> Option<Answer> {
        let mut registers = [0; 10];
        registers[1..=args.len()].copy_from_slice(args);
        registers[0] = match name {
            "H_PUT_TCE" => H_PUT_TCE,
            "H_GET_TCE" => H_GET_TCE,
            "H_PUT_TCE_INDIRECT" => H_PUT_TCE_INDIRECT,
            "H_STUFF_TCE" => H_STUFF_TCE,
            "H_RTAS" => H_RTAS,
            "H_REGISTER_LOGICAL_LAN" | "H_FREE_LOGICAL_LAN" => {
                registers[0] = self.lan.call(name, args, &self.iommus, &mut self.ram).cast_unsigned();
                return Some(called(registers));
            }
            _ => return None,
        };
        assert!(self.iommus.hcall(&mut registers, self.ram.as_mut_slice(), &mut self.effects), "{name} is known");
        assert_eq!(registers[5..], [0; 5], "r8 to r12 never change");
        Some(called(registers))
    }

    fn rtas(&mut self, name: &str, line: &Value) -> Option<Answer> {
        let known = if name == "unknown-token" { Some(0x20ff) } else { token::of(name) };
        let token = known?;
        let args: Vec<u32> = numbers(&line["args"]).into_iter().map(word).collect();
        let nret = word(number(&line["nret"]));
        let (ret, words) = match self.via {
            RtasVia::Arguments => {
                let reply = self.iommus.rtas(token, &args, nret, &mut self.effects);
                let mut words = vec![UNWRITTEN; 16];
                words[..reply.rets().len()].copy_from_slice(reply.rets());
                (reply.ret, words)
            }
            RtasVia::Block => {
                let mut block = vec![token, word(args.len() as u64), nret];
                block.extend(&args);
                block.extend([UNWRITTEN; 16]);
                let mut bytes: Vec<u8> = block.iter().flat_map(|word| word.to_be_bytes()).collect();
                let ret = self.iommus.rtas_block(0, bytes.as_mut_slice(), &mut self.effects);
                let words = bytes.as_chunks().0.iter().map(|word| u32::from_be_bytes(*word));
                (ret, words.skip(3 + args.len()).collect())
            }
        };
        let (rets, others) = words.split_at(nret as usize);
        let beyond = (nret..).zip(others).filter(|(_, word)| **word != UNWRITTEN);
        let beyond: serde_json::Map<_, _> = beyond.map(|(at, word)| (at.to_string(), json!(word))).collect();
        let status = (words[0] != UNWRITTEN).then(|| words[0].cast_signed());
        let mut answer = Answer::from([
            ("h_ret", json!(ret)),
            ("rets", json!(rets)),
            ("status", json!(status)),
            ("nargs", json!(args.len())),
        ]);
        if !beyond.is_empty() {
            answer.insert("beyond", Value::Object(beyond));
        }
        Some(answer)
    }

    /// The device's engine: `read` fills its buffer from the bus.
    fn dma(&mut self, read: bool, line: &Value) -> Answer {
        let (bus, len) = (Iova(number(&line["bus"])), number(&line["len"]));
        let off = usize::try_from(number(&line["off"])).expect("fits");
        let part = off..off + usize::try_from(len).expect("fits");
        let device = DmaDevice::Pci(0);
        let (mut at, mut left, mut xlate) = (bus, len, Vec::new());
        while left > 0 {
            let chunk = self.iommus.translate(device, at, left);
            if let DmaReach::Page(page) = chunk.reach {
                xlate.push(json!([
                    hex(page.liobn.into()),
                    hex(page.offset),
                    hex(page.page.0),
                    json!(page.perm.bits())
                ]));
            }
            (at, left) = (Iova(at.0.wrapping_add(chunk.bytes)), left - chunk.bytes);
        }
        if read {
            self.iommus.dma_read(device, bus, &mut self.buffer[part], self.ram.as_slice());
        } else {
            self.iommus.dma_write(device, bus, &self.buffer[part], self.ram.as_mut_slice());
        }
        Answer::from([("xlate", Value::Array(xlate))])
    }
}

fn called(registers: [u64; 10]) -> Answer {
    let out = registers[1..5].iter().map(|register| hex(*register)).collect();
    Answer::from([("ret", json!(registers[0].cast_signed())), ("out", Value::Array(out))])
}
