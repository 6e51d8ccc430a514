//! The WebAssembly façade of giommu's core: it converts, calls and converts back, and decides nothing.

mod container;
mod migration;
mod record;
mod spapr;
mod table;
mod trace;
mod walker;
