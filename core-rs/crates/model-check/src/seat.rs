//! One container with its host and what ties it to the bus.

use giommu_core::container::Container;

use crate::host::{Host, HostKind};
use crate::mapped_run::MappedRun;
use crate::pages::Pages;

/// A stretch of the bus in which the IOMMU is seen: `IommuPiece` of packages/vfio-sync/_iommu_piece.ts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Piece {
    /// The pages.
    pub range: Pages,
    /// Its notifier's number.
    pub notifier: u32,
    /// Whether its replay is under way.
    pub is_replaying: bool,
    /// What the replay read ahead.
    pub source: Option<Source>,
}

/// The mappings of a table that walks them itself: `OwnSource` of packages/memory-api/_own_source.ts, over the generator of
/// packages/spapr-tce/_walk.ts, whose first batch holds all runs of a few pages.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Source {
    /// The next page to be read; `None` at the end.
    pub position: Option<u32>,
    /// What was fetched and not given out yet.
    pub fetched: Vec<MappedRun>,
}

/// A section of the bus that the model knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Section {
    /// The guest's IOMMU.
    Iommu(Pages),
    /// RAM that devices reach without it.
    Ram(Pages),
}

/// A container's tie to the bus: packages/vfio-sync/_attachment.ts with the state of _sections.ts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Attachment {
    /// Whether it is still being attached.
    pub is_opening: bool,
    /// Whether somebody steps the replays.
    pub is_deferred: bool,
    /// Whether what is told is of no interest.
    pub is_deaf: bool,
    /// The IOMMU pieces that are listened to.
    pub pieces: Vec<Piece>,
    /// Deletions of the transaction under way.
    pub gone: Vec<Section>,
    /// Whether the container lived when the transaction under way began.
    pub was_alive: bool,
}

/// A change that is being told, of packages/vfio-sync/_mirror.ts.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Telling {
    /// How many notifiers said that it began.
    pub open: u32,
    /// Whether it was rolled back.
    pub is_undone: bool,
    /// Whether that failed.
    pub undo_failed: bool,
    /// What could not be put back.
    pub lost: Vec<Pages>,
    /// What its events were about.
    pub touched: Vec<Pages>,
}

/// One container with its host. The container is the core's own.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Seat {
    /// The state machine under test.
    pub raw: Container,
    /// Where its calls go.
    pub host: Host,
    /// Whether the device is stopped for a hole.
    pub is_stopped: bool,
    /// Whether the host refused a MAP of the newest request: the driver's `#refusal`.
    pub is_refused: bool,
    /// Where host and guest differ, as the failed container says.
    pub failure: Option<Vec<Pages>>,
    /// Whether what is told comes from a replay.
    pub is_replaying: bool,
    /// The change that is being told.
    pub telling: Telling,
    /// What ties it to the bus.
    pub attachment: Option<Attachment>,
}

impl Seat {
    /// A new container on a new host.
    ///
    /// # Panics
    /// If the core does not make such a container.
    #[must_use]
    pub fn new(kind: HostKind, max_mappings: Option<u32>) -> Self {
        let raw = Container::new(kind.limits(max_mappings), kind.coalesce(), kind.holes()).expect("a sound policy");
        Self {
            raw,
            host: Host::new(kind),
            is_stopped: false,
            is_refused: false,
            failure: None,
            is_replaying: false,
            telling: Telling::default(),
            attachment: None,
        }
    }

    /// Whether its mappings follow the guest, all of them.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.failure.is_none() && self.attachment.is_some()
    }

    /// Whether it is being attached.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        self.attachment.as_ref().is_some_and(|attachment| attachment.is_opening)
    }

    /// Whether nothing is left of the newest act that the next one begins without.
    #[must_use]
    pub fn is_tidy(&self) -> bool {
        let is_told =
            self.attachment.as_ref().is_none_or(|attachment| attachment.gone.is_empty() && !attachment.was_alive);
        let is_forgotten = self.raw.refused().is_none() && self.raw.lost().is_empty();
        self.telling == Telling::default() && !self.is_refused && is_told && is_forgotten
    }

    /// Whether a replay keeps something that it read.
    #[must_use]
    pub fn has_read_ahead(&self) -> bool {
        self.attachment.as_ref().is_some_and(|one| one.pieces.iter().any(|piece| piece.source.is_some()))
    }

    /// What of a range it holds: `heldIn` of packages/vfio-sync/_mirror.ts.
    #[must_use]
    pub fn held_in(&self, pages: Pages) -> Vec<Pages> {
        let maps = self.raw.maps().overlapping(pages.addresses());
        maps.filter_map(|map| Pages::touched(map.range).intersect(pages)).collect()
    }

    /// What the core says about its failure.
    #[must_use]
    pub fn core_ranges(&self) -> Vec<Pages> {
        let ranges = self.raw.failure().map_or(&[][..], |failure| &failure.ranges);
        ranges.iter().map(|range| Pages::touched(*range)).collect()
    }
}
