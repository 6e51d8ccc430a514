//! VFIO containers with a type 1 IOMMU, and groups of devices.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vfio_bindings::bindings::vfio;

use crate::device::Device;
use crate::errno::{Errno, Outcome};
use crate::held::Held;
use crate::ioctl;
use crate::memory::{Memory, WRITE};
use crate::record;

const CHECK_EXTENSION: u32 = ioctl::vfio(1);
const SET_IOMMU: u32 = ioctl::vfio(2);
const GROUP_GET_STATUS: u32 = ioctl::vfio(3);
const GROUP_SET_CONTAINER: u32 = ioctl::vfio(4);
const GROUP_UNSET_CONTAINER: u32 = ioctl::vfio(5);
const GROUP_GET_DEVICE_FD: u32 = ioctl::vfio(6);
const IOMMU_GET_INFO: u32 = ioctl::vfio(12);
const IOMMU_MAP_DMA: u32 = ioctl::vfio(13);
/// Also what an iommufd takes for its compatibility address space.
pub(crate) const IOMMU_UNMAP_DMA: u32 = ioctl::vfio(14);
const IOMMU_DIRTY_PAGES: u32 = ioctl::vfio(17);

/// Told where a kernel does not tell how many mappings are left.
const UNKNOWN: u64 = u64::MAX;

/// An open `/dev/vfio/vfio`.
#[derive(Debug)]
pub(crate) struct Container {
    file: File,
    held: Mutex<Held>,
}

impl Container {
    pub(crate) fn open(path: &Path) -> Outcome<Self> {
        Ok(Self { file: open(path)?, held: Mutex::default() })
    }

    /// Whether the kernel has a kind of IOMMU; not zero if so.
    pub(crate) fn check_extension(&self, kind: u32) -> Outcome<u32> {
        // SAFETY: the argument is the number of an extension.
        unsafe { ioctl::with_number(&self.file, CHECK_EXTENSION, kind) }
    }

    /// Chooses the kind of IOMMU; at least one group must be in.
    pub(crate) fn set_iommu(&self, kind: u32) -> Outcome<()> {
        // SAFETY: the argument is the number of a kind.
        unsafe { ioctl::with_number(&self.file, SET_IOMMU, kind) }.map(drop)
    }

    /// What the IOMMU can, as [`info`] says.
    pub(crate) fn info(&self) -> Outcome<Vec<u64>> {
        info(&self.file)
    }

    /// Maps `size` bytes of memory; `access` has bit 0 for reading, bit 1 for writing.
    pub(crate) fn map(&self, iova: u64, size: u64, memory: Arc<Memory>, offset: u64, access: u32) -> Outcome<()> {
        let mut held = self.held();
        if access & WRITE == 0 {
            memory.own(offset, size)?;
        }
        let mut request = vfio::vfio_iommu_type1_dma_map {
            argsz: ioctl::size_of::<vfio::vfio_iommu_type1_dma_map>(),
            flags: access,
            vaddr: memory.user_address(offset, size)?,
            iova,
            size,
        };
        // SAFETY: this is the request's structure. The kernel pins the pages at `vaddr`, which are `memory`'s; that is held
        // below until they are unmapped.
        unsafe { ioctl::with_struct(&self.file, IOMMU_MAP_DMA, &mut request) }?;
        held.add(iova, size, memory);
        Ok(())
    }

    /// Unmaps whole mappings; returns how many bytes.
    pub(crate) fn unmap(&self, iova: u64, size: u64) -> Outcome<u64> {
        let mut held = self.held();
        let bytes = unmap_dma(&self.file, iova, size)?;
        held.remove(iova, size);
        Ok(bytes)
    }

    /// Starts (1), stops (2) the tracking of written pages.
    pub(crate) fn track_dirty(&self, flags: u32) -> Outcome<()> {
        let mut request = vfio::vfio_iommu_type1_dirty_bitmap {
            argsz: ioctl::size_of::<vfio::vfio_iommu_type1_dirty_bitmap>(),
            flags,
            ..Default::default()
        };
        if flags & !(vfio::VFIO_IOMMU_DIRTY_PAGES_FLAG_START | vfio::VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP) != 0 {
            return Err(Errno(libc::EINVAL));
        }
        // SAFETY: this is the structure of START and STOP, which have no data behind it.
        unsafe { ioctl::with_struct(&self.file, IOMMU_DIRTY_PAGES, &mut request) }.map(drop)
    }

