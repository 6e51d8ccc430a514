//! Finds what a line begins with where QEMU says when and by which thread it was logged.

use super::cursor::{Window, front};
use super::scan::not_decimal;

/// How long the prefix `PID@SECONDS.MICROSECONDS:` is; 0 if there is none.
pub(super) fn length(text: &[u8]) -> usize {
    let (mut part, mut digits) = (0, 0);
    for (byte, length) in text.iter().zip(1..=31) {
        if byte.is_ascii_digit() {
            digits += 1;
            continue;
        }
        let (least, most, sign) = match part {
            0 => (1, 10, b'@'),
            1 => (1, 12, b'.'),
            _ => (6, 6, b':'),
        };
        if *byte != sign || digits < least || digits > most {
            return 0;
        }
        if sign == b':' {
            return length;
        }
        part += 1;
        digits = 0;
    }
    0
}

/// Ten digits of a thread, twelve of a time and two signs take 24 bytes.
const WORDS: usize = 3;
/// Six digits and a colon.
const MICROSECONDS: usize = 7;

/// The newest prefix, up to its microseconds: nearly every line has the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Familiar {
    words: [u64; WORDS],
    masks: [u64; WORDS],
    length: usize,
}

impl Default for Familiar {
    fn default() -> Self {
        // No line begins like that.
        Self { words: [0; WORDS], masks: [u64::MAX; WORDS], length: 0 }
    }
}

impl Familiar {
    /// How long the prefix at the front is; 0 if there is none.
    #[inline]
    pub(super) fn length(&mut self, window: &Window) -> usize {
        let parts = words(window).into_iter().zip(self.words).zip(self.masks);
        let differ = parts.fold(0, |differ, ((word, familiar), mask)| differ | (word ^ familiar) & mask);
        let rest =
            window.get(self.length..).and_then(|rest| rest.first_chunk()).map_or(0, |rest| u64::from_le_bytes(*rest));
        let colon = rest >> 48 & 0xff == u64::from(b':');
        if differ | not_decimal(rest) & (u64::MAX >> 16) == 0 && colon {
            return self.length + MICROSECONDS;
        }
        self.another(window)
    }

    #[cold]
    #[inline(never)]
    fn another(&mut self, window: &Window) -> usize {
        let length = length(window);
        if let Some(head) = length.checked_sub(MICROSECONDS) {
            self.length = head;
            self.words = words(window);
            for (mask, before) in self.masks.iter_mut().zip([0, 8, 16]) {
                *mask = front(head.saturating_sub(before));
            }
        }
        length
    }
}

/// The first bytes of a line.
#[inline]
fn words(window: &Window) -> [u64; WORDS] {
    let (words, _) = window.as_chunks::<8>();
    let mut first = [0; WORDS];
    for (place, bytes) in first.iter_mut().zip(words) {
        *place = u64::from_le_bytes(*bytes);
    }
    first
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(text: &str) -> Window {
        let mut window = [b'x'; size_of::<Window>()];
        window[..text.len()].copy_from_slice(text.as_bytes());
        window
    }

    fn prefixes() -> impl Strategy<Value = String> {
        prop_oneof![
            6 => ("[12]{1,3}", "[12]{1,2}", "[0-9]{6}").prop_map(|(thread, seconds, micro)| format!("{thread}@{seconds}.{micro}:")),
            1 => ("[0-9]{1,12}", "[0-9]{1,13}", "[0-9]{5,7}").prop_map(|(thread, seconds, micro)| format!("{thread}@{seconds}.{micro}:")),
            1 => "[0-9@.:a\0]{0,31}",
        ]
    }

    proptest! {
        #[test]
        fn what_came_before_does_not_matter(texts in prop::collection::vec(prefixes(), 1..12)) {
            let mut familiar = Familiar::default();
            for text in texts {
                let window = window(&text);
                prop_assert_eq!(familiar.length(&window), length(&window), "{}", text);
            }
        }
    }
}
