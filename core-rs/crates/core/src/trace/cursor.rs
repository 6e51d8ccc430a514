//! Reads the front of a log, eight bytes at a time, without a look at where it ends.

use super::scan::{decimal_word, hexadecimal_word, is_hexadecimal};

/// How far a line may reach that is read this way.
const REACH: usize = 256;

/// The front of a log: the reach, and what a look at its last byte needs.
pub(super) type Window = [u8; REACH + 32];

/// A place in the front of a log.
///
/// No step checks where that ends: a look from beyond the reach sees its beginning again. Instead [`Cursor::within_reach`]
/// says whether all looks were right ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    window: &'a Window,
    at: usize,
}

/// Bytes that stand in every line of a kind: up to eight for each word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Literal<const WORDS: usize> {
    words: [u64; WORDS],
    masks: [u64; WORDS],
    length: usize,
}

impl Literal<1> {
    pub(super) const fn new(text: &[u8]) -> Self {
        Self { words: [word(text)], masks: [front(text.len())], length: text.len() }
    }
}

impl Literal<2> {
    pub(super) const fn long(text: &[u8]) -> Self {
        let (first, second) = if text.len() <= 8 { (text, [].as_slice()) } else { text.split_at(8) };
        let masks = [front(first.len()), front(second.len())];
        Self { words: [word(first), word(second)], masks, length: text.len() }
    }
}

/// The word that up to eight bytes make.
pub(super) const fn word(mut text: &[u8]) -> u64 {
    let mut word = 0;
    while let [rest @ .., last] = text {
        word = word << 8 | *last as u64;
        text = rest;
    }
    word
}

/// A mask of the first bytes of a word.
pub(super) const fn front(bytes: usize) -> u64 {
    if bytes < 8 { !(u64::MAX << (8 * bytes)) } else { u64::MAX }
}

/// A number that most lines have alike, and how it stands there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeated {
    word: u64,
    /// Its digits, and one byte more where the word has it.
    mask: u64,
    value: u64,
    digits: usize,
}

impl Default for Repeated {
    fn default() -> Self {
        // No digits look like that.
        Self { word: 0, mask: u64::MAX, value: 0, digits: 0 }
    }
}

/// A number of eight digits that most lines have alike, and how it stands there; at first, no digits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Eight {
    word: u64,
    value: u64,
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(super) fn new(window: &'a Window, at: usize) -> Self {
        Self { window, at }
    }

    /// The place, if every look so far was within reach.
    #[inline]
    pub(super) fn within_reach(self) -> Option<usize> {
        (self.at < REACH).then_some(self.at)
    }

    #[inline]
    pub(super) fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// The eight bytes that are `ahead` bytes away, at most 24.
    #[inline]
    pub(super) fn word(self, ahead: usize) -> u64 {
        let from = (self.at & (REACH - 1)) + ahead;
        let bytes = self.window.get(from..from + 8).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    #[inline]
    pub(super) fn byte(self) -> u8 {
        self.window.get(self.at & (REACH - 1)).copied().unwrap_or(0)
    }

    /// Passes over a literal, or says that something else stands here.
    #[inline(always)]
    pub(super) fn eat<const WORDS: usize>(&mut self, literal: Literal<WORDS>) -> Option<()> {
        let mut differ = 0;
        for ((word, mask), ahead) in literal.words.iter().zip(literal.masks).zip([0, 8]) {
            differ |= (self.word(ahead) ^ word) & mask;
        }
        self.at += literal.length;
        (differ == 0).then_some(())
    }

    /// Reads 1 to 16 lower-case hexadecimal digits.
    #[inline]
    pub(super) fn hexadecimal(&mut self) -> Option<u64> {
        let (value, digits) = hexadecimal_word(self.word(0));
        self.at += digits as usize;
        if digits == 8 && is_hexadecimal(self.byte()) {
            return self.more_hexadecimal(value);
        }
        (digits != 0).then_some(value)
    }

    /// Reads digits after eight others.
    #[inline(never)]
    fn more_hexadecimal(&mut self, high: u64) -> Option<u64> {
        let (low, digits) = hexadecimal_word(self.word(0));
        self.at += digits as usize;
        (digits < 8 || !is_hexadecimal(self.byte())).then_some(high << (4 * digits) | low)
    }

    /// The same for a number that was read before: that is remembered.
    #[inline]
    pub(super) fn repeated(&mut self, number: &mut Repeated) -> Option<u64> {
        if (self.word(0) ^ number.word) & number.mask == 0 {
            self.at += number.digits;
            return Some(number.value);
        }
        self.another(number)
    }

    #[cold]
    #[inline(never)]
    fn another(&mut self, number: &mut Repeated) -> Option<u64> {
        let (word, from) = (self.word(0), self.at);
        let value = self.hexadecimal()?;
        let digits = self.at - from;
        if digits <= 8 {
            // What follows eight digits is looked at by whoever reads it.
            let mask = front(digits + 1);
            *number = Repeated { word, mask, value, digits };
        }
        Some(value)
    }

    /// The same for a number of eight digits, as LIOBNs have, or any other.
    #[inline]
    pub(super) fn eight(&mut self, number: &mut Eight) -> Option<u64> {
        if self.word(0) == number.word {
            self.at += 8;
            return Some(number.value);
        }
        self.another_eight(number)
    }

    #[cold]
    #[inline(never)]
    fn another_eight(&mut self, number: &mut Eight) -> Option<u64> {
        let (word, from) = (self.word(0), self.at);
        let value = self.hexadecimal()?;
        if self.at - from == 8 {
            *number = Eight { word, value };
        }
        Some(value)
    }

    /// Reads 1 to 7 decimal digits.
    #[inline]
    pub(super) fn decimal(&mut self) -> Option<u64> {
        let (value, digits) = decimal_word(self.word(0));
        self.at += digits as usize;
        (1..8).contains(&digits).then_some(value)
    }

    /// The same with an optional minus sign.
    #[inline]
    pub(super) fn signed(&mut self) -> Option<i64> {
        let minus = self.byte() == b'-';
        self.at += usize::from(minus);
        let value = self.decimal()?.cast_signed();
        Some(if minus { -value } else { value })
    }

    /// Passes over the end of a line.
    #[inline]
    pub(super) fn line_end(&mut self) -> Option<()> {
        match self.byte() {
            b'\n' => self.at += 1,
            b'\r' => self.eat(const { Literal::new(b"\r\n") })?,
            _ => return None,
        }
        Some(())
    }
}
