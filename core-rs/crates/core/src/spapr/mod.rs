//! What a pseries guest does to its IOMMUs, decided in one place.
//!
//! A [`SpaprMachine`] owns the translation tables of PCI host bridges ([`Phb`], up to two DMA windows each) and of VIO
//! devices ([`VioDevice`], with bypass), and answers hypercalls and RTAS calls as QEMU 10.0.2 does. It performs no I/O:
//! every call fills [`Effects`] with what the layers above must deliver, in order, before the guest goes on, and
//! [`SpaprMachine::undo`] takes the call back if they can not.
//!
//! A machine can be kept as bytes ([`SpaprMachine::save`]), and exchanges its tables with QEMU's migration streams
//! ([`SpaprMachine::load_stream`], [`SectionWriter`](crate::migration::SectionWriter)).
//!
//! Three things differ from QEMU on purpose. Shifts of 64 and more are a parameter error, and so is the removal of a
//! VIO device's table, on which QEMU aborts. A create that failed for its size leaves nothing behind, where QEMU aborts
//! at the next one. And the entries that a machine stores are limited: beyond that a call answers
//! [`H_NOT_ENOUGH_RESOURCES`](crate::hcall::H_NOT_ENOUGH_RESOURCES) and stores nothing.
//!
//! # Guest control
//! Every argument of a call, every byte of guest memory and every bus address may be hostile. Nothing here panics on
//! them, and memory grows with the entries that are not zero alone, under the limit of the machine.
//!
//! ```
//! use giommu_core::spapr::{Effects, PhbConfig, SpaprMachine, token};
//!
//! let mut machine = SpaprMachine::new(1 << 20);
//! machine.add_phb(PhbConfig::new(0)).expect("the first bridge");
//! let mut effects = Effects::new();
//! let buid = [0x0800_0000, 0x2000_0000];
//! let reply = machine.rtas(token::CREATE, &[0, buid[0], buid[1], 16, 30], 4, &mut effects);
//! assert_eq!(reply.rets(), [0, 0x8000_0001, 0x0800_0000, 0]);
//! assert_eq!(machine.h_put_tce(0x8000_0001, 1 << 59, 0x7f_0003, &mut effects), 0);
//! assert_eq!(effects.change.maps().len(), 1);
//! ```

mod calls;
mod config;
mod device_tree;
mod dma;
mod effects;
mod machine;
mod memory;
mod phb;
mod registers;
mod rtas;
mod rtas_reply;
mod slot;
mod snapshot;
mod state;
mod stream;
#[cfg(test)]
mod tests;
pub mod token;
mod undo;
mod vio;

pub use config::{ConfigError, PhbConfig, VioConfig};
pub use device_tree::cells_to_bytes;
pub use dma::{DmaChunk, DmaDevice, DmaPage, DmaReach};
pub use effects::{Effects, Event};
pub use machine::SpaprMachine;
pub use memory::GuestMemory;
pub use phb::Phb;
pub use registers::{H_GET_TCE, H_PUT_TCE, H_PUT_TCE_INDIRECT, H_RTAS, H_STUFF_TCE, Registers};
pub use rtas::{RTAS_BLOCK_WORDS, block_address};
pub use rtas_reply::{RTAS_HW_ERROR, RTAS_OK, RTAS_PARAM_ERROR, RtasReply};
pub use slot::WindowSlot;
pub use snapshot::SnapshotError;
pub use stream::LoadError;
pub use vio::VioDevice;
