//! The core of giommu: guest-visible IOMMUs, decided in one place.
//!
//! This crate holds every behaviour that is hot or subtle: the sparse [`TceTable`](tce_table::TceTable)
//! of sPAPR, the overflow-safe [`Walker`](walker::Walker) over regions of any size, the state machine of a
//! VFIO [`Container`](container::Container), and the reader of QEMU's logs and migration streams.
//! It performs no I/O, contains no `unsafe` code, and no value that a guest controls can make it panic.
//! Façades (WebAssembly, native libraries) convert, call and convert back; they decide nothing.

pub mod address;
pub mod container;
pub mod doctor;
pub mod extent;
pub mod hcall;
pub mod migration;
pub mod perm;
pub mod spapr;
pub mod tce_table;
pub mod trace;
pub mod walker;
