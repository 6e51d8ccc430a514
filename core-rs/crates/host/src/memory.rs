//! Memory of this process that devices can reach, and registers of devices that this process can reach.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::device::Device;
use crate::errno::{Errno, Outcome};

/// What a device may do with mapped memory: bits, the same as VFIO's.
pub(crate) const READ: u32 = 1;
/// The other one.
pub(crate) const WRITE: u32 = 2;

/// Huge pages where the kernel finds some (`madvise`).
pub(crate) const TRANSPARENT: u32 = 1;
/// A file in memory (`memfd_create`), so that other processes can be given it.
pub(crate) const MEMFD: u32 = 2;
/// From the kernel's pool of pages of 2 MiB; all or `ENOMEM`.
pub(crate) const HUGE_2M: u32 = 4;
/// From the kernel's pool of pages of 1 GiB.
pub(crate) const HUGE_1G: u32 = 8;

/// The smallest page of every system that VFIO runs on.
const SMALL_PAGE: usize = 4096;

/// A mapping in this process's address space, gone when the last who holds it lets go.
///
/// Others (devices, and workers with the same number) change the bytes at any time: they are read and written by volatile
/// accesses only, and no reference to them is ever made.
#[derive(Debug)]
pub(crate) struct Memory {
    address: NonNull<u8>,
    size: usize,
    /// Keeps the file behind it open.
    behind: Behind,
}

#[derive(Debug)]
enum Behind {
    Nothing,
    File { _file: OwnedFd },
    Device { _device: Arc<Device> },
}

