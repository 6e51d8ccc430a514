//! Tries every interleaving of a small guest, its containers, and what their hosts answer.
//!
//! The state machines are the core's own: [`Container`](giommu_core::container::Container) and
//! [`TceTable`](giommu_core::tce_table::TceTable). What TypeScript does around them, who is told what in which order and how that is
//! taken back, is transcribed here file by file; each module names the file that it follows. The hosts are plain maps
//! with a kernel's rules, and refuse whatever they like. docs/model-check.md says what is checked, and what this cannot see.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a checker may stop at the first surprise"
)]

pub mod act;
pub mod answers;
pub mod attachment;
pub mod breach;
pub mod bus;
pub mod delivery;
pub mod driver;
pub mod explore;
pub mod guest_call;
pub mod host;
pub mod judge;
pub mod mapped_run;
pub mod mirror;
pub mod model;
pub mod notifier;
pub mod pages;
pub mod replay;
pub mod run;
pub mod seat;
pub mod sections;
pub mod setup;
pub mod sight;
pub mod table;
pub mod value;
pub mod walks;
pub mod world;
