//! Reads QEMU's logs and rebuilds the guest's IOMMUs from them.

mod cursor;
pub mod findings;
mod format;
mod hot;
pub mod hotplug;
pub mod kernel;
pub mod kind;
mod knowledge;
mod lines;
pub mod machine;
pub mod parser;
mod prefix;
pub mod rebuilt;
mod scan;
pub mod stderr;
pub mod window;

pub(crate) use scan::find;
