//! Finds out whether bytes were changed by accident.

/// CRC-32 of ISO 3309, as gzip and Ethernet have it (the polynomial 0x04c11db7, bit-reversed).
const POLYNOMIAL: u32 = 0xedb8_8320;

const TABLE: [u32; 256] = table();

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "the compiler evaluates it, and would refuse an index beyond the end"
)]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut rest = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            rest = if rest & 1 == 0 { rest >> 1 } else { rest >> 1 ^ POLYNOMIAL };
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
}

/// The checksum of bytes.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let step = |rest: u32, byte: &u8| {
        let [low, ..] = (rest ^ u32::from(*byte)).to_le_bytes();
        rest >> 8 ^ TABLE.get(usize::from(low)).copied().unwrap_or(0)
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_standard() {
        // The check value that catalogues of CRCs give for CRC-32.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }
}
