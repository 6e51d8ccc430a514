//! The one way into the kernel for requests on device files.

use std::os::fd::AsRawFd;

use vfio_bindings::bindings::vfio::{VFIO_BASE, VFIO_TYPE};

use crate::errno::{Errno, Outcome};

/// The number of a VFIO request: `_IO(VFIO_TYPE, VFIO_BASE + n)`, which says nothing of sizes; the structures begin with theirs.
pub(crate) const fn vfio(number: u32) -> u32 {
    ((VFIO_TYPE as u32) << 8) | (VFIO_BASE + number)
}

/// The number of an iommufd request, made in the same way.
pub(crate) const fn iommufd(number: u32) -> u32 {
    ((iommufd_bindings::IOMMUFD_TYPE as u32) << 8) | number
}

/// Makes a request whose argument is a structure, which the kernel may change.
///
/// # Safety
///
/// `T` must be the structure that the kernel reads and writes for `request`, and any address and length in it must be good
/// for what the kernel does with them.
pub(crate) unsafe fn with_struct<T>(file: &impl AsRawFd, request: u32, argument: &mut T) -> Outcome<u32> {
    // SAFETY: the pointer is good for reads and writes of a `T` during the call; the caller vouches for the rest.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request.into(), std::ptr::from_mut(argument)) };
    u32::try_from(result).map_err(|_| Errno::newest())
}

/// Makes a request whose argument is a structure with something behind it.
///
/// # Safety
///
/// The kernel must take the argument of `request` for a structure that says in its first field how long it is, and the field
/// must not say more than there is.
pub(crate) unsafe fn with_words(file: &impl AsRawFd, request: u32, words: &mut [u32]) -> Outcome<u32> {
    // SAFETY: the pointer is good for reads and writes of all words during the call; the caller vouches for the rest.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request.into(), words.as_mut_ptr()) };
    u32::try_from(result).map_err(|_| Errno::newest())
}

/// Makes a request whose argument is a number.
///
/// # Safety
///
/// The kernel must not take the argument of `request` for an address.
pub(crate) unsafe fn with_number(file: &impl AsRawFd, request: u32, argument: u32) -> Outcome<u32> {
    // SAFETY: the kernel takes the argument as it is, as the caller vouches.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request.into(), libc::c_ulong::from(argument)) };
    u32::try_from(result).map_err(|_| Errno::newest())
}

/// The size of a structure, for its first field.
pub(crate) const fn size_of<T>() -> u32 {
    const { assert!(std::mem::size_of::<T>() < 1 << 16) };
    #[expect(clippy::cast_possible_truncation, reason = "checked above, when compiled")]
    let size = std::mem::size_of::<T>() as u32;
    size
}