    /// Which pages of a range were written since this was asked last: a bit for each.
    pub(crate) fn dirty(&self, iova: u64, size: u64, page: u64, bitmap: &mut [u8]) -> Outcome<()> {
        #[repr(C)]
        struct Get {
            head: [u32; 2],
            body: vfio::vfio_iommu_type1_dirty_bitmap_get,
        }
        // The kernel writes whole words of 64 bits.
        let mut words = vec![0_u64; bitmap.len().div_ceil(8)];
        let mut request = Get {
            head: [ioctl::size_of::<Get>(), vfio::VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP],
            body: vfio::vfio_iommu_type1_dirty_bitmap_get {
                iova,
                size,
                bitmap: vfio::vfio_bitmap {
                    pgsize: page,
                    size: (words.len() as u64).saturating_mul(8),
                    data: words.as_mut_ptr(),
                },
            },
        };
        // SAFETY: this is the structure of GET_BITMAP, and `words` has as many bytes as it says.
        unsafe { ioctl::with_struct(&self.file, IOMMU_DIRTY_PAGES, &mut request) }?;
        record::fill(bitmap, &words);
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open `/dev/vfio/N`.
#[derive(Debug)]
pub(crate) struct Group {
    file: File,
    /// The container that it is in: the kernel keeps its mappings as long as a group is in it.
    container: Mutex<Option<Arc<Container>>>,
}

impl Group {
    pub(crate) fn open(path: &Path) -> Outcome<Self> {
        Ok(Self { file: open(path)?, container: Mutex::default() })
    }

    /// Bit 0: viable, every device of the group is bound to VFIO or to nothing; bit 1: in a container.
    pub(crate) fn status(&self) -> Outcome<u32> {
        let mut request =
            vfio::vfio_group_status { argsz: ioctl::size_of::<vfio::vfio_group_status>(), ..Default::default() };
        // SAFETY: this is the request's structure, without addresses.
        unsafe { ioctl::with_struct(&self.file, GROUP_GET_STATUS, &mut request) }?;
        Ok(request.flags)
    }

    pub(crate) fn set_container(&self, container: Arc<Container>) -> Outcome<()> {
        let mut fd = container.file.as_raw_fd();
        // SAFETY: the request takes the address of a file descriptor.
        unsafe { ioctl::with_struct(&self.file, GROUP_SET_CONTAINER, &mut fd) }?;
        *self.container() = Some(container);
        Ok(())
    }

    /// Takes the group out of its container; what is mapped there goes if it was the last. `EBUSY` while a device is open.
    pub(crate) fn unset_container(&self) -> Outcome<()> {
        // SAFETY: the request takes no argument.
        unsafe { ioctl::with_number(&self.file, GROUP_UNSET_CONTAINER, 0) }?;
        *self.container() = None;
        Ok(())
    }

    /// Opens a device of the group by its name, as `0000:00:04.0`.
    pub(crate) fn device(self: &Arc<Self>, name: &[u8]) -> Outcome<Device> {
        let mut word = [0_u8; 64];
        let place = word.get_mut(..name.len()).ok_or(Errno(libc::EINVAL))?;
        place.copy_from_slice(name);
        if name.contains(&0) || name.len() == word.len() {
            return Err(Errno(libc::EINVAL));
        }
        // SAFETY: the request takes the address of a string, which ends with a zero here.
        let fd = unsafe { ioctl::with_struct(&self.file, GROUP_GET_DEVICE_FD, &mut word) }?;
        let fd = RawFd::try_from(fd).map_err(|_| Errno(libc::EBADF))?;
        // SAFETY: the kernel just made it, for us alone.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Device::of_group(file, Arc::clone(self)))
    }

    fn container(&self) -> MutexGuard<'_, Option<Arc<Container>>> {
        self.container.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Container {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Opens a device file to read and write; it is closed in programs that this one starts.
pub(crate) fn open(path: &Path) -> Outcome<File> {
    Ok(File::options().read(true).write(true).open(path)?)
}

/// Makes `VFIO_IOMMU_UNMAP_DMA`, on a container or on an iommufd; returns how many bytes were unmapped.
pub(crate) fn unmap_dma(file: &impl AsRawFd, iova: u64, size: u64) -> Outcome<u64> {
    let mut request = vfio::vfio_iommu_type1_dma_unmap {
        argsz: ioctl::size_of::<vfio::vfio_iommu_type1_dma_unmap>(),
        iova,
        size,
        ..Default::default()
    };
    // SAFETY: this is the request's structure; without flags no bitmap follows.
    unsafe { ioctl::with_struct(file, IOMMU_UNMAP_DMA, &mut request) }?;
    Ok(request.size)
}

/// What an IOMMU can, of a container or of an iommufd's compatibility address space: page sizes, mappings left, page sizes
/// of dirty tracking, the largest bitmap of it, number of ranges, and each range's first and last address.
pub(crate) fn info(file: &impl AsRawFd) -> Outcome<Vec<u64>> {
    const HEAD: u32 = ioctl::size_of::<vfio::vfio_iommu_type1_info>();
    let mut head = vfio::vfio_iommu_type1_info { argsz: HEAD, ..Default::default() };
    // SAFETY: this is the request's structure, and `argsz` says that nothing follows.
    unsafe { ioctl::with_struct(file, IOMMU_GET_INFO, &mut head) }?;
    // The kernel said how much it has to tell. Asked again with as much room; it may have grown, which then lacks.
    let mut words = vec![0_u32; head.argsz.max(HEAD).div_ceil(4) as usize];
    if let Some(first) = words.first_mut() {
        *first = head.argsz.max(HEAD);
    }
    // SAFETY: this is the request's structure, and the words are as many as its `argsz` says.
    unsafe { ioctl::with_words(file, IOMMU_GET_INFO, &mut words) }?;
    Ok(parse_info(&words))
}

fn parse_info(words: &[u32]) -> Vec<u64> {
    let word = |at: usize| words.get(at).copied().unwrap_or(0);
    let long = |at: usize| u64::from(word(at)) | (u64::from(word(at + 1)) << 32);
    let (mut left, mut dirty_pages, mut dirty_size) = (UNKNOWN, 0, 0);
    let mut ranges = Vec::new();
    let has_more = word(1) & vfio::VFIO_IOMMU_INFO_CAPS != 0;
    let mut next = if has_more { word(4) as usize / 4 } else { 0 };
    // Each part names the next, by its distance from the beginning; never more parts than words.
    for _ in 0..words.len() {
        if next == 0 || next >= words.len() {
            break;
        }
        let at = next;
        next = word(at + 1) as usize / 4;
        match word(at) & 0xffff {
            vfio::VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE => {
                for index in 0..(word(at + 2) as usize).min(words.len()) {
                    ranges.extend([long(at + 4 + 4 * index), long(at + 6 + 4 * index)]);
                }
            }
            vfio::VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION => {
                (dirty_pages, dirty_size) = (long(at + 4), long(at + 6));
            }
            vfio::VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL => left = u64::from(word(at + 2)),
            _ => {}
        }
    }
    let mut told = vec![long(2), left, dirty_pages, dirty_size, ranges.len() as u64 / 2];
    told.append(&mut ranges);
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_is_read_part_by_part() {
        let mut words = vec![116, 0b11, 0x4020_1000, 0, 24, 0];
        words.extend([1 | 1 << 16, 72, 2, 0, 0, 0, 0xfedf_ffff, 0, 0xfef0_0000, 0, 0xffff_ffff, 0xffff]);
        words.extend([2 | 1 << 16, 104, 0, 0, 0x1000, 0, 0, 1]);
        words.extend([3 | 1 << 16, 0, 65535]);
        let ranges = [0, 0xfedf_ffff, 0xfef0_0000, 0xffff_ffff_ffff];
        assert_eq!(parse_info(&words), [[0x4020_1000, 65535, 0x1000, 1 << 32, 2].as_slice(), &ranges].concat());
    }

    #[test]
    fn a_chain_that_leads_nowhere_ends() {
        // A part that names itself as the next one.
        assert_eq!(parse_info(&[32, 0b11, 0x1000, 0, 24, 0, 9, 24]), [0x1000, UNKNOWN, 0, 0, 0]);
        assert_eq!(parse_info(&[24, 0b11, 0x1000, 0, 4000, 0]), [0x1000, UNKNOWN, 0, 0, 0]);
        assert_eq!(parse_info(&[]), [0, UNKNOWN, 0, 0, 0]);
    }

    #[test]
    fn something_that_is_no_container_refuses() {
        let container = Container::open(Path::new("/dev/null")).unwrap();
        assert_eq!(container.check_extension(1), Err(Errno(libc::ENOTTY)));
        assert_eq!(container.info(), Err(Errno(libc::ENOTTY)));
        assert_eq!(Container::open(Path::new("/dev/no-such")).unwrap_err(), Errno(libc::ENOENT));
    }
}
