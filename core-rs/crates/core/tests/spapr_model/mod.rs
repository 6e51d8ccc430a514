//! A plain model of a pseries machine's IOMMUs, written from the facts alone: maps, no tables, byte by byte.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

use std::collections::BTreeMap;

pub(crate) const UNIT: u32 = 0x7100_0001;
pub(crate) const BUID: u64 = 0x0800_0000_2000_0000;
const PGSZ: [u32; 4] = [12, 16, 21, 24];

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Window {
    pub(crate) bus: u64,
    pub(crate) shift: u32,
    pub(crate) entries: u64,
}

impl Window {
    const DEFAULT: Self = Self { bus: 0, shift: 12, entries: 1 << 18 };
    const VIO: Self = Self { bus: 0, shift: 12, entries: 1 << 16 };

    /// The page of an offset, if it is inside.
    fn index(self, offset: u64) -> Option<u64> {
        Some(offset >> self.shift).filter(|index| *index < self.entries)
    }
}

/// Windows by LIOBN, entries that are not 0 by LIOBN and index.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Model {
    pub(crate) windows: BTreeMap<u32, Window>,
    pub(crate) entries: BTreeMap<(u32, u64), u64>,
    pub(crate) bypass: bool,
    limit: usize,
    /// Where a window begins that is not alone.
    far: u64,
}

impl Model {
    /// Bridges 0 and 1, and one VIO device.
    pub(crate) fn new(limit: usize, far: u64) -> Self {
        let windows =
            BTreeMap::from([(UNIT, Window::VIO), (0x8000_0000, Window::DEFAULT), (0x8000_0100, Window::DEFAULT)]);
        Self { windows, entries: BTreeMap::new(), bypass: false, limit, far }
    }

    fn window(&self, liobn: u64) -> Option<(u32, Window)> {
        let liobn = u32::try_from(liobn).ok()?;
        Some((liobn, *self.windows.get(&liobn)?))
    }

    pub(crate) fn get(&self, liobn: u64, ioba: u64) -> Result<u64, i64> {
        let (liobn, window) = self.window(liobn).ok_or(-4)?;
        let index = window.index((ioba >> window.shift << window.shift).wrapping_sub(window.bus)).ok_or(-4)?;
        Ok(self.entries.get(&(liobn, index)).copied().unwrap_or(0))
    }

    /// Stores `value(i)` in `count` entries, up to the end.
    pub(crate) fn write(&mut self, liobn: u64, ioba: u64, count: u64, most: u64, value: impl Fn(u64) -> u64) -> i64 {
        let Some((liobn, window)) = self.window(liobn) else { return -4 };
        if count == 0 || count > most.min(window.entries.max(512)) || (most > 512 && count > window.entries) {
            return -4;
        }
        let start = (ioba >> window.shift << window.shift).wrapping_sub(window.bus);
        let Some(first) = window.index(start) else { return -4 };
        let fitting = count.min(window.entries - first);
        let old: Vec<_> = self.entries.range((liobn, first)..(liobn, first + fitting)).map(|(at, _)| *at).collect();
        // Only equal values come in more than 512: whether there is room needs no look at each.
        let news = (0..fitting.min(512)).filter(|i| value(*i) != 0).count();
        let more = if fitting > 512 && news > 0 { usize::try_from(fitting).expect("fits") } else { news };
        if news > 0 && self.entries.len() - old.len() + more > self.limit {
            return -44;
        }
        for at in &old {
            self.entries.remove(at);
        }
        if news > 0 {
            let stored = (0..fitting).map(|i| ((liobn, first + i), value(i))).filter(|(_, value)| *value != 0);
            self.entries.extend(stored);
        }
        if fitting < count { -4 } else { 0 }
    }

    fn drop_window(&mut self, liobn: u32) -> bool {
        self.clear(liobn);
        self.windows.remove(&liobn).is_some()
    }

    fn clear(&mut self, liobn: u32) {
        self.entries.retain(|(owner, _), _| *owner != liobn);
    }

