//! Cuts text that comes in pieces into lines, in constant memory.

use super::parser::LINE_MAX;
use super::scan::find;

/// One line, without its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Line<'a> {
    pub(super) text: &'a [u8],
    /// From 1.
    pub(super) number: u64,
}

/// Cuts lines. Those that are too long to mean anything are passed over without being kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Lines {
    pub(super) count: u64,
    passing: bool,
}

impl Lines {
    /// The next line of `input[*at..]`, past which `at` is moved. `None`: more bytes are needed, which must follow what is
    /// left from `at` on; `last` says that none do.
    pub(super) fn next<'a>(&mut self, input: &'a [u8], at: &mut usize, last: bool) -> Option<Line<'a>> {
        loop {
            let rest = input.get(*at..).filter(|rest| !rest.is_empty())?;
            let end = find(rest, b'\n');
            if self.passing {
                self.passing = end.is_none();
                *at += end.map_or(rest.len(), |end| end + 1);
                continue;
            }
            let length = match end {
                Some(end) => end,
                None if last || rest.len() > LINE_MAX => rest.len(),
                None => return None,
            };
            self.count += 1;
            *at += length + usize::from(end.is_some());
            if length > LINE_MAX {
                self.passing = end.is_none();
                continue;
            }
            let text = rest.get(..length).unwrap_or_default();
            return Some(Line { text: text.strip_suffix(b"\r").unwrap_or(text), number: self.count });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]]) -> Vec<(String, u64)> {
        let (mut lines, mut rest, mut list) = (Lines::default(), Vec::new(), Vec::new());
        for (index, piece) in pieces.iter().enumerate() {
            rest.extend_from_slice(piece);
            let mut at = 0;
            while let Some(line) = lines.next(&rest, &mut at, index + 1 == pieces.len()) {
                list.push((String::from_utf8_lossy(line.text).into_owned(), line.number));
            }
            rest.drain(..at);
        }
        list
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_come() {
        let text = b"one\r\n\ntwo three\nfour";
        let whole = all(&[text]);
        assert_eq!(whole, [("one".into(), 1), (String::new(), 2), ("two three".into(), 3), ("four".into(), 4)]);
        for cut in 0..text.len() {
            assert_eq!(all(&[&text[..cut], &text[cut..]]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_counts_and_is_passed_over() {
        let long = vec![b'x'; LINE_MAX + 100];
        assert_eq!(all(&[&long, &long, b"\nnext\n"]), [("next".into(), 2)]);
    }
}
