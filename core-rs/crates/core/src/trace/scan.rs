//! Digits and line ends, eight bytes at a time.

const HIGH: u64 = 0x8080_8080_8080_8080;
const LOW: u64 = 0x0101_0101_0101_0101;

/// Bit 7 of each byte that is not a decimal digit.
#[inline]
pub(super) fn not_decimal(word: u64) -> u64 {
    let seven = word & !HIGH;
    // '0'..='9' become 0..=9; adding 0x76 carries anything above into bit 7.
    (((seven ^ (LOW * 0x30)) + LOW * 0x76) | word) & HIGH
}

/// Bit 7 of each byte that is not a lower-case hexadecimal digit.
#[inline]
fn not_hexadecimal(word: u64) -> u64 {
    let seven = word & !HIGH;
    let letter = seven ^ (LOW * 0x60);
    // 'a'..='f' become 1..=6.
    let is_letter = (letter + LOW * 0x7f) & !(letter + LOW * 0x79);
    (not_decimal(word) & !is_letter | word) & HIGH
}

/// How many bytes at the front of a word are not marked; 8 if none is.
#[inline]
fn unmarked(marks: u64) -> u32 {
    marks.trailing_zeros() / 8
}

/// The value of the hexadecimal digits at the front of a word, and how many there are.
#[inline]
pub(super) fn hexadecimal_word(word: u64) -> (u64, u32) {
    let digits = unmarked(not_hexadecimal(word));
    let Some(word) = word.checked_shl(64 - 8 * digits) else { return (0, 0) };
    let nibbles = (word & (LOW * 0x0f)) + 9 * ((word >> 6) & LOW);
    let pairs = (nibbles << 4 | nibbles >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs << 8 | pairs >> 16) & 0x0000_ffff_0000_ffff;
    ((fours << 16 | fours >> 32) & 0xffff_ffff, digits)
}

/// The value of the decimal digits at the front of a word, and how many there are.
#[inline]
pub(super) fn decimal_word(word: u64) -> (u64, u32) {
    let digits = unmarked(not_decimal(word));
    let Some(word) = word.checked_shl(64 - 8 * digits) else { return (0, 0) };
    let nibbles = word & (LOW * 0x0f);
    let pairs = nibbles.wrapping_mul(10).wrapping_add(nibbles >> 8);
    let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let high = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    (low.wrapping_add(high) >> 32, digits)
}

