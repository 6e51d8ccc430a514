//! An eventfd, which interrupts count up.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::errno::{Errno, Outcome};

#[derive(Debug)]
pub(crate) struct Signal(File);

impl Signal {
    pub(crate) fn new() -> Outcome<Self> {
        // SAFETY: the call takes two numbers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(Errno::newest());
        }
        // SAFETY: the kernel just made it, for us alone.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }.into()))
    }

    /// How often it was counted up since this was asked last; does not wait.
    pub(crate) fn take(&self) -> Outcome<u64> {
        let mut count = [0; 8];
        match (&self.0).read_exact(&mut count).map_err(Errno::from) {
            Ok(()) => Ok(u64::from_ne_bytes(count)),
            Err(Errno(libc::EAGAIN)) => Ok(0),
            Err(errno) => Err(errno),
        }
    }
}

impl AsRawFd for Signal {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_signal_tells_how_often_it_was_raised() {
        let signal = Signal::new().unwrap();
        assert_eq!(signal.take(), Ok(0));
        (&signal.0).write_all(&3_u64.to_ne_bytes()).unwrap();
        assert_eq!([signal.take(), signal.take()], [Ok(3), Ok(0)]);
    }
}