    pub(crate) fn reset_phb(&mut self, first: u32) {
        self.drop_window(first);
        self.drop_window(first + 1);
        self.windows.insert(first, Window::DEFAULT);
    }

    pub(crate) fn reset(&mut self) {
        self.clear(UNIT);
        self.bypass = false;
        self.reset_phb(0x8000_0000);
        self.reset_phb(0x8000_0100);
    }

    /// The words that an RTAS call writes; `None` if there is no such call.
    pub(crate) fn rtas(&mut self, name: &str, args: &[u32], nret: u32) -> Option<Vec<u32>> {
        let error = |status: i32| Some(vec![status.cast_unsigned()]);
        let counts = (args.len(), nret);
        let fits = match name {
            "ibm,query-pe-dma-window" => counts == (3, 5) || counts == (3, 6),
            "ibm,create-pe-dma-window" => counts == (5, 4),
            "ibm,remove-pe-dma-window" => counts == (1, 1),
            "ibm,reset-pe-dma-window" => counts == (3, 1),
            "ibm,set-tce-bypass" => args.len() == 2,
            "quiesce" => args.is_empty(),
            _ => return None,
        };
        if !fits {
            return error(-3);
        }
        match (name, args) {
            ("quiesce", _) => self.clear(UNIT),
            ("ibm,set-tce-bypass", [UNIT, on]) => self.bypass = *on != 0,
            ("ibm,remove-pe-dma-window", [liobn]) => {
                if *liobn == UNIT || !self.drop_window(*liobn) {
                    return error(-3);
                }
                let first = liobn & !0xff;
                if *liobn != first && !self.windows.contains_key(&first) {
                    self.reset_phb(first);
                }
            }
            (_, [_, high, low, rest @ ..]) => {
                let buid = u64::from(*high) << 32 | u64::from(*low);
                let Some(index) = buid.checked_sub(BUID).filter(|index| *index < 2) else { return error(-3) };
                let first = if index == 0 { 0x8000_0000 } else { 0x8000_0100 };
                let free: Vec<_> = [first, first + 1].into_iter().filter(|l| !self.windows.contains_key(l)).collect();
                let count = u32::try_from(free.len()).expect("two at most");
                match *rest {
                    [page, shift] => {
                        if !PGSZ.contains(&page) || shift < page || shift > 63 {
                            return error(-3);
                        }
                        let Some(liobn) = free.first().filter(|_| shift - page < 32) else { return error(-1) };
                        let bus = if count == 2 { 0 } else { self.far };
                        self.windows.insert(*liobn, Window { bus, shift: page, entries: 1 << (shift - page) });
                        return Some(vec![0, *liobn, (bus >> 32) as u32, (bus & 0xffff_ffff) as u32]);
                    }
                    _ if nret == 6 => return Some(vec![0, count, 0x20, 0, 0x107, 0]),
                    _ if nret == 5 => return Some(vec![0, count, 0x8000_0000, 0x107, 0]),
                    _ => self.reset_phb(first),
                }
            }
            _ => return error(-3),
        }
        Some(vec![0])
    }

    /// Where one byte of a PCI device on bridge 0, or of the VIO device, goes.
    pub(crate) fn reach(&self, vio: bool, at: u64, write: bool) -> Option<u64> {
        if vio && self.bypass {
            return Some(at);
        }
        let liobns: &[u32] = if vio { &[UNIT] } else { &[0x8000_0001, 0x8000_0000] };
        for liobn in liobns {
            let Some(window) = self.windows.get(liobn) else { continue };
            let Some(offset) = at.checked_sub(window.bus) else { continue };
            let Some(index) = window.index(offset) else { continue };
            let tce = self.entries.get(&(*liobn, index)).copied().unwrap_or(0);
            let mask = (1 << window.shift) - 1;
            return (tce & if write { 2 } else { 1 } != 0).then_some(tce & !mask | offset & mask);
        }
        None
    }
}
