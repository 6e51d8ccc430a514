//! Numbers as bytes: little-endian, or in as few bytes as they need.

/// Why a field can not be what it is. Smaller than a [`SnapshotError`](super::SnapshotError), which every field would
/// have to be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flaw {
    /// [`SnapshotError::Inconsistent`](super::SnapshotError::Inconsistent).
    Inconsistent(&'static str),
    /// [`SnapshotError::EntryLimit`](super::SnapshotError::EntryLimit).
    EntryLimit,
}

/// The bytes end where a field is expected.
pub(super) const ENDS: &str = "a field is missing at the end";

/// Appends the bytes of a field. Not where it is called: there are many fields, and none is in a hurry.
#[inline(never)]
pub(super) fn put(bytes: &mut Vec<u8>, field: &[u8]) {
    bytes.extend_from_slice(field);
}

/// Appends a number, seven bits per byte, the lowest first (LEB128).
#[inline(never)]
pub(super) fn put_short(bytes: &mut Vec<u8>, value: u64) {
    let mut rest = value;
    loop {
        let [low, ..] = (rest & 0x7f).to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

/// Reads fields one after the other.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next bytes.
    #[inline]
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (field, rest) = self.rest.split_first_chunk::<N>().ok_or(Flaw::Inconsistent(ENDS))?;
        self.rest = rest;
        Ok(*field)
    }

    #[inline(never)]
    pub(super) fn u8(&mut self) -> Result<u8, Flaw> {
        self.take().map(|[byte]| byte)
    }

    #[inline(never)]
    pub(super) fn u32(&mut self) -> Result<u32, Flaw> {
        self.take().map(u32::from_le_bytes)
    }

    #[inline(never)]
    pub(super) fn u64(&mut self) -> Result<u64, Flaw> {
        self.take().map(u64::from_le_bytes)
    }

    /// A byte of which only the lowest `bits` may be set.
    #[inline(never)]
    pub(super) fn flags(&mut self, bits: u32) -> Result<u8, Flaw> {
        let byte = self.u8()?;
        if u32::from(byte) >> bits != 0 {
            return Err(Flaw::Inconsistent("a flag that means nothing is set"));
        }
        Ok(byte)
    }

    /// A number as [`put_short`] writes it.
    #[inline(never)]
    pub(super) fn short(&mut self) -> Result<u64, Flaw> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                break;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Flaw::Inconsistent("a number has more than 64 bits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_number_is_read_as_it_was_written() {
        for value in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 1 << 35, u64::MAX >> 1, 1 << 63, u64::MAX] {
            let mut bytes = Vec::new();
            put_short(&mut bytes, value);
            let mut fields = Fields::new(&bytes);
            assert_eq!((fields.short(), fields.is_empty()), (Ok(value), true));
            assert_eq!(Fields::new(&bytes[..bytes.len() - 1]).short(), Err(Flaw::Inconsistent(ENDS)));
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        let long = Flaw::Inconsistent("a number has more than 64 bits");
        let mut bytes = [0xff; 12];
        assert_eq!(Fields::new(&bytes).short(), Err(long));
        bytes[9] = 0x02;
        assert_eq!(Fields::new(&bytes).short(), Err(long));
        bytes[9] = 0x01;
        assert_eq!(Fields::new(&bytes).short(), Ok(u64::MAX));
    }
}
