//! Reads the events that fill a log, by what they have in common with those before.

use super::cursor::{Cursor, Eight, Literal, Repeated, Window, word};
use super::format::Fields;
use super::kind::Kind;
use super::prefix::Familiar;

/// What most lines have as the lines before them did.
///
/// It says nothing of what was read, only how fast: all are equal.
#[derive(Clone, Debug, Default)]
pub(super) struct Habits {
    prefix: Familiar,
    liobn: Eight,
    mask: Repeated,
}

impl PartialEq for Habits {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Habits {}

impl core::hash::Hash for Habits {
    fn hash<H: core::hash::Hasher>(&self, _: &mut H) {}
}

/// An event read the fast way.
pub(super) struct Hot {
    pub(super) kind: Kind,
    pub(super) fields: Fields,
    pub(super) text: &'static [u8],
    /// How long the prefix is.
    pub(super) prefix: usize,
    /// How long the line is, with its end.
    pub(super) length: usize,
}

impl Habits {
    /// Reads one of the events that fill a log. `None` says nothing: the line is read by its format then.
    #[inline(always)]
    pub(super) fn read(&mut self, window: &Window) -> Option<Hot> {
        let prefix = self.prefix.length(window);
        let mut cursor = Cursor::new(window, prefix);
        let (kind, fields, text) = self.event(&mut cursor)?;
        cursor.line_end()?;
        Some(Hot { kind, fields, text, prefix, length: cursor.within_reach()? })
    }

    /// Every one of these events has a LIOBN, but for what VFIO is told of, then two numbers, then what only its kind has.
    #[inline(always)]
    fn event(&mut self, cursor: &mut Cursor<'_>) -> Option<(Kind, Fields, &'static [u8])> {
        let kind = name(cursor)?;
        let (liobn, text) = match kind {
            Kind::MapNotify => (0, told(cursor)?),
            _ => (cursor.eight(&mut self.liobn)?, &b""[..]),
        };
        match kind {
            Kind::MapNotify => cursor.eat(const { Literal::new(b" @ 0x") })?,
            Kind::Xlate => cursor.eat(const { Literal::new(b" 0x") })?,
            _ => cursor.eat(const { Literal::new(b" ioba=0x") })?,
        }
        let first = cursor.hexadecimal()?;
        match kind {
            Kind::MapNotify => cursor.eat(const { Literal::new(b" - 0x") })?,
            Kind::Xlate => cursor.eat(const { Literal::new(b" -> 0x") })?,
            Kind::Put | Kind::PciPut => cursor.eat(const { Literal::new(b" tce=0x") })?,
            Kind::Stuff | Kind::PciStuff => cursor.eat(const { Literal::long(b" tcevalue=0x") })?,
            _ => cursor.eat(const { Literal::long(b" tcelist=0x") })?,
        }
        let second = cursor.hexadecimal()?;
        let fields = match kind {
            Kind::MapNotify => [first, second, 0, 0, 0, 0, 0, 0],
            Kind::Xlate => {
                let (perm, mask) = self.page(cursor)?;
                (liobn >> 32 == 0).then_some([liobn, first, second, perm, mask, 0, 0, 0])?
            }
            Kind::Put | Kind::PciPut => [liobn, first, second, ret(cursor)?, 0, 0, 0, 0],
            Kind::Stuff | Kind::PciStuff => {
                cursor.eat(const { Literal::new(b" npages=") })?;
                let pages = cursor.signed()?.cast_unsigned();
                [liobn, first, second, pages, ret(cursor)?, 0, 0, 0]
            }
            _ => {
                let (last, tce) = list_end(cursor)?;
                [liobn, first, second, last, tce, ret(cursor)?, 0, 0]
            }
        };
        Some((kind, fields, text))
    }

