//! Logs as JavaScript feeds them: bytes into a buffer of this module, results as flat arrays of numbers.

#![expect(clippy::cast_possible_truncation, reason = "WebAssembly counts in 32 bits")]

mod machine;
mod reader;
