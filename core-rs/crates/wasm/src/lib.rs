//! The WebAssembly façade of giommu's core: it converts, calls and converts back, and decides nothing.
//!
//! Each feature is a module of its own for JavaScript, with a memory of its own.

#[cfg(feature = "bench")]
mod bench;
#[cfg(any(feature = "spapr", feature = "log", feature = "hostlog", feature = "doctor"))]
mod buffer;
#[cfg(feature = "container")]
mod container;
#[cfg(feature = "doctor")]
mod doctor;
#[cfg(any(feature = "table", feature = "spapr", feature = "log"))]
mod extents;
#[cfg(feature = "hostlog")]
mod host_log;
#[cfg(any(feature = "spapr", feature = "log"))]
mod migration;
#[cfg(any(feature = "table", feature = "spapr", feature = "log"))]
mod record;
#[cfg(feature = "spapr")]
mod spapr;
#[cfg(any(feature = "table", feature = "spapr", feature = "log"))]
mod table;
#[cfg(feature = "log")]
mod trace;
#[cfg(feature = "walker")]
mod walker;
