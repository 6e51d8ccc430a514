//! Says why the host refused, where only all of a window's maps together show it.

use super::finding::FindingKind;
use super::guest::Region;
use super::operation::Outcome;
use super::{Doctor, operation::Done};

/// EINVAL: the range is not aligned to the host's pages, or not one that it translates.
const INVALID: i32 = 22;
/// A window that begins below this is in reach of every IOMMU that has second-level tables of three levels or more.
const REACH: u64 = 1 << 39;
/// The largest smallest page of the hosts there are, as a power of two.
const COARSE: u8 = 16;
/// The most windows that are kept.
const WINDOWS: usize = 1 << 8;

/// How the maps of a window went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct WindowMaps {
    id: u64,
    start: u64,
    held: u64,
    refused: u64,
    highest: u64,
}

impl Doctor {
    /// One more map of a window.
    pub(super) fn count_map(&mut self, done: &Done) {
        let Some(Region { id, start, .. }) = self.guest.region(done.start).copied() else { return };
        let at = match self.windows.iter().position(|window| window.id == id) {
            Some(at) => at,
            None if self.windows.len() >= WINDOWS => return,
            None => {
                self.windows.push(WindowMaps { id, start, ..WindowMaps::default() });
                self.windows.len() - 1
            }
        };
        let Some(window) = self.windows.get_mut(at) else { return };
        window.start = start;
        match done.outcome {
            Outcome::Held => {
                window.held += 1;
                window.highest = window.highest.max(done.last);
            }
            Outcome::Refused { .. } => window.refused += 1,
            _ => {}
        }
    }

    /// The host's smallest page, as a line tells it.
    pub(super) fn learn_host_page(&mut self, size: u64) {
        if size.is_power_of_two() {
            self.host_page = u8::try_from(size.trailing_zeros()).ok();
        }
    }

    /// Looks at the refusals that have more than one reason, now that all maps are known.
    pub(super) fn judge(&mut self) {
        let highest = self.windows.iter().filter(|window| window.held > 0).map(|window| window.highest).max();
        let windows = &self.windows;
        let host_page = self.host_page;
        for finding in self.findings.iter_mut() {
            if finding.kind != FindingKind::MappingMissing || !matches!(finding.errno, INVALID | 0) {
                continue;
            }
            let window = windows.iter().find(|window| window.id == finding.window);
            let Some(window) = window.filter(|window| window.held == 0) else { continue };
            if finding.errno == INVALID && host_page.is_some_and(|page| finding.page_shift < page) {
                finding.kind = FindingKind::PageTooFine;
            } else if window.start >= REACH && highest.is_none_or(|highest| highest < window.start) {
                finding.kind = FindingKind::WindowOutside;
            } else if finding.errno == INVALID && finding.page_shift < COARSE && window.start < REACH {
                finding.kind = FindingKind::PageTooFine;
            }
        }
    }

    /// The host's smallest page as a power of two, where a line tells it.
    #[must_use]
    pub fn host_page(&self) -> Option<u8> {
        self.host_page
    }
}
