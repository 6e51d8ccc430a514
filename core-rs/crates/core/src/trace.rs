//! Reads QEMU's logs and rebuilds the guest's IOMMUs from them.

mod format;
pub mod kind;
pub mod parser;
mod scan;