// SAFETY: the address stays mapped as long as the value lives, whichever thread looks; accesses are volatile.
unsafe impl Send for Memory {}
// SAFETY: as for `Send`; nothing in it changes after it was made.
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeroed memory of whole pages; `flags` says of which kind.
    pub(crate) fn anonymous(size: u64, flags: u32) -> Outcome<Self> {
        let length = usize::try_from(size).map_err(|_| Errno(libc::ENOMEM))?;
        let huge = match flags & (HUGE_2M | HUGE_1G) {
            0 => 0,
            HUGE_2M => 21,
            HUGE_1G => 30,
            _ => return Err(Errno(libc::EINVAL)),
        };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let memory = if flags & MEMFD == 0 {
            // Huge pages are reserved now: a pool that is empty later would be a SIGBUS.
            let pool = if huge == 0 { libc::MAP_NORESERVE } else { libc::MAP_HUGETLB | (huge << libc::MAP_HUGE_SHIFT) };
            let how = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | pool;
            Self::map(length, protection, how, -1, 0, Behind::Nothing)?
        } else {
            let file = memfd(huge.unsigned_abs())?;
            File::from(file.try_clone()?).set_len(size)?;
            let fd = file.as_raw_fd();
            Self::map(length, protection, libc::MAP_SHARED, fd, 0, Behind::File { _file: file })?
        };
        // SAFETY: the range was just mapped and is ours. No child needs it, and so none can make the kernel copy its pages
        // away from under a device.
        unsafe { libc::madvise(memory.address.as_ptr().cast(), memory.size, libc::MADV_DONTFORK) };
        if flags & TRANSPARENT != 0 {
            // SAFETY: the range was just mapped and is ours. Advice: where the kernel has none, pages stay small.
            unsafe { libc::madvise(memory.address.as_ptr().cast(), memory.size, libc::MADV_HUGEPAGE) };
        }
        Ok(memory)
    }

    /// Registers of a device: a stretch of its file.
    pub(crate) fn of_device(device: &Arc<Device>, offset: u64, size: u64) -> Outcome<Self> {
        let length = usize::try_from(size).map_err(|_| Errno(libc::EINVAL))?;
        let offset = libc::off_t::try_from(offset).map_err(|_| Errno(libc::EINVAL))?;
        let fd = device.as_raw_fd();
        let behind = Behind::Device { _device: Arc::clone(device) };
        Self::map(length, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd, offset, behind)
    }

    fn map(size: usize, prot: i32, flags: i32, fd: i32, offset: libc::off_t, behind: Behind) -> Outcome<Self> {
        // SAFETY: the kernel chooses a free place, so that no memory of anybody else is touched.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), size, prot, flags, fd, offset) };
        if address == libc::MAP_FAILED {
            return Err(Errno::newest());
        }
        let address = NonNull::new(address.cast()).ok_or(Errno(libc::ENOMEM))?;
        Ok(Self { address, size, behind })
    }

    /// The address of `size` bytes at `offset`, as the kernel takes it.
    pub(crate) fn user_address(&self, offset: u64, size: u64) -> Outcome<u64> {
        let start = self.place(offset, size)?;
        u64::try_from(start.addr()).map_err(|_| Errno(libc::EFAULT))
    }

    /// Makes pages that a device will only read this process's own, before they are pinned.
    ///
    /// Kernels before 6.2 pin for reading whatever is there, which is the page of zeros that all processes share where nothing
    /// was written yet: the first write would go to another page, and the device go on reading zeros.
    pub(crate) fn own(&self, offset: u64, size: u64) -> Outcome<()> {
        if matches!(self.behind, Behind::Device { .. }) || size == 0 {
            return Ok(());
        }
        let start = self.place(offset, size)?;
        let length = usize::try_from(size).map_err(|_| Errno(libc::EFAULT))?;
        // SAFETY: `place` found the range inside the mapping, which stays; nothing in it is changed.
        if unsafe { libc::madvise(start.cast(), length, libc::MADV_POPULATE_WRITE) } == 0 {
            return Ok(());
        }
        // Before 5.14 the kernel does not do it.
        for at in (0..length).step_by(SMALL_PAGE).chain([length - 1]) {
            // SAFETY: the byte is inside the mapping. Others change it at any time, devices too: hence an atomic access, which
            // writes what is there.
            let byte = unsafe { AtomicU8::from_ptr(start.wrapping_add(at)) };
            byte.fetch_or(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Reads bytes.
    pub(crate) fn read(&self, offset: u64, bytes: &mut [u8]) -> Outcome<()> {
        let mut at = self.place(offset, size(bytes))?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let width = access_width(at.addr(), rest.len());
            let (now, later) = rest.split_at_mut_checked(width).ok_or(Errno(libc::EFAULT))?;
            // SAFETY: `place` found the bytes inside the mapping, and they are aligned to `width`.
            unsafe { read_volatile(at, now) };
            at = at.wrapping_add(width);
            rest = later;
        }
        Ok(())
    }

    /// Writes bytes.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Outcome<()> {
        let mut at = self.place(offset, size(bytes))?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let width = access_width(at.addr(), rest.len());
            let (now, later) = rest.split_at_checked(width).ok_or(Errno(libc::EFAULT))?;
            // SAFETY: `place` found the bytes inside the mapping, which can be written, and they are aligned to `width`.
            unsafe { write_volatile(at, now) };
            at = at.wrapping_add(width);
            rest = later;
        }
        Ok(())
    }

    fn place(&self, offset: u64, size: u64) -> Outcome<*mut u8> {
        let inside = offset.checked_add(size).is_some_and(|end| usize::try_from(end).is_ok_and(|end| end <= self.size));
        match usize::try_from(offset) {
            Ok(offset) if inside => Ok(self.address.as_ptr().wrapping_add(offset)),
            _ => Err(Errno(libc::EFAULT)),
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this size, and nobody else has the address.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.size) };
    }
}

