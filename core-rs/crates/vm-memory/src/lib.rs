#![doc = include_str!("../README.md")]

mod reach;
mod tce_iommu;
mod translate;

pub use tce_iommu::{LockedTable, TceIommu, WindowError};