/// The first eight bytes; bytes beyond the end are 0, which is no digit.
#[inline]
fn word(text: &[u8]) -> u64 {
    if let Some(bytes) = text.first_chunk() {
        return u64::from_le_bytes(*bytes);
    }
    text.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[inline]
pub(super) fn is_hexadecimal(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Reads 1 to 16 lower-case hexadecimal digits; what follows them is returned too.
#[inline]
pub(super) fn hexadecimal(text: &[u8]) -> Option<(u64, &[u8])> {
    let (value, digits) = hexadecimal_word(word(text));
    let rest = text.get(digits as usize..)?;
    // LIOBNs have eight digits and nothing after them.
    if digits < 8 || !rest.first().is_some_and(|byte| is_hexadecimal(*byte)) {
        return (digits != 0).then_some((value, rest));
    }
    let (low, digits) = hexadecimal_word(word(rest));
    let rest = rest.get(digits as usize..)?;
    if digits == 8 && rest.first().is_some_and(|byte| is_hexadecimal(*byte)) {
        return None;
    }
    Some((value << (4 * digits) | low, rest))
}

/// Reads decimal digits that make a 64-bit number; what follows them is returned too.
#[inline]
pub(super) fn decimal(text: &[u8]) -> Option<(u64, &[u8])> {
    let (mut value, mut digits) = decimal_word(word(text));
    let mut rest = text.get(digits as usize..)?;
    if digits == 0 {
        return None;
    }
    while digits == 8 {
        let part;
        (part, digits) = decimal_word(word(rest));
        value = value.checked_mul(10u64.checked_pow(digits)?)?.checked_add(part)?;
        rest = rest.get(digits as usize..)?;
    }
    Some((value, rest))
}

/// Reads a decimal number with an optional minus sign.
#[inline]
pub(super) fn signed(text: &[u8]) -> Option<(i64, &[u8])> {
    match text {
        [b'-', digits @ ..] => {
            let (value, rest) = decimal(digits)?;
            Some((0i64.checked_sub_unsigned(value)?, rest))
        }
        _ => {
            let (value, rest) = decimal(text)?;
            Some((i64::try_from(value).ok()?, rest))
        }
    }
}

/// Where the first `needle` stands.
#[inline]
pub(crate) fn find(text: &[u8], needle: u8) -> Option<usize> {
    let pattern = LOW * u64::from(needle);
    let (words, rest) = text.as_chunks::<8>();
    for (at, bytes) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*bytes) ^ pattern;
        let found = word.wrapping_sub(LOW) & !word & HIGH;
        if found != 0 {
            return Some(at * 8 + unmarked(found) as usize);
        }
    }
    rest.iter().position(|byte| *byte == needle).map(|at| text.len() - rest.len() + at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain_hexadecimal(text: &[u8]) -> Option<(u64, &[u8])> {
        let digits = text.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).count();
        let value = u64::from_str_radix(core::str::from_utf8(&text[..digits]).ok()?, 16).ok()?;
        (digits <= 16).then_some((value, &text[digits..]))
    }

    fn plain_decimal(text: &[u8]) -> Option<(u64, &[u8])> {
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let value = core::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
        Some((value, &text[digits..]))
    }

    fn digits_and_noise() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![8 => prop::sample::select(b"0123456789abcdef".to_vec()), 1 => any::<u8>()];
        prop::collection::vec(byte, 0..28)
    }

    fn decimals_and_noise() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![12 => prop::sample::select(b"0123456789".to_vec()), 1 => any::<u8>()];
        prop::collection::vec(byte, 0..30)
    }

    proptest! {
        #[test]
        fn hexadecimal_reads_what_a_plain_loop_reads(text in digits_and_noise()) {
            prop_assert_eq!(hexadecimal(&text), plain_hexadecimal(&text));
        }

        #[test]
        fn decimal_reads_what_a_plain_loop_reads(text in decimals_and_noise()) {
            let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            prop_assume!(digits <= 20 || !text.starts_with(b"0000"));
            prop_assert_eq!(decimal(&text), plain_decimal(&text));
        }

        #[test]
        fn find_sees_the_first(text in prop::collection::vec(any::<u8>(), 0..70), needle: u8) {
            prop_assert_eq!(find(&text, needle), text.iter().position(|byte| *byte == needle));
        }
    }

    #[test]
    fn every_byte_is_told_apart() {
        for byte in 0..=u8::MAX {
            let text = [byte, b' '];
            assert_eq!(hexadecimal(&text), plain_hexadecimal(&text), "{byte:#x}");
            assert_eq!(decimal(&text), plain_decimal(&text), "{byte:#x}");
        }
    }

    #[test]
    fn numbers_end_where_64_bits_end() {
        assert_eq!(hexadecimal(b"ffffffffffffffff"), Some((u64::MAX, &b""[..])));
        assert_eq!(hexadecimal(b"10000000000000000"), None);
        assert_eq!(decimal(b"18446744073709551615,"), Some((u64::MAX, &b","[..])));
        assert_eq!(decimal(b"18446744073709551616"), None);
        assert_eq!(signed(b"-9223372036854775808"), Some((i64::MIN, &b""[..])));
        assert_eq!(signed(b"-9223372036854775809"), None);
        assert_eq!(signed(b"9223372036854775808"), None);
        assert_eq!(signed(b"-4 "), Some((-4, &b" "[..])));
    }
}
