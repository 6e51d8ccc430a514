//! Logs as JavaScript feeds them: bytes into a buffer of this module, results as flat arrays of numbers.

mod buffer;
mod machine;
mod reader;

pub(crate) use buffer::Buffer;
