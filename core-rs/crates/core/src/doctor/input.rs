//! The bytes of one of the logs that a doctor reads.

/// Bytes of a log that stand ready.
#[derive(Debug)]
pub struct Input<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// How far they are read.
    pub at: &'a mut usize,
    /// Whether none follow.
    pub last: bool,
}

/// Why [`Doctor::run`](super::Doctor::run) returned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Need {
    /// More bytes of QEMU's log.
    Log,
    /// More bytes of the kernel's log.
    Kernel,
    /// More bytes of QEMU's standard error.
    Stderr,
    /// Nothing: all is read, or as much as was wanted.
    Nothing,
}