    /// What a translation says of its page: permission and mask.
    #[inline(always)]
    fn page(&mut self, cursor: &mut Cursor<'_>) -> Option<(u64, u64)> {
        cursor.eat(const { Literal::new(b" perm=") })?;
        let perm = u64::from(cursor.byte().wrapping_sub(b'0'));
        cursor.skip(1);
        cursor.eat(const { Literal::new(b" mask=0x") })?;
        let mask = cursor.repeated(&mut self.mask)?;
        (perm <= 3 && mask >> 32 == 0).then_some((perm, mask))
    }
}

/// Reads an event's name, up to the digits of its LIOBN if it has one.
#[inline(always)]
fn name(cursor: &mut Cursor<'_>) -> Option<Kind> {
    const SPAPR: u64 = word(b"spapr_io");
    const VFIO: u64 = word(b"vfio_iom");
    const XLATE: u64 = word(b"mmu_xlat");
    const PUT: u64 = word(b"mmu_put ");
    const STUFF: u64 = word(b"mmu_stuf");
    const INDIRECT: u64 = word(b"mmu_indi");
    const PCI: u64 = word(b"mmu_pci_");
    const PCI_PUT: u64 = word(b"put liob");
    const PCI_STUFF: u64 = word(b"stuff li");
    const PCI_INDIRECT: u64 = word(b"indirect");
    const NOTIFY: u64 = word(b"mu_map_n");
    let (family, event) = (cursor.word(0), cursor.word(8));
    cursor.skip(16);
    Some(match (family, event) {
        (SPAPR, XLATE) => {
            cursor.eat(const { Literal::long(b"e liobn=0x") })?;
            Kind::Xlate
        }
        (SPAPR, PUT) => {
            cursor.eat(const { Literal::new(b"liobn=0x") })?;
            Kind::Put
        }
        (SPAPR, STUFF) => {
            cursor.eat(const { Literal::long(b"f liobn=0x") })?;
            Kind::Stuff
        }
        (SPAPR, INDIRECT) => {
            cursor.eat(const { Literal::long(b"rect liobn=0x") })?;
            Kind::Indirect
        }
        (SPAPR, PCI) => {
            let event = cursor.word(0);
            cursor.skip(8);
            match event {
                PCI_PUT => {
                    cursor.eat(const { Literal::new(b"n=0x") })?;
                    Kind::PciPut
                }
                PCI_STUFF => {
                    cursor.eat(const { Literal::new(b"obn=0x") })?;
                    Kind::PciStuff
                }
                PCI_INDIRECT => {
                    cursor.eat(const { Literal::long(b" liobn=0x") })?;
                    Kind::PciIndirect
                }
                _ => return None,
            }
        }
        (VFIO, NOTIFY) => {
            cursor.eat(const { Literal::long(b"otify iommu ") })?;
            Kind::MapNotify
        }
        _ => return None,
    })
}

/// Reads what VFIO is told of.
#[inline(always)]
fn told(cursor: &mut Cursor<'_>) -> Option<&'static [u8]> {
    if cursor.byte() == b'M' {
        cursor.eat(const { Literal::new(b"MAP") })?;
        return Some(b"MAP");
    }
    cursor.eat(const { Literal::new(b"UNMAP") })?;
    Some(b"UNMAP")
}

/// What is told of the last entry of a list: its index and its TCE.
fn list_end(cursor: &mut Cursor<'_>) -> Option<(u64, u64)> {
    cursor.eat(const { Literal::long(b" iobaN=0x") })?;
    let last = cursor.hexadecimal()?;
    cursor.eat(const { Literal::new(b" tceN=0x") })?;
    let tce = cursor.hexadecimal()?;
    (last < 512).then_some((last, tce))
}

#[inline]
fn ret(cursor: &mut Cursor<'_>) -> Option<u64> {
    cursor.eat(const { Literal::new(b" ret=") })?;
    if cursor.word(0) & 0xffff == word(b"0\n") {
        cursor.skip(1);
        return Some(0);
    }
    cursor.signed().map(i64::cast_unsigned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trace::format::tests::LINES;
    use crate::trace::parser::{Found, Limits, Parser};

    /// A line with as much behind it as a look needs.
    fn window(line: &str) -> Window {
        let mut window = [b'x'; size_of::<Window>()];
        for (place, byte) in window.iter_mut().zip(line.bytes().chain(*b"\n")) {
            *place = byte;
        }
        window
    }

    #[test]
    fn the_events_that_fill_a_log_are_read() {
        let mut habits = Habits::default();
        let mut kinds = Vec::new();
        for (line, numbers, text) in LINES {
            let Some(hot) = habits.read(&window(line)) else { continue };
            assert_eq!(hot.kind.name(), line.split(' ').next().unwrap());
            assert_eq!((&hot.fields[..numbers.len()], hot.text), (*numbers, text.as_bytes()), "{line}");
            assert_eq!((hot.prefix, hot.length), (0, line.len() + 1));
            kinds.push(hot.kind);
        }
        kinds.dedup();
        assert_eq!(kinds.len(), 8);
    }

    /// An event, and how long its line is.
    type Seen = (Kind, Fields, Vec<u8>, Option<u64>, usize);

    /// What the parser says of a line, with and without a window behind it.
    fn both(hot: &mut Parser, line: &[u8]) -> [Option<Seen>; 2] {
        let padded = [line, &[b'x'; size_of::<Window>()]].concat();
        [(hot, &padded[..]), (&mut Parser::default(), line)].map(|(parser, input)| {
            let mut at = 0;
            match parser.next(input, &mut at, false, &Limits::NONE) {
                Found::Event(event) => Some((event.kind, event.fields, event.text.to_vec(), event.time(), at)),
                _ => None,
            }
        })
    }

    fn hexadecimal() -> impl Strategy<Value = String> {
        prop_oneof![6 => "[1-9a-f][0-9a-f]{0,15}", 2 => "80000000|fff|0", 1 => "[0-9a-g]{0,18}"]
    }

    fn decimal() -> impl Strategy<Value = String> {
        prop_oneof![4 => "0", 2 => "-?[1-9][0-9]{0,3}", 1 => "-?[0-9]{0,21}"]
    }

    fn lines() -> impl Strategy<Value = String> {
        let numbers = (hexadecimal(), hexadecimal(), hexadecimal(), hexadecimal(), hexadecimal());
        let prefix = prop_oneof!["", "17@100\\.[0-9]{6}:", "[0-9]{0,3}@[0-9]{2}\\.[0-9]{6}:"];
        let end = prop_oneof![6 => "\n", 1 => "\r\n", 1 => "[ \rx]\n"];
        (prefix, 0..7, any::<bool>(), numbers, (decimal(), decimal()), end).prop_map(
            |(prefix, event, other, (a, b, c, d, e), (m, n), end)| {
                let pci = if other { "pci_" } else { "" };
                let text = match event {
                    0 => format!("put liobn=0x{a} ioba=0x{b} tce=0x{c} ret={n}"),
                    1 => format!("stuff liobn=0x{a} ioba=0x{b} tcevalue=0x{c} npages={m} ret={n}"),
                    2 => format!("indirect liobn=0x{a} ioba=0x{b} tcelist=0x{c} iobaN=0x{d} tceN=0x{e} ret={n}"),
                    3 => format!("get liobn=0x{a} ioba=0x{b} ret={n} tce=0x{c}"),
                    4 | 5 => {
                        return format!(
                            "{prefix}spapr_iommu_xlate liobn=0x{a} 0x{b} -> 0x{c} perm={m} mask=0x{d}{end}"
                        );
                    }
                    _ => {
                        let map = if other { "MAP" } else { "UNMAP" };
                        return format!("{prefix}vfio_iommu_map_notify iommu {map} @ 0x{a} - 0x{b}{end}");
                    }
                };
                format!("{prefix}spapr_iommu_{pci}{text}{end}")
            },
        )
    }

    proptest! {
        #[test]
        fn the_fast_way_reads_what_the_format_says(lines in prop::collection::vec(lines(), 1..20)) {
            let mut parser = Parser::default();
            for line in lines {
                let [hot, plain] = both(&mut parser, line.as_bytes());
                prop_assert_eq!(hot, plain, "{}", line);
            }
        }

        #[test]
        fn a_damaged_line_is_read_as_the_format_says(
            lines in prop::collection::vec((lines(), any::<prop::sample::Index>(), any::<u8>()), 1..20)
        ) {
            let mut parser = Parser::default();
            for (line, at, byte) in lines {
                let mut line = line.into_bytes();
                let at = at.index(line.len() - 1);
                line[at] = if byte == b'\n' { b' ' } else { byte };
                let [hot, plain] = both(&mut parser, &line);
                prop_assert_eq!(hot, plain, "{}", String::from_utf8_lossy(&line));
            }
        }
    }
}
