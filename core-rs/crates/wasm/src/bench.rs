//! The loops that `bench/` measures, as JavaScript starts them: each call takes a millisecond or less, so that the engine
//! can replace code that it has compiled better meanwhile.

use giommu_bench::{Bench, Delivered, Order};
use wasm_bindgen::prelude::*;

use crate::table::RawTceTable;

/// A machine with one bridge, whose default window is measured.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawBench {
    bench: Bench,
    words: Vec<u64>,
}

fn order(random: bool) -> Order {
    if random { Order::Random } else { Order::Sequential }
}

#[wasm_bindgen]
impl RawBench {
    /// A machine whose window has 2^`shift` entries, in runs of `length`, each there with a probability of `threshold` / 2^32.
    ///
    /// # Errors
    /// The window cannot be that large.
    #[wasm_bindgen(constructor)]
    pub fn new(shift: u32, length: u32, threshold: f64) -> Result<RawBench, JsError> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number up to 2^32")]
        let bench = Bench::new(shift, length, threshold as u64).map_err(|_| JsError::new("no such window"))?;
        Ok(Self { bench, words: Vec::new() })
    }

    /// A handle on the table that is measured, which shares it.
    pub fn table(&self) -> RawTceTable {
        RawTceTable::from_shared(self.bench.table().clone())
    }

    /// Writes the entries anew.
    pub fn fill(&self, random: bool, length: u32, threshold: f64) -> bool {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number up to 2^32")]
        self.bench.fill(order(random), length, threshold as u64).is_ok()
    }

    /// Begins to add up anew.
    pub fn restart(&mut self) {
        self.bench.delivered = Delivered::default();
    }

    /// The sum of what was delivered since then.
    #[wasm_bindgen(getter)]
    pub fn sum(&self) -> u64 {
        self.bench.delivered.sum
    }

    /// How many pages that was.
    #[wasm_bindgen(getter)]
    pub fn pages(&self) -> u64 {
        self.bench.delivered.pages
    }

    /// Whether the tables hold the same.
    pub fn equals(&self, other: &RawBench) -> bool {
        self.bench.equals(&other.bench)
    }

    /// Replays at most so many extents; where to go on.
    pub fn replay(&mut self, from: u32, most: u32) -> Option<u32> {
        self.bench.replay(from, most)
    }

    /// H_PUT_TCE; how many failed.
    pub fn put(&mut self, random: bool, first: u32, count: u32, map: bool) -> u32 {
        self.bench.put(order(random), first, count, map)
    }

    /// H_PUT_TCE_INDIRECT, in lists of 512; how many failed.
    pub fn indirect(&mut self, first: u32, count: u32, map: bool) -> u32 {
        self.bench.indirect(first, count, map)
    }

    /// H_STUFF_TCE with 0, in calls of `step` entries; how many failed.
    pub fn clear(&mut self, first: u32, count: u32, step: u32) -> u32 {
        self.bench.clear(first, count, step)
    }

    /// Translates.
    pub fn translate(&mut self, random: bool, first: u32, count: u32) {
        self.bench.translate(order(random), first, count);
    }

    /// Makes an empty table; the bytes that it holds.
    pub fn create(shift: u32) -> u32 {
        giommu_bench::create(shift).and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(u32::MAX)
    }

    /// Holds so many words of memory, which [`RawBench::sum_words`] reads.
    #[wasm_bindgen(js_name = holdWords)]
    pub fn hold_words(&mut self, count: u32) {
        self.words = vec![1; count as usize];
    }

    /// The sum of `count` words from the `first`.
    #[wasm_bindgen(js_name = sumWords)]
    pub fn sum_words(&self, first: u32, count: u32) -> u64 {
        let words = self.words.get(first as usize..).unwrap_or(&[]);
        giommu_bench::sum(words.get(..count as usize).unwrap_or(words))
    }
}
