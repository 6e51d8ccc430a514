//! A device that VFIO gives to this process.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use vfio_bindings::bindings::vfio;

use crate::errno::{Errno, Outcome};
use crate::ioctl;
use crate::iommufd::Iommufd;
use crate::signal::Signal;
use crate::type1::{self, Group};

const GET_INFO: u32 = ioctl::vfio(7);
const GET_REGION_INFO: u32 = ioctl::vfio(8);
const GET_IRQ_INFO: u32 = ioctl::vfio(9);
const SET_IRQS: u32 = ioctl::vfio(10);
const RESET: u32 = ioctl::vfio(11);
const BIND_IOMMUFD: u32 = ioctl::vfio(18);
const ATTACH_IOMMUFD_PT: u32 = ioctl::vfio(19);
const DETACH_IOMMUFD_PT: u32 = ioctl::vfio(20);

/// An open device, by its group or by its own file.
#[derive(Debug)]
pub(crate) struct Device {
    file: File,
    /// Keeps open what its mappings are in.
    behind: Mutex<Behind>,
}

#[derive(Debug)]
enum Behind {
    Nothing,
    Group { _group: Arc<Group> },
    Iommufd { _iommufd: Arc<Iommufd> },
}

impl Device {
    /// Opens `/dev/vfio/devices/vfioN`. It does nothing before it is bound.
    pub(crate) fn open(path: &Path) -> Outcome<Self> {
        Ok(Self { file: type1::open(path)?, behind: Mutex::new(Behind::Nothing) })
    }

    pub(crate) fn of_group(file: OwnedFd, group: Arc<Group>) -> Self {
        Self { file: file.into(), behind: Mutex::new(Behind::Group { _group: group }) }
    }

    /// Binds it to an iommufd for good; returns its number there.
    pub(crate) fn bind(&self, iommufd: Arc<Iommufd>) -> Outcome<u32> {
        let mut request = vfio::vfio_device_bind_iommufd {
            argsz: ioctl::size_of::<vfio::vfio_device_bind_iommufd>(),
            iommufd: iommufd.as_raw_fd(),
            ..Default::default()
        };
        // SAFETY: this is the request's structure; without flags its address is not used.
        unsafe { ioctl::with_struct(&self.file, BIND_IOMMUFD, &mut request) }?;
        *self.behind.lock().unwrap_or_else(PoisonError::into_inner) = Behind::Iommufd { _iommufd: iommufd };
        Ok(request.out_devid)
    }

    /// Lets it reach what an I/O address space maps, and nothing else.
    pub(crate) fn attach(&self, ioas: u32) -> Outcome<()> {
        let mut request = vfio::vfio_device_attach_iommufd_pt {
            argsz: ioctl::size_of::<vfio::vfio_device_attach_iommufd_pt>(),
            pt_id: ioas,
            ..Default::default()
        };
        // SAFETY: this is the request's structure, without addresses.
        unsafe { ioctl::with_struct(&self.file, ATTACH_IOMMUFD_PT, &mut request) }.map(drop)
    }

    /// Lets it reach nothing.
    pub(crate) fn detach(&self) -> Outcome<()> {
        let mut request = vfio::vfio_device_detach_iommufd_pt {
            argsz: ioctl::size_of::<vfio::vfio_device_detach_iommufd_pt>(),
            ..Default::default()
        };
        // SAFETY: this is the request's structure, without addresses.
        unsafe { ioctl::with_struct(&self.file, DETACH_IOMMUFD_PT, &mut request) }.map(drop)
    }

    /// Flags (bit 0: can be reset, bit 1: PCI), number of regions, number of kinds of interrupts.
    pub(crate) fn info(&self) -> Outcome<[u64; 3]> {
        // Without the tail that newer kernels know.
        let mut request = vfio::vfio_device_info { argsz: 16, ..Default::default() };
        // SAFETY: this is the request's structure, without addresses.
        unsafe { ioctl::with_struct(&self.file, GET_INFO, &mut request) }?;
        Ok([request.flags, request.num_regions, request.num_irqs].map(u64::from))
    }

    /// Flags (bit 0: read, bit 1: write, bit 2: mmap), size, and where in the device's file a region is.
    pub(crate) fn region(&self, index: u32) -> Outcome<[u64; 3]> {
        let mut request =
            vfio::vfio_region_info { argsz: ioctl::size_of::<vfio::vfio_region_info>(), index, ..Default::default() };
        // SAFETY: this is the request's structure, and `argsz` says that nothing follows.
        unsafe { ioctl::with_struct(&self.file, GET_REGION_INFO, &mut request) }?;
        Ok([request.flags.into(), request.size, request.offset])
    }

    /// Flags (bit 0: by eventfd), and how many interrupts of a kind there are.
    pub(crate) fn interrupts(&self, index: u32) -> Outcome<[u64; 2]> {
        let mut request =
            vfio::vfio_irq_info { argsz: ioctl::size_of::<vfio::vfio_irq_info>(), index, ..Default::default() };
        // SAFETY: this is the request's structure, without addresses.
        unsafe { ioctl::with_struct(&self.file, GET_IRQ_INFO, &mut request) }?;
        Ok([request.flags, request.count].map(u64::from))
    }

    /// Lets an interrupt count up a signal; without one, all interrupts of the kind are off.
    pub(crate) fn set_interrupt(&self, index: u32, number: u32, signal: Option<&Signal>) -> Outcome<()> {
        #[repr(C)]
        struct Set {
            head: [u32; 5],
            fd: RawFd,
        }
        let trigger = vfio::VFIO_IRQ_SET_ACTION_TRIGGER;
        let mut request = match signal {
            Some(signal) => Set {
                head: [ioctl::size_of::<Set>(), trigger | vfio::VFIO_IRQ_SET_DATA_EVENTFD, index, number, 1],
                fd: signal.as_raw_fd(),
            },
            None => Set { head: [20, trigger | vfio::VFIO_IRQ_SET_DATA_NONE, index, 0, 0], fd: -1 },
        };
        // SAFETY: this is the request's structure, with as much behind it as its flags and count say.
        unsafe { ioctl::with_struct(&self.file, SET_IRQS, &mut request) }.map(drop)
    }

    pub(crate) fn reset(&self) -> Outcome<()> {
        // SAFETY: the request takes no argument.
        unsafe { ioctl::with_number(&self.file, RESET, 0) }.map(drop)
    }

    /// Reads from the device's file; all, or the error of the first part that is not there.
    pub(crate) fn read(&self, offset: u64, bytes: &mut [u8]) -> Outcome<()> {
        match self.file.read_at(bytes, offset)? {
            count if count == bytes.len() => Ok(()),
            _ => Err(Errno(libc::EIO)),
        }
    }

    /// Writes to the device's file.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Outcome<()> {
        match self.file.write_at(bytes, offset)? {
            count if count == bytes.len() => Ok(()),
            _ => Err(Errno(libc::EIO)),
        }
    }
}

impl AsRawFd for Device {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}
