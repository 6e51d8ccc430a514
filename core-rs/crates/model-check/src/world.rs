//! Everything that there is: the guest's table, the bus, and the containers on it.

use std::sync::Arc;

use crate::breach::{Breach, Breaches};
use crate::host::Reach;
use crate::mirror::RAM;
use crate::notifier::{Notifier, Walk};
use crate::pages::Pages;
use crate::seat::{Seat, Telling};
use crate::setup::{Fault, Setup};
use crate::table::Table;

/// What TypeScript throws; why does not matter here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Thrown;

/// A state of the model: nothing is under way in it but what the guest can see being under way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct World {
    /// The guest's table.
    pub table: Table,
    /// Whether RAM hides a page of it.
    pub is_hidden: bool,
    /// The containers. Shared between states until one changes.
    pub seats: Vec<Arc<Seat>>,
    /// The notifiers of the IOMMU, the newest first.
    pub notifiers: Vec<Notifier>,
    /// Which containers listen to the bus, in the order in which they joined.
    pub listeners: Vec<usize>,
    /// What the act that led here broke.
    pub breaches: Breaches,
}

impl World {
    /// An empty table, and containers that are attached to nothing.
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        Self {
            table: Table::new(setup.pages),
            is_hidden: false,
            seats: setup.hosts.iter().map(|kind| Arc::new(Seat::new(*kind, setup.max_mappings))).collect(),
            notifiers: Vec::new(),
            listeners: Vec::new(),
            breaches: Breaches::default(),
        }
    }

    /// One container.
    #[must_use]
    pub fn seat(&self, number: usize) -> &Seat {
        &self.seats[number]
    }

    pub(crate) fn seat_mut(&mut self, number: usize) -> &mut Seat {
        Arc::make_mut(&mut self.seats[number])
    }

    /// Every page of the table.
    #[must_use]
    pub fn all(&self) -> Pages {
        Pages { first: 0, last: self.table.pages() - 1 }
    }

    /// What a device on the bus is to reach at a page.
    #[must_use]
    pub fn reach(&self, setup: &Setup, page: u32) -> Option<Reach> {
        if self.is_hidden && page == setup.hidden { Some(RAM) } else { self.table.translate(page) }
    }

    /// Whether the replay of a container has not come to a page yet.
    #[must_use]
    pub fn lies_ahead(&self, number: usize, page: u32) -> bool {
        let mut mine = self.notifiers.iter().filter(|notifier| notifier.seat == number);
        mine.any(|notifier| notifier.walk.as_ref().and_then(Walk::ahead).is_some_and(|ahead| ahead.contains(page)))
    }

    /// How many pages the replays of a container have ahead.
    #[must_use]
    pub fn ahead(&self, number: usize) -> usize {
        self.all().each().filter(|page| self.lies_ahead(number, *page)).count()
    }

    pub(crate) fn is_registered(&self, notifier: u32) -> bool {
        self.notifiers.iter().any(|one| one.id == notifier)
    }

    pub(crate) fn unregister(&mut self, notifier: u32) {
        self.notifiers.retain(|one| one.id != notifier);
    }

    /// Ends an act: what it left behind that matters no more is forgotten, so that equal states are one state.
    pub(crate) fn come_to_rest(&mut self, setup: &Setup, version_before: u64) {
        let is_written = self.table.version() != version_before;
        let keeps_batch = matches!(setup.fault, Fault::TrustsOldBatch | Fault::NeverCatchesUp);
        for number in 0..self.seats.len() {
            let seat = self.seat(number);
            let is_at_rest = seat.telling.open == 0
                && !seat.is_replaying
                && !seat.is_stopped
                && seat.raw.is_idle()
                && !seat.raw.in_transaction();
            let is_tidy = seat.is_tidy() && !(is_written && seat.has_read_ahead());
            self.breaches.unless(is_at_rest, Breach::Memory);
            if is_tidy {
                continue; // and stays shared
            }
            let seat = self.seat_mut(number);
            // The next change begins with these.
            seat.telling = Telling::default();
            seat.is_refused = false;
            if setup.reduces && seat.raw.begin().is_ok() {
                seat.raw.commit(); // forgets what was refused and lost, as the next change would
            }
            let Some(attachment) = &mut seat.attachment else { continue };
            attachment.gone.clear();
            attachment.was_alive = false;
            if is_written && !keeps_batch {
                // The generator sees that the table's version changed, and fetches anew from where it is.
                attachment.pieces.iter_mut().for_each(|piece| piece.source = None);
            }
        }
        if !keeps_batch {
            // The step that came next would do no more than drop what was dropped just now.
            self.notifiers
                .iter_mut()
                .filter_map(|notifier| notifier.walk.as_mut())
                .for_each(|walk| walk.is_stale = false);
        }
        self.number_anew();
    }

    fn number_anew(&mut self) {
        let new_ids: Vec<u32> = self.notifiers.iter().map(|notifier| notifier.id).collect();
        for (id, notifier) in (0..).zip(&mut self.notifiers) {
            notifier.id = id;
        }
        let new_id = |old: u32| (0..).zip(&new_ids).find(|(_, id)| **id == old).map(|(index, _)| index);
        for seat in &mut self.seats {
            let pieces = seat.attachment.as_ref().map_or(&[][..], |attachment| &attachment.pieces);
            if pieces.iter().all(|piece| new_id(piece.notifier) == Some(piece.notifier)) {
                continue;
            }
            let Some(attachment) = &mut Arc::make_mut(seat).attachment else { continue };
            for piece in &mut attachment.pieces {
                piece.notifier = new_id(piece.notifier).expect("a piece has its notifier");
            }
        }
    }
}
