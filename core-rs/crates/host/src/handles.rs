//! The objects that TypeScript knows by number.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::device::Device;
use crate::errno::{Errno, Outcome};
use crate::iommufd::Iommufd;
use crate::memory::Memory;
use crate::signal::Signal;
use crate::type1::{Container, Group};

/// One of them.
#[derive(Clone, Debug)]
pub(crate) enum Handle {
    Container(Arc<Container>),
    Group(Arc<Group>),
    Iommufd(Arc<Iommufd>),
    Device(Arc<Device>),
    Memory(Arc<Memory>),
    Signal(Arc<Signal>),
}

#[derive(Debug)]
struct Table {
    newest: u32,
    open: BTreeMap<u32, Handle>,
}

/// All of the process: workers share them. A number is never given to something else.
static TABLE: Mutex<Table> = Mutex::new(Table { newest: 0, open: BTreeMap::new() });

/// Takes an object in; returns its number.
pub(crate) fn add(handle: Handle) -> Outcome<u32> {
    let mut table = table();
    // Numbers go to TypeScript as an i32.
    if table.newest >= i32::MAX.unsigned_abs() {
        return Err(Errno(libc::EMFILE));
    }
    table.newest += 1;
    let number = table.newest;
    table.open.insert(number, handle);
    Ok(number)
}

/// Lets go of an object. What others still use (memory that is mapped, a container with groups) goes with the last of them.
pub(crate) fn close(number: u32) -> Outcome<()> {
    // Dropped after the lock: closing a file can take a while.
    let closed = table().open.remove(&number);
    closed.map(drop).ok_or(Errno(libc::EBADF))
}

pub(crate) fn container(number: u32) -> Outcome<Arc<Container>> {
    match find(number)? {
        Handle::Container(container) => Ok(container),
        _ => Err(Errno(libc::EBADF)),
    }
}

pub(crate) fn group(number: u32) -> Outcome<Arc<Group>> {
    match find(number)? {
        Handle::Group(group) => Ok(group),
        _ => Err(Errno(libc::EBADF)),
    }
}

pub(crate) fn iommufd(number: u32) -> Outcome<Arc<Iommufd>> {
    match find(number)? {
        Handle::Iommufd(iommufd) => Ok(iommufd),
        _ => Err(Errno(libc::EBADF)),
    }
}

pub(crate) fn device(number: u32) -> Outcome<Arc<Device>> {
    match find(number)? {
        Handle::Device(device) => Ok(device),
        _ => Err(Errno(libc::EBADF)),
    }
}

pub(crate) fn memory(number: u32) -> Outcome<Arc<Memory>> {
    match find(number)? {
        Handle::Memory(memory) => Ok(memory),
        _ => Err(Errno(libc::EBADF)),
    }
}

pub(crate) fn signal(number: u32) -> Outcome<Arc<Signal>> {
    match find(number)? {
        Handle::Signal(signal) => Ok(signal),
        _ => Err(Errno(libc::EBADF)),
    }
}

fn find(number: u32) -> Outcome<Handle> {
    table().open.get(&number).cloned().ok_or(Errno(libc::EBADF))
}

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_good_for_its_own_kind_until_it_is_closed() {
        let number = add(Handle::Signal(Arc::new(Signal::new().unwrap()))).unwrap();
        assert!(signal(number).is_ok());
        assert_eq!(memory(number).unwrap_err(), Errno(libc::EBADF));
        assert_eq!(close(number), Ok(()));
        assert_eq!(close(number), Err(Errno(libc::EBADF)));
        assert_eq!(signal(number).unwrap_err(), Errno(libc::EBADF));
        assert!(add(Handle::Signal(Arc::new(Signal::new().unwrap()))).unwrap() > number);
    }
}
