//! What Deno calls. Every function answers with a number that is not negative, or with an error number and a minus.
//!
//! Numbers of 64 bits are in buffers, little endian, since deno_bindgen gives them the type `number` in TypeScript. A
//! buffer is never empty: TypeScript sees to it, as an empty one has no address.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use deno_bindgen::deno_bindgen;

use crate::device::Device;
use crate::errno::{Outcome, answer, done};
use crate::handles::{self, Handle};
use crate::iommufd::Iommufd;
use crate::memory::Memory;
use crate::record;
use crate::signal::Signal;
use crate::system;
use crate::type1::{Container, Group};

/// Numbers of a record of a batch of maps: address, bytes, memory, offset in the memory, access (1 read, 2 write).
const MAP_RECORD: usize = 5;
/// Numbers of a record of a batch of unmaps: address, and bytes, which become those that were unmapped.
const UNMAP_RECORD: usize = 2;

/// Lets go of an object.
#[deno_bindgen]
fn giommu_close(handle: u32) -> i32 {
    done(handles::close(handle))
}

/// Opens `/dev/vfio/vfio`.
#[deno_bindgen]
fn giommu_container_open(path: &[u8]) -> i32 {
    add(Container::open(as_path(path)), Handle::Container)
}

/// Makes VFIO_CHECK_EXTENSION.
#[deno_bindgen]
fn giommu_container_check_extension(container: u32, extension: u32) -> i32 {
    answer(handles::container(container).and_then(|container| container.check_extension(extension)))
}

/// Makes VFIO_SET_IOMMU.
#[deno_bindgen]
fn giommu_container_set_iommu(container: u32, kind: u32) -> i32 {
    done(handles::container(container).and_then(|container| container.set_iommu(kind)))
}

/// Makes VFIO_IOMMU_GET_INFO: page sizes, mappings left, page sizes of dirty tracking, its largest bitmap, number of ranges,
/// each range. Returns how many numbers there are.
#[deno_bindgen]
fn giommu_container_info(container: u32, out: &mut [u8]) -> i32 {
    numbers(handles::container(container).and_then(|container| container.info()), out)
}

/// Makes VFIO_IOMMU_MAP_DMA for each record until one is refused.
#[deno_bindgen]
fn giommu_container_map(container: u32, batch: &mut [u8]) -> i32 {
    done(handles::container(container).and_then(|container| {
        map_each(batch, |iova, size, memory, offset, access| container.map(iova, size, memory, offset, access))
    }))
}

/// Makes VFIO_IOMMU_UNMAP_DMA for each record until one is refused.
#[deno_bindgen]
fn giommu_container_unmap(container: u32, batch: &mut [u8]) -> i32 {
    done(
        handles::container(container).and_then(|container| unmap_each(batch, |iova, size| container.unmap(iova, size))),
    )
}

/// Starts (1) or stops (2) the tracking of written pages: VFIO_IOMMU_DIRTY_PAGES.
#[deno_bindgen]
fn giommu_container_track_dirty(container: u32, flags: u32) -> i32 {
    done(handles::container(container).and_then(|container| container.track_dirty(flags)))
}

/// Which pages of a range (address, bytes, page size) were written: a bit for each, in whole words of 64 bits.
#[deno_bindgen]
fn giommu_container_dirty(container: u32, range: &[u8], bitmap: &mut [u8]) -> i32 {
    done(handles::container(container).and_then(|container| {
        container.dirty(record::get(range, 0)?, record::get(range, 1)?, record::get(range, 2)?, bitmap)
    }))
}

/// Opens `/dev/vfio/N`.
#[deno_bindgen]
fn giommu_group_open(path: &[u8]) -> i32 {
    add(Group::open(as_path(path)), Handle::Group)
}

/// Makes VFIO_GROUP_GET_STATUS.
#[deno_bindgen]
fn giommu_group_status(group: u32) -> i32 {
    answer(handles::group(group).and_then(|group| group.status()))
}

/// Makes VFIO_GROUP_SET_CONTAINER.
#[deno_bindgen]
fn giommu_group_set_container(group: u32, container: u32) -> i32 {
    done(handles::group(group).and_then(|group| group.set_container(handles::container(container)?)))
}

/// Makes VFIO_GROUP_UNSET_CONTAINER.
#[deno_bindgen]
fn giommu_group_unset_container(group: u32) -> i32 {
    done(handles::group(group).and_then(|group| group.unset_container()))
}

/// Opens a device of a group by its name: VFIO_GROUP_GET_DEVICE_FD.
#[deno_bindgen]
fn giommu_group_device(group: u32, name: &[u8]) -> i32 {
    add(handles::group(group).and_then(|group| group.device(name)), Handle::Device)
}

/// Opens `/dev/iommu`.
#[deno_bindgen]
fn giommu_iommufd_open(path: &[u8]) -> i32 {
    add(Iommufd::open(as_path(path)), Handle::Iommufd)
}

/// Makes IOMMU_IOAS_ALLOC; returns the kernel's number.
#[deno_bindgen]
fn giommu_ioas_alloc(iommufd: u32) -> i32 {
    answer(handles::iommufd(iommufd).and_then(|iommufd| iommufd.alloc_ioas()))
}

