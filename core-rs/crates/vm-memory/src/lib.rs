#![doc = include_str!("../README.md")]

mod bridge_mirror;
mod reach;
mod tce_iommu;
mod translate;

pub use bridge_mirror::{BridgeMirror, MirrorError};
pub use tce_iommu::{LockedTable, TceIommu, WindowError};

/// Runs the code of the page for who comes from rust-vmm.
#[cfg(doctest)]
#[doc = include_str!("../docs/from-rust-vmm.md")]
struct FromRustVmm;
