//! Linux VFIO and iommufd for Deno: containers, groups, device files, I/O address spaces, and guest memory that a device
//! can reach.
//!
//! Each function of [`ffi`] does one step, mostly one `ioctl`, and knows nothing of guests. What it is given it trusts
//! nothing of: objects are numbers in a table, an unknown one is `EBADF`; memory is named by its number and an offset,
//! never by an address, and lives at least as long as it is mapped for a device.
//!
//! The structures are those of rust-vmm's `vfio-bindings` and `iommufd-bindings`. Its `vfio-ioctls` and
//! `iommufd-ioctls` are not used: they map read-write only, cannot choose `HUGE_PAGES` of an address space, and have
//! no `VFIO_IOMMU_UNMAP_DMA` on an iommufd, which is what cuts a mapping without a hole.
//!
//! On other systems the crate is empty.

#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "a system call is unsafe; every block says why it is sound")]

pub mod bindings;
mod device;
mod errno;
pub mod ffi;
mod handles;
mod held;
mod ioctl;
mod iommufd;
mod memory;
mod record;
mod signal;
mod system;
mod type1;