/// Makes IOMMU_DESTROY.
#[deno_bindgen]
fn giommu_iommufd_destroy(iommufd: u32, id: u32) -> i32 {
    done(handles::iommufd(iommufd).and_then(|iommufd| iommufd.destroy(id)))
}

/// Sets IOMMU_OPTION_HUGE_PAGES of an IOAS: 0 or 1.
#[deno_bindgen]
fn giommu_ioas_set_huge_pages(iommufd: u32, ioas: u32, on: u32) -> i32 {
    done(handles::iommufd(iommufd).and_then(|iommufd| iommufd.set_huge_pages(ioas, on != 0)))
}

/// Makes an IOAS the one of the compatibility requests: IOMMU_VFIO_IOAS.
#[deno_bindgen]
fn giommu_ioas_set_compat(iommufd: u32, ioas: u32) -> i32 {
    done(handles::iommufd(iommufd).and_then(|iommufd| iommufd.set_compat(ioas)))
}

/// Makes VFIO_IOMMU_GET_INFO for the compatibility IOAS, as `giommu_container_info`.
#[deno_bindgen]
fn giommu_iommufd_compat_info(iommufd: u32, out: &mut [u8]) -> i32 {
    numbers(handles::iommufd(iommufd).and_then(|iommufd| iommufd.compat_info()), out)
}

/// Makes IOMMU_IOAS_IOVA_RANGES: the alignment, then each range. Returns how many numbers there are.
#[deno_bindgen]
fn giommu_ioas_ranges(iommufd: u32, ioas: u32, out: &mut [u8]) -> i32 {
    numbers(handles::iommufd(iommufd).and_then(|iommufd| iommufd.ranges(ioas)), out)
}

/// Makes IOMMU_IOAS_MAP for each record until one is refused.
#[deno_bindgen]
fn giommu_ioas_map(iommufd: u32, ioas: u32, batch: &mut [u8]) -> i32 {
    done(handles::iommufd(iommufd).and_then(|iommufd| {
        map_each(batch, |iova, size, memory, offset, access| iommufd.map(ioas, iova, size, memory, offset, access))
    }))
}

/// Makes IOMMU_IOAS_UNMAP for each record until one is refused.
#[deno_bindgen]
fn giommu_ioas_unmap(iommufd: u32, ioas: u32, batch: &mut [u8]) -> i32 {
    done(handles::iommufd(iommufd).and_then(|iommufd| unmap_each(batch, |iova, size| iommufd.unmap(ioas, iova, size))))
}

/// Makes VFIO_IOMMU_UNMAP_DMA in the compatibility IOAS for each record until one is refused.
#[deno_bindgen]
fn giommu_iommufd_compat_unmap(iommufd: u32, batch: &mut [u8]) -> i32 {
    done(handles::iommufd(iommufd).and_then(|iommufd| unmap_each(batch, |iova, size| iommufd.compat_unmap(iova, size))))
}

/// Opens `/dev/vfio/devices/vfioN`.
#[deno_bindgen]
fn giommu_device_open(path: &[u8]) -> i32 {
    add(Device::open(as_path(path)), Handle::Device)
}

/// Makes VFIO_DEVICE_BIND_IOMMUFD; returns the kernel's number.
#[deno_bindgen]
fn giommu_device_bind(device: u32, iommufd: u32) -> i32 {
    answer(handles::device(device).and_then(|device| device.bind(handles::iommufd(iommufd)?)))
}

/// Makes VFIO_DEVICE_ATTACH_IOMMUFD_PT.
#[deno_bindgen]
fn giommu_device_attach(device: u32, ioas: u32) -> i32 {
    done(handles::device(device).and_then(|device| device.attach(ioas)))
}

/// Makes VFIO_DEVICE_DETACH_IOMMUFD_PT.
#[deno_bindgen]
fn giommu_device_detach(device: u32) -> i32 {
    done(handles::device(device).and_then(|device| device.detach()))
}

/// Makes VFIO_DEVICE_GET_INFO: flags, regions, kinds of interrupts.
#[deno_bindgen]
fn giommu_device_info(device: u32, out: &mut [u8]) -> i32 {
    numbers(handles::device(device).and_then(|device| device.info()), out)
}

/// Makes VFIO_DEVICE_GET_REGION_INFO: flags, size, place in the device's file.
#[deno_bindgen]
fn giommu_device_region(device: u32, index: u32, out: &mut [u8]) -> i32 {
    numbers(handles::device(device).and_then(|device| device.region(index)), out)
}

/// Reads from a place in the device's file.
#[deno_bindgen]
fn giommu_device_read(device: u32, place: &[u8], out: &mut [u8]) -> i32 {
    done(handles::device(device).and_then(|device| device.read(record::get(place, 0)?, out)))
}

/// Writes to a place in the device's file.
#[deno_bindgen]
fn giommu_device_write(device: u32, place: &[u8], bytes: &[u8]) -> i32 {
    done(handles::device(device).and_then(|device| device.write(record::get(place, 0)?, bytes)))
}

