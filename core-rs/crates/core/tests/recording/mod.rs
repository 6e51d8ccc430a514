//! Values of the recordings (`tests/data/vectors`): 64-bit numbers are hexadecimal strings, others plain numbers.

#![allow(clippy::expect_used, reason = "a test may stop at the first surprise")]

use serde_json::Value;

pub(crate) fn number(value: &Value) -> u64 {
    match value.as_str() {
        Some(text) => {
            let digits = text.strip_prefix("0x").expect("hexadecimal");
            u64::from_str_radix(digits, 16).expect("64 bits")
        }
        None => value.as_u64().expect("a number"),
    }
}

pub(crate) fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().expect("a list").iter().map(number).collect()
}
