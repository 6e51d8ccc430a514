//! Reads QEMU's logs and rebuilds the guest's IOMMUs from them.

pub mod findings;
mod format;
pub mod hotplug;
pub mod kernel;
pub mod kind;
mod knowledge;
mod lines;
pub mod machine;
pub mod parser;
pub mod rebuilt;
mod scan;
pub mod stderr;
pub mod window;

pub(crate) use scan::find;