/// Maps a stretch (place, bytes) of the device's file: memory, whose accesses are the device's.
#[deno_bindgen]
fn giommu_device_mmap(device: u32, stretch: &[u8]) -> i32 {
    add(
        handles::device(device)
            .and_then(|device| Memory::of_device(&device, record::get(stretch, 0)?, record::get(stretch, 1)?)),
        Handle::Memory,
    )
}

/// Makes VFIO_DEVICE_RESET.
#[deno_bindgen]
fn giommu_device_reset(device: u32) -> i32 {
    done(handles::device(device).and_then(|device| device.reset()))
}

/// Makes VFIO_DEVICE_GET_IRQ_INFO: flags, count.
#[deno_bindgen]
fn giommu_device_interrupts(device: u32, index: u32, out: &mut [u8]) -> i32 {
    numbers(handles::device(device).and_then(|device| device.interrupts(index)), out)
}

/// Lets an interrupt count up a signal; with the signal 0, all of the kind are off.
#[deno_bindgen]
fn giommu_device_set_interrupt(device: u32, index: u32, number: u32, signal: u32) -> i32 {
    done(handles::device(device).and_then(|device| {
        let signal = if signal == 0 { None } else { Some(handles::signal(signal)?) };
        device.set_interrupt(index, number, signal.as_deref())
    }))
}

/// Makes an eventfd.
#[deno_bindgen]
fn giommu_signal_new() -> i32 {
    add(Signal::new(), Handle::Signal)
}

/// How often a signal was counted up since this was asked last.
#[deno_bindgen]
fn giommu_signal_take(signal: u32, out: &mut [u8]) -> i32 {
    numbers(handles::signal(signal).and_then(|signal| Ok([signal.take()?])), out)
}

/// Makes zeroed memory of so many bytes; flags: 1 transparent huge pages, 2 memfd, 4 pages of 2 MiB, 8 of 1 GiB.
#[deno_bindgen]
fn giommu_memory_new(bytes: &[u8], flags: u32) -> i32 {
    add(record::get(bytes, 0).and_then(|bytes| Memory::anonymous(bytes, flags)), Handle::Memory)
}

/// Reads bytes at an offset.
#[deno_bindgen]
fn giommu_memory_read(memory: u32, offset: &[u8], out: &mut [u8]) -> i32 {
    done(handles::memory(memory).and_then(|memory| memory.read(record::get(offset, 0)?, out)))
}

/// Writes bytes at an offset.
#[deno_bindgen]
fn giommu_memory_write(memory: u32, offset: &[u8], bytes: &[u8]) -> i32 {
    done(handles::memory(memory).and_then(|memory| memory.write(record::get(offset, 0)?, bytes)))
}

/// The last name of what a link below `/sys` leads to. Returns how many bytes it has; those that fit are there.
#[deno_bindgen]
fn giommu_sysfs_link(path: &[u8], out: &mut [u8]) -> i32 {
    bytes(system::link_name(as_path(path)), out)
}

/// The names in a folder below `/sys`, with a zero after each. Returns how many bytes they have; those that fit are there.
#[deno_bindgen]
fn giommu_sysfs_names(path: &[u8], out: &mut [u8]) -> i32 {
    bytes(system::names(as_path(path)), out)
}

/// The kernel's release. Returns how many bytes it has; those that fit are there.
#[deno_bindgen]
fn giommu_kernel_release(out: &mut [u8]) -> i32 {
    bytes(system::kernel_release(), out)
}

fn bytes(outcome: Outcome<Vec<u8>>, out: &mut [u8]) -> i32 {
    answer(outcome.map(|bytes| {
        out.iter_mut().zip(&bytes).for_each(|(to, from)| *to = *from);
        bytes.len()
    }))
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn add<T>(outcome: Outcome<T>, kind: fn(Arc<T>) -> Handle) -> i32 {
    answer(outcome.and_then(|object| handles::add(kind(Arc::new(object)))))
}

fn numbers<T: AsRef<[u64]>>(outcome: Outcome<T>, out: &mut [u8]) -> i32 {
    answer(outcome.map(|numbers| record::fill(out, numbers.as_ref())))
}

fn map_each(batch: &mut [u8], map: impl Fn(u64, u64, Arc<Memory>, u64, u32) -> Outcome<()>) -> Outcome<()> {
    record::for_each(batch, MAP_RECORD, |record| {
        // What does not fit is none of the numbers that are known, and no permission.
        let memory = handles::memory(record::get(record, 2)?.try_into().unwrap_or(0))?;
        let access = record::get(record, 4)?.try_into().unwrap_or(0);
        map(record::get(record, 0)?, record::get(record, 1)?, memory, record::get(record, 3)?, access & 3)
    })
}

fn unmap_each(batch: &mut [u8], unmap: impl Fn(u64, u64) -> Outcome<u64>) -> Outcome<()> {
    record::for_each(batch, UNMAP_RECORD, |record| {
        let bytes = unmap(record::get(record, 0)?, record::get(record, 1)?)?;
        record::set(record, 1, bytes)
    })
}
