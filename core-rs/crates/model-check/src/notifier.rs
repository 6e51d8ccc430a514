//! Who is told what: packages/notifiers/notifier.ts, walk.ts and _pieces.ts.

use crate::mapped_run::MappedRun;
use crate::pages::Pages;
use crate::run::Run;
use crate::setup::Fault;
use crate::sight::Sight;

/// What a notifier is told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// Whatever was mapped here went away.
    Unmap(Pages),
    /// A run of mappings appeared.
    Map(MappedRun),
}

impl Event {
    /// The pages that it is about.
    #[must_use]
    pub fn pages(self) -> Pages {
        match self {
            Self::Unmap(pages) => pages,
            Self::Map(mapped) => mapped.pages,
        }
    }

    /// `cropEvent`.
    #[must_use]
    pub fn crop(self, range: Pages) -> Option<Self> {
        match self {
            Self::Unmap(pages) => pages.intersect(range).map(Self::Unmap),
            Self::Map(mapped) => mapped.crop(range).map(Self::Map),
        }
    }
}

/// A walk that tells a notifier what is mapped already: `NotifierWalk`.
///
/// It always withholds: a piece begins its replay in the same breath in which it registers its notifier, which so was told
/// nothing before.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Walk {
    /// The next page to be walked; `None` at the end.
    pub position: Option<u32>,
    /// The last page to be walked.
    pub last: u32,
    /// Whether the table changed ahead of the position, so that what was read there is out of date.
    pub is_stale: bool,
}

impl Walk {
    /// What lies ahead, where the notifier hears nothing live.
    #[must_use]
    pub fn ahead(&self) -> Option<Pages> {
        Pages::new(self.position?, self.last)
    }

    /// `changed`.
    pub fn changed(&mut self, pages: Pages) {
        self.is_stale |= self.ahead().is_some_and(|ahead| ahead.intersect(pages).is_some());
    }

    /// `pass`.
    pub fn pass(&mut self, last: u32) {
        match self.position {
            Some(start) if last >= start => self.position = (last < self.last).then_some(last + 1),
            _ => {}
        }
    }
}

/// A container's ear on the IOMMU.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Notifier {
    /// Its number.
    pub id: u32,
    /// Whose container it is.
    pub seat: usize,
    /// The pages that it cares for.
    pub range: Pages,
    /// The walk that is under way for it.
    pub walk: Option<Walk>,
}

impl Notifier {
    /// `appendAudible`: the parts of an event that it hears live.
    pub(crate) fn append_audible(&self, run: &mut Run<'_>, out: &mut Vec<Event>, event: Event) {
        let Some(inside) = event.crop(self.range) else { return };
        let ahead = self.walk.as_ref().and_then(Walk::ahead);
        let Some(ahead) = ahead.filter(|ahead| ahead.intersect(inside.pages()).is_some()) else {
            if self.walk.is_some() {
                run.saw(Sight::WriteBehind);
                if run.setup.fault == Fault::WithholdsBehind {
                    return;
                }
            }
            out.push(inside);
            return;
        };
        if run.setup.fault == Fault::TellsAhead {
            out.push(inside);
            return;
        }
        let around = inside.pages().outside(ahead);
        run.saw(if around.iter().any(Option::is_some) { Sight::Straddles } else { Sight::WriteAhead });
        out.extend(around.into_iter().flatten().filter_map(|part| inside.crop(part)));
    }
}
