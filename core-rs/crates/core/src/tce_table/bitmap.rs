//! Bits in words.

/// The first set bit of `words` at or after bit `at`.
#[inline]
pub(super) fn next_bit(words: &[u64], at: u32) -> Option<u32> {
    let mut mask = u64::MAX << (at & 63);
    for (word, base) in words.iter().zip((0u32..).step_by(64)).skip((at >> 6) as usize) {
        let word = word & mask;
        if word != 0 {
            return Some(base + word.trailing_zeros());
        }
        mask = u64::MAX;
    }
    None
}

/// Sets or clears bit `at` of a word; higher bits of `at` mean nothing.
#[inline]
pub(super) fn put_bit(word: &mut u64, at: u32, bit: bool) {
    let mask = 1u64 << (at & 63);
    *word = if bit { *word | mask } else { *word & !mask };
}

/// The positions of bits that are set.
#[inline]
pub(super) fn bits(word: u64) -> impl Iterator<Item = u32> {
    let mut rest = word;
    core::iter::from_fn(move || {
        let at = (rest != 0).then(|| rest.trailing_zeros())?;
        rest &= rest - 1;
        Some(at)
    })
}