fn memfd(huge: u32) -> Outcome<OwnedFd> {
    let pool = if huge == 0 { 0 } else { libc::MFD_HUGETLB | (huge << libc::MFD_HUGE_SHIFT) };
    // SAFETY: the name is a string that ends with a zero.
    let fd = unsafe { libc::memfd_create(c"guest-memory".as_ptr(), libc::MFD_CLOEXEC | pool) };
    if fd < 0 {
        return Err(Errno::newest());
    }
    // SAFETY: the kernel just made it, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn size(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

/// The widest access that is aligned and not too long. A register is read and written in one piece, as its width demands.
fn access_width(address: usize, rest: usize) -> usize {
    [8, 4, 2].into_iter().find(|width| address.is_multiple_of(*width) && rest >= *width).unwrap_or(1)
}

/// # Safety
///
/// As many bytes as `to` has must be readable at `from`, which is aligned to that many: 1, 2, 4 or 8.
unsafe fn read_volatile(from: *const u8, to: &mut [u8]) {
    match to.len() {
        // SAFETY: as the caller vouches.
        8 => to.copy_from_slice(&unsafe { from.cast::<u64>().read_volatile() }.to_ne_bytes()),
        // SAFETY: as above.
        4 => to.copy_from_slice(&unsafe { from.cast::<u32>().read_volatile() }.to_ne_bytes()),
        // SAFETY: as above.
        2 => to.copy_from_slice(&unsafe { from.cast::<u16>().read_volatile() }.to_ne_bytes()),
        // SAFETY: as above.
        _ => to.fill(unsafe { from.read_volatile() }),
    }
}

/// # Safety
///
/// As many bytes as `from` has must be writable at `to`, which is aligned to that many: 1, 2, 4 or 8.
unsafe fn write_volatile(to: *mut u8, from: &[u8]) {
    if let Some(word) = from.first_chunk::<8>() {
        // SAFETY: as the caller vouches.
        unsafe { to.cast::<u64>().write_volatile(u64::from_ne_bytes(*word)) };
    } else if let Some(word) = from.first_chunk::<4>() {
        // SAFETY: as above.
        unsafe { to.cast::<u32>().write_volatile(u32::from_ne_bytes(*word)) };
    } else if let Some(word) = from.first_chunk::<2>() {
        // SAFETY: as above.
        unsafe { to.cast::<u16>().write_volatile(u16::from_ne_bytes(*word)) };
    } else if let Some(byte) = from.first() {
        // SAFETY: as above.
        unsafe { to.write_volatile(*byte) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_every_offset() {
        for flags in [0, TRANSPARENT, MEMFD] {
            let memory = Memory::anonymous(0x2000, flags).unwrap();
            for offset in [0u64, 1, 7, 0xffe, 0x1fe0] {
                let bytes: Vec<u8> = (1..=32).collect();
                memory.write(offset, &bytes).unwrap();
                let mut back = [0; 32];
                memory.read(offset, &mut back).unwrap();
                assert_eq!(back[..], bytes[..]);
            }
        }
    }

    #[test]
    fn to_own_pages_changes_nothing_in_them() {
        let memory = Memory::anonymous(0x3000, 0).unwrap();
        memory.write(0x1ff8, &[1, 2, 3]).unwrap();
        // The second is what kernels refuse that are asked for whole pages: it is done by hand.
        for (offset, size) in [(0, 0x3000), (0x801, 0x1fff), (0, 0)] {
            memory.own(offset, size).unwrap();
        }
        let mut back = [0; 3];
        memory.read(0x1ff8, &mut back).unwrap();
        assert_eq!(back, [1, 2, 3]);
        assert_eq!(memory.own(0x2000, 0x1001), Err(Errno(libc::EFAULT)));
    }

    #[test]
    fn what_is_not_inside_is_efault() {
        let memory = Memory::anonymous(0x1000, 0).unwrap();
        let fault = Err(Errno(libc::EFAULT));
        assert_eq!(memory.read(0xfff, &mut [0; 2]), fault);
        assert_eq!(memory.write(u64::MAX, &[0]), fault);
        assert_eq!(memory.write(0x1001, &[]), fault);
        assert_eq!(memory.user_address(1, 0x1000).map(|_| ()), fault);
        assert!(memory.user_address(0, 0x1000).is_ok());
    }

    #[test]
    fn memory_that_cannot_be_is_refused() {
        assert_eq!(Memory::anonymous(0, 0).unwrap_err(), Errno(libc::EINVAL));
        assert_eq!(Memory::anonymous(u64::MAX, 0).unwrap_err(), Errno(libc::ENOMEM));
        assert_eq!(Memory::anonymous(0x1000, HUGE_2M | HUGE_1G).unwrap_err(), Errno(libc::EINVAL));
    }

    #[test]
    fn accesses_are_as_wide_as_they_can_be() {
        let widths = [(0, 9), (8, 7), (4, 8), (2, 4), (1, 8), (0, 1)].map(|(at, rest)| access_width(at, rest));
        assert_eq!(widths, [8, 4, 4, 2, 1, 1]);
    }
}
