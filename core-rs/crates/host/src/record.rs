//! Numbers of 64 bits in byte buffers, little endian: how batches and answers cross to TypeScript.

use crate::errno::{Errno, Outcome};

/// Reads the number at a place counted in numbers.
pub(crate) fn get(bytes: &[u8], index: usize) -> Outcome<u64> {
    let word = index.checked_mul(8).and_then(|at| bytes.get(at..)?.first_chunk());
    word.map(|word| u64::from_le_bytes(*word)).ok_or(Errno(libc::EINVAL))
}

/// Writes the number at a place counted in numbers.
pub(crate) fn set(bytes: &mut [u8], index: usize, value: u64) -> Outcome<()> {
    let word = index.checked_mul(8).and_then(|at| bytes.get_mut(at..)?.first_chunk_mut());
    *word.ok_or(Errno(libc::EINVAL))? = value.to_le_bytes();
    Ok(())
}

/// Writes numbers from the beginning; returns how many there are, also those that found no room.
pub(crate) fn fill(bytes: &mut [u8], values: &[u64]) -> usize {
    for (word, value) in bytes.chunks_exact_mut(8).zip(values) {
        word.copy_from_slice(&value.to_le_bytes());
    }
    values.len()
}

/// Does something for each record of a batch until one is refused.
///
/// A batch begins with a number that tells afterwards how many were done; records of `width` numbers follow. `each` may
/// change its record.
pub(crate) fn for_each(batch: &mut [u8], width: usize, mut each: impl FnMut(&mut [u8]) -> Outcome<()>) -> Outcome<()> {
    let (count, records) = batch.split_at_mut_checked(8).ok_or(Errno(libc::EINVAL))?;
    let mut done = 0;
    let outcome = records.chunks_exact_mut(width.saturating_mul(8).max(8)).try_for_each(|record| {
        each(record)?;
        done += 1;
        Ok(())
    });
    set(count, 0, done)?;
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_the_buffer_are_refused() {
        let mut bytes = [0; 20];
        assert_eq!(set(&mut bytes, 1, 7), Ok(()));
        assert_eq!(get(&bytes, 1), Ok(7));
        assert_eq!(get(&bytes, 2), Err(Errno(libc::EINVAL)));
        assert_eq!(get(&bytes, usize::MAX), Err(Errno(libc::EINVAL)));
        assert_eq!(set(&mut bytes, 2, 7), Err(Errno(libc::EINVAL)));
    }

    #[test]
    fn a_batch_stops_at_the_first_refusal_and_tells_where() {
        let mut batch = [0; 8 + 3 * 16];
        for index in [1, 3, 5] {
            set(&mut batch, index, index as u64).unwrap();
        }
        let outcome =
            for_each(
                &mut batch,
                2,
                |record| {
                    if get(record, 0)? == 3 { Err(Errno(libc::EEXIST)) } else { set(record, 1, 9) }
                },
            );
        assert_eq!(outcome, Err(Errno(libc::EEXIST)));
        assert_eq!([0, 2, 4].map(|index| get(&batch, index).unwrap()), [1, 9, 0]);
        assert_eq!(for_each(&mut [0; 4], 2, |_| Ok(())), Err(Errno(libc::EINVAL)));
    }
}
