#![doc = include_str!("../README.md")]

mod bridge_mirror;
mod reach;
mod tce_iommu;
mod translate;

pub use bridge_mirror::{BridgeMirror, MirrorError};
pub use tce_iommu::{LockedTable, TceIommu, WindowError};
