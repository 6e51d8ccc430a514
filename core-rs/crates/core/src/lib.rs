//! Guest-visible IOMMUs and the VFIO containers that mirror them, decided in one place.
//!
//! This crate holds every behaviour of giommu that is hot or subtle. It performs no I/O, contains no `unsafe` code, and no value
//! that a guest controls can make it panic. Façades (WebAssembly, native libraries, [vm-memory]) convert, call and convert
//! back; they decide nothing.
//!
//! [vm-memory]: https://crates.io/crates/giommu-vm-memory
//!
//! # A tour
//!
//! **A table and its guest.** A [`TceTable`](tce_table::TceTable) is what a pseries guest's IOMMU translates by: one entry per page, in
//! a window of the bus that its [`Geometry`](tce_table::Geometry) describes. The guest writes entries by hypercalls ([`hcall`]). Every
//! write fills a [`Change`](tce_table::Change): which mappings went, which came, and how all of it is undone.
//!
//! ```
//! use giommu_core::address::{Gpa, Iova};
//! use giommu_core::hcall::{H_PARAMETER, H_SUCCESS, h_put_tce};
//! use giommu_core::perm::Perm;
//! use giommu_core::tce_table::{Change, Geometry, TceTable};
//!
//! let geometry = Geometry { liobn: 0x8000_0000, bus_offset: Iova(0), page_shift: 12, entries: 16 };
//! let (mut table, mut change) = (TceTable::new(geometry, 16)?, Change::new());
//! assert_eq!(h_put_tce(&mut table, 0x3000, 0x7_0003, &mut change).ret, H_SUCCESS);
//! assert_eq!((change.unmaps().len(), change.maps().len()), (0, 1));
//! let entry = table.translate(0x3abc).expect("inside the window");
//! assert_eq!((entry.target, entry.perm), (Gpa(0x7_0000), Perm::READ_WRITE));
//!
//! table.undo(&change); // a host refused it
//! assert_eq!(table.mapped(), 0);
//! assert_eq!(h_put_tce(&mut table, 0x1_0000, 0x7_0003, &mut change).ret, H_PARAMETER); // past the window
//! # Ok::<(), giommu_core::tce_table::TableError>(())
//! ```
//!
//! **What a newcomer must be told.** A device that is plugged in later needs everything that is mapped already. A table says it as
//! [`Extent`](extent::Extent)s, at a cost that follows what is mapped ([`TceTable::extents`](tce_table::TceTable::extents)). An
//! IOMMU that can only translate is probed by a [`Walker`](walker::Walker), which cannot wrap at 2^64.
//!
//! **What the host must be asked.** A [`Container`](container::Container) mirrors guest mappings into one host address space. It is told
//! of runs that come and go, checks beforehand what can be known, answers with the calls to make
//! ([`HostOp`](container::HostOp)), and is told how they went. A transaction that the host refuses is rolled back.
//!
//! **A whole machine.** A [`SpaprMachine`](spapr::SpaprMachine) has PCI host bridges and VIO devices, and answers hypercalls and RTAS
//! calls as QEMU does; windows come and go. What the layers above must deliver is in [`Effects`](spapr::Effects). It can be
//! saved, and exchanges its tables with QEMU's migration streams ([`migration`]).
//!
//! **What really happened.** A [`LogMachine`](trace::machine::LogMachine) rebuilds a guest's tables from a log of QEMU, line by line, and
//! says where the log contradicts them; a [`Parser`](trace::parser::Parser) reads the events alone.
//!
//! # Conventions
//!
//! - Addresses are newtypes ([`Iova`](address::Iova), [`Gpa`](address::Gpa)); ranges include both ends ([`IovaRange`](address::IovaRange)).
//! - Page sizes are powers of two, given as shifts. Permissions are two bits ([`Perm`](perm::Perm)).
//! - What a guest did wrong is a return value; the caller's own mistakes are errors, each with its type.

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

/// Runs the README's code with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
