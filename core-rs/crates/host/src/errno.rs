//! What the system answers when it refuses.

use std::io;

/// A Linux error number, greater than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

/// A result that the system may refuse.
pub(crate) type Outcome<T> = Result<T, Errno>;

impl Errno {
    /// The error of the newest system call of this thread.
    pub(crate) fn newest() -> Self {
        Self::from(io::Error::last_os_error())
    }
}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// The number that goes to TypeScript: what was asked for, or the error with a minus.
pub(crate) fn answer<T: TryInto<i32>>(outcome: Outcome<T>) -> i32 {
    match outcome {
        Ok(value) => value.try_into().unwrap_or(-libc::EOVERFLOW),
        Err(Errno(number)) => -number,
    }
}

/// As [`answer`], where there is nothing to tell.
pub(crate) fn done(outcome: Outcome<()>) -> i32 {
    answer(outcome.map(|()| 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_negative_number() {
        assert_eq!(answer::<i32>(Err(Errno(libc::EEXIST))), -17);
        assert_eq!(answer(Ok(7)), 7);
        assert_eq!(answer(Ok(u64::MAX)), -libc::EOVERFLOW);
        assert_eq!(done(Ok(())), 0);
    }
}
