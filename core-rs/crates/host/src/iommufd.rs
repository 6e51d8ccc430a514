//! An open `/dev/iommu`, and its I/O address spaces (IOAS).

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use iommufd_bindings as uapi;

use crate::errno::{Errno, Outcome};
use crate::held::Held;
use crate::ioctl;
use crate::memory::{Memory, READ, WRITE};
use crate::type1;

const DESTROY: u32 = ioctl::iommufd(uapi::IOMMUFD_CMD_DESTROY);
const IOAS_ALLOC: u32 = ioctl::iommufd(uapi::IOMMUFD_CMD_IOAS_ALLOC);
const IOAS_IOVA_RANGES: u32 = ioctl::iommufd(uapi::IOMMUFD_CMD_IOAS_IOVA_RANGES);
const IOAS_MAP: u32 = ioctl::iommufd(uapi::IOMMUFD_CMD_IOAS_MAP);
const IOAS_UNMAP: u32 = ioctl::iommufd(uapi::IOMMUFD_CMD_IOAS_UNMAP);
const OPTION: u32 = ioctl::iommufd(uapi::IOMMUFD_CMD_OPTION);
const VFIO_IOAS: u32 = ioctl::iommufd(uapi::IOMMUFD_CMD_VFIO_IOAS);

#[derive(Debug)]
pub(crate) struct Iommufd {
    file: File,
    /// Per IOAS.
    held: Mutex<BTreeMap<u32, Held>>,
    /// The IOAS that the compatibility requests are about.
    compat: Mutex<u32>,
}

impl Iommufd {
    pub(crate) fn open(path: &Path) -> Outcome<Self> {
        Ok(Self { file: type1::open(path)?, held: Mutex::default(), compat: Mutex::default() })
    }

    /// Makes an I/O address space; returns its number.
    pub(crate) fn alloc_ioas(&self) -> Outcome<u32> {
        let mut request =
            uapi::iommu_ioas_alloc { size: ioctl::size_of::<uapi::iommu_ioas_alloc>(), ..Default::default() };
        // SAFETY: this is the request's structure, without addresses.
        unsafe { ioctl::with_struct(&self.file, IOAS_ALLOC, &mut request) }?;
        Ok(request.out_ioas_id)
    }

    /// Takes an object away, an IOAS with all its mappings. `EBUSY` while something uses it.
    pub(crate) fn destroy(&self, id: u32) -> Outcome<()> {
        let mut held = self.held();
        let mut request = uapi::iommu_destroy { size: ioctl::size_of::<uapi::iommu_destroy>(), id };
        // SAFETY: this is the request's structure, without addresses.
        unsafe { ioctl::with_struct(&self.file, DESTROY, &mut request) }?;
        held.remove(&id);
        Ok(())
    }

    /// Whether mappings of an IOAS may consist of huge pages; only while nothing is mapped.
    pub(crate) fn set_huge_pages(&self, ioas: u32, on: bool) -> Outcome<()> {
        let mut request = uapi::iommu_option {
            size: ioctl::size_of::<uapi::iommu_option>(),
            option_id: uapi::iommufd_option_IOMMU_OPTION_HUGE_PAGES,
            object_id: ioas,
            val64: on.into(),
            ..Default::default() // op 0: SET
        };
        // SAFETY: this is the request's structure, without addresses.
        unsafe { ioctl::with_struct(&self.file, OPTION, &mut request) }.map(drop)
    }

    /// Makes an IOAS the one that the compatibility requests are about.
    pub(crate) fn set_compat(&self, ioas: u32) -> Outcome<()> {
        let mut compat = self.compat.lock().unwrap_or_else(PoisonError::into_inner);
        let mut request = uapi::iommu_vfio_ioas {
            size: ioctl::size_of::<uapi::iommu_vfio_ioas>(),
            ioas_id: ioas,
            op: 1, // IOMMU_VFIO_IOAS_SET, whose constant is wider than its field
            ..Default::default()
        };
        // SAFETY: this is the request's structure, without addresses.
        unsafe { ioctl::with_struct(&self.file, VFIO_IOAS, &mut request) }?;
        *compat = ioas;
        Ok(())
    }

    /// What the compatibility IOAS can, as [`type1::info`] says.
    pub(crate) fn compat_info(&self) -> Outcome<Vec<u64>> {
        type1::info(&self.file)
    }

