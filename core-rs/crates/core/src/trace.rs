//! Reads QEMU's logs and rebuilds the guest's IOMMUs from them.

pub mod findings;
mod format;
pub mod hotplug;
mod interval;
pub mod kind;
pub mod machine;
pub mod parser;
pub mod rebuilt;
mod scan;
pub mod window;

pub(crate) use scan::find;
