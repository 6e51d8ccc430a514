//! The entries of one table as bytes: runs, and the call starts that runs do not say.
//!
//! First comes the number of entries that are not zero, then runs that hold as many, in ascending order. A run is the
//! number of entries since the run before, its own number of entries times 4 plus its kind, and its values: all of
//! them, or the first one, which the others equal, or which every other one adds a page to. Then come the number of
//! call starts inside of runs of mappings, and stretches of them: entries since the stretch before, entries in it.

use super::fields::{Fields, Flaw, put, put_short};
use crate::tce_table::{Change, Geometry, TceTable};

const LIST: u64 = 0;
const SAME: u64 = 1;
const PAGES: u64 = 2;

/// Values in one run of a list at most, so that only so many are kept back.
const LIST_MAX: usize = 4096;
/// Values that must follow a rule for a run of their own to be shorter than a list.
const WORTH: u32 = 3;

/// Writes values as runs.
struct Runs<'a> {
    bytes: &'a mut Vec<u8>,
    page: u64,
    /// The entry after the last one that was written.
    written: u32,
    /// Values that follow no rule, from this entry on.
    list: (u32, Vec<u64>),
    /// The values that are being counted.
    open: Option<Open>,
}

#[derive(Clone, Copy)]
struct Open {
    first: u32,
    count: u32,
    value: u64,
    newest: u64,
    kind: u64,
}

impl Runs<'_> {
    fn push(&mut self, index: u32, value: u64) {
        if let Some(open) = &mut self.open
            && open.first + open.count == index
        {
            let kind = if value == open.newest {
                SAME
            } else if open.newest.checked_add(self.page) == Some(value) {
                PAGES
            } else {
                LIST
            };
            if kind != LIST && (open.count == 1 || open.kind == kind) {
                (open.count, open.newest, open.kind) = (open.count + 1, value, kind);
                return;
            }
        }
        self.close();
        self.open = Some(Open { first: index, count: 1, value, newest: value, kind: LIST });
    }

    /// Ends the values that are being counted.
    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        if open.count >= WORTH {
            self.write_list();
            self.write(open.first, open.count, open.kind, &[open.value]);
            return;
        }
        let (first, values) = &self.list;
        let next = values.len().try_into().map_or(0, |length: u32| first + length);
        if next != open.first || values.len() >= LIST_MAX {
            self.write_list();
            self.list.0 = open.first;
        }
        self.list.1.extend([open.value, open.newest].iter().take(open.count as usize));
    }

    #[inline(never)]
    fn write_list(&mut self) {
        let (first, mut values) = (self.list.0, core::mem::take(&mut self.list.1));
        if let Ok(count @ 1..) = u32::try_from(values.len()) {
            self.write(first, count, LIST, &values);
        }
        values.clear();
        // It begins anew where the next value is.
        self.list = (u32::MAX, values);
    }

    #[inline(never)]
    fn write(&mut self, first: u32, count: u32, kind: u64, values: &[u64]) {
        put_short(self.bytes, u64::from(first - self.written));
        put_short(self.bytes, u64::from(count) << 2 | kind);
        self.bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.written = first + count;
    }
}

/// Appends the entries of a table.
pub(super) fn put_entries(bytes: &mut Vec<u8>, table: &TceTable) {
    put(bytes, &table.stored().to_le_bytes());
    let page = 1 << table.geometry().page_shift.min(63);
    let mut runs = Runs { bytes, page, written: 0, list: (u32::MAX, Vec::new()), open: None };
    let (mut calls, mut stretches) = (0u32, Vec::<(u32, u32)>::new());
    let mut next = table.next_stored(0);
    while let Some(index) = next {
        runs.push(index, table.get(index));
        if table.is_call_start(index) {
            calls += 1;
            match stretches.last_mut() {
                Some((first, count)) if *first + *count == index => *count += 1,
                _ => stretches.push((index, 1)),
            }
        }
        next = index.checked_add(1).and_then(|after| table.next_stored(after));
    }
    runs.close();
    runs.write_list();
    put(bytes, &calls.to_le_bytes());
    let mut written = 0;
    for (first, count) in stretches {
        put_short(bytes, u64::from(first - written));
        put_short(bytes, u64::from(count));
        written = first + count;
    }
}

/// Reads a table that lies there; `room` is how many more entries that are not zero may be read.
pub(super) fn take_entries(fields: &mut Fields<'_>, geometry: Geometry, room: &mut u32) -> Result<TceTable, Flaw> {
    let unsound = |_| Flaw::Inconsistent("a window has no size, or passes the top of the bus");
    let mut table = TceTable::new(geometry, u32::MAX).map_err(unsound)?;
    let stored = fields.u32()?;
    *room = room.checked_sub(stored).ok_or(Flaw::EntryLimit)?;
    let (mut rest, mut next) = (stored, 0);
    let mut change = Change::quiet();
    while rest > 0 {
        let gap = fields.short()?;
        let head = fields.short()?;
        let run = stretch(next, gap, head >> 2, rest, geometry.entries)?;
        take_run(&mut table, fields, run, head & 3, &mut change)?;
        (rest, next) = (rest - run.1, run.0 + run.1);
    }
    (rest, next) = (fields.u32()?, 0);
    while rest > 0 {
        let (gap, count) = (fields.short()?, fields.short()?);
        let (first, count) = stretch(next, gap, count, rest, geometry.entries)?;
        if !(first..first + count).all(|index| table.start_call(index)) {
            return Err(Flaw::Inconsistent("a call starts where no mapping goes on"));
        }
        (rest, next) = (rest - count, first + count);
    }
    Ok(table)
}

/// The first entry and the number of entries of what follows a gap. They lie in the table, and are no more than `most`.
#[inline(never)]
fn stretch(from: u32, gap: u64, count: u64, most: u32, entries: u32) -> Result<(u32, u32), Flaw> {
    let found = || {
        let first = from.checked_add(u32::try_from(gap).ok()?)?;
        let count = u32::try_from(count).ok().filter(|count| (1..=most).contains(count))?;
        first.checked_add(count).filter(|end| *end <= entries).map(|_| (first, count))
    };
    found().ok_or(Flaw::Inconsistent("a run is empty, or passes the end of its table"))
}

fn take_run(
    table: &mut TceTable,
    fields: &mut Fields<'_>,
    (first, count): (u32, u32),
    kind: u64,
    change: &mut Change,
) -> Result<(), Flaw> {
    let page = 1 << table.geometry().page_shift.min(63);
    let mut value = if kind == LIST { 0 } else { fields.u64()? };
    for index in first..first + count {
        match kind {
            LIST => value = u64::from_le_bytes(fields.take()?),
            SAME => {}
            PAGES if index == first => {}
            PAGES => value = value.checked_add(page).ok_or(Flaw::Inconsistent("a run passes 2^64"))?,
            _ => return Err(Flaw::Inconsistent("a run is of no known kind")),
        }
        if value == 0 || !table.learn(index, value, false, change) {
            return Err(Flaw::Inconsistent("an entry of a run is zero"));
        }
    }
    Ok(())
}