    /// The smallest alignment, then the first and last address of each range in which an IOAS can map.
    pub(crate) fn ranges(&self, ioas: u32) -> Outcome<Vec<u64>> {
        let mut room = vec![uapi::iommu_iova_range::default(); 32];
        // A device may be attached in between, which changes how many there are.
        for _ in 0..4 {
            let mut request = uapi::iommu_ioas_iova_ranges {
                size: ioctl::size_of::<uapi::iommu_ioas_iova_ranges>(),
                ioas_id: ioas,
                num_iovas: room.len().try_into().map_err(|_| Errno(libc::EMSGSIZE))?,
                allowed_iovas: room.as_mut_ptr().expose_provenance() as u64,
                ..Default::default()
            };
            // SAFETY: this is the request's structure, and there is room for as many ranges as it says.
            let outcome = unsafe { ioctl::with_struct(&self.file, IOAS_IOVA_RANGES, &mut request) };
            let count = request.num_iovas as usize;
            if outcome == Err(Errno(libc::EMSGSIZE)) && count > room.len() {
                room.resize(count, uapi::iommu_iova_range::default());
                continue;
            }
            outcome?;
            let ranges = room.iter().take(count).flat_map(|range| [range.start, range.last]);
            return Ok(std::iter::once(request.out_iova_alignment).chain(ranges).collect());
        }
        Err(Errno(libc::EAGAIN))
    }

    /// Maps `size` bytes of memory in an IOAS; `access` has bit 0 for reading, bit 1 for writing.
    pub(crate) fn map(
        &self,
        ioas: u32,
        iova: u64,
        size: u64,
        memory: Arc<Memory>,
        offset: u64,
        access: u32,
    ) -> Outcome<()> {
        let mut held = self.held();
        if access & WRITE == 0 {
            memory.own(offset, size)?;
        }
        let permissions = [
            (READ, uapi::iommufd_ioas_map_flags_IOMMU_IOAS_MAP_READABLE),
            (WRITE, uapi::iommufd_ioas_map_flags_IOMMU_IOAS_MAP_WRITEABLE),
        ];
        let flags = permissions.into_iter().filter(|(bit, _)| access & bit != 0).map(|(_, flag)| flag).sum::<u32>();
        let mut request = uapi::iommu_ioas_map {
            size: ioctl::size_of::<uapi::iommu_ioas_map>(),
            flags: flags | uapi::iommufd_ioas_map_flags_IOMMU_IOAS_MAP_FIXED_IOVA,
            ioas_id: ioas,
            user_va: memory.user_address(offset, size)?,
            length: size,
            iova,
            ..Default::default()
        };
        // SAFETY: this is the request's structure. The kernel pins the pages at `user_va`, which are `memory`'s; that is held
        // below until they are unmapped.
        unsafe { ioctl::with_struct(&self.file, IOAS_MAP, &mut request) }?;
        held.entry(ioas).or_default().add(iova, size, memory);
        Ok(())
    }

    /// Unmaps whole mappings of an IOAS; returns how many bytes.
    pub(crate) fn unmap(&self, ioas: u32, iova: u64, size: u64) -> Outcome<u64> {
        let mut held = self.held();
        let mut request = uapi::iommu_ioas_unmap {
            size: ioctl::size_of::<uapi::iommu_ioas_unmap>(),
            ioas_id: ioas,
            iova,
            length: size,
        };
        // SAFETY: this is the request's structure, without addresses.
        unsafe { ioctl::with_struct(&self.file, IOAS_UNMAP, &mut request) }?;
        if let Some(held) = held.get_mut(&ioas) {
            held.remove(iova, size);
        }
        Ok(request.length)
    }

    /// Unmaps in the compatibility IOAS, parts of mappings too if it has no huge pages; returns how many bytes.
    pub(crate) fn compat_unmap(&self, iova: u64, size: u64) -> Outcome<u64> {
        let compat = self.compat.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = self.held();
        let bytes = type1::unmap_dma(&self.file, iova, size)?;
        if let Some(held) = held.get_mut(&compat) {
            held.remove(iova, size);
        }
        Ok(bytes)
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<u32, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRawFd for Iommufd {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}
