//! Follows what the bus shows: packages/vfio-sync/_sections.ts and _iommu_piece.ts.

use crate::notifier::{Notifier, Walk};
use crate::pages::Pages;
use crate::run::Run;
use crate::seat::{Attachment, Piece, Section};
use crate::sight::Sight;
use crate::world::{Thrown, World};

/// As many units of work as anything needs.
const ALL: u32 = u32::MAX;

impl World {
    fn attachment(&mut self, number: usize) -> Option<&mut Attachment> {
        self.seat_mut(number).attachment.as_mut()
    }

    /// `begin`.
    pub(crate) fn sections_begin(&mut self, number: usize) {
        let is_alive = self.seat(number).failure.is_none();
        if let Some(attachment) = self.attachment(number) {
            attachment.gone.clear();
            attachment.was_alive = is_alive;
        }
    }

    /// `commit`.
    pub(crate) fn sections_commit(&mut self, number: usize) {
        self.join(number);
    }

    /// `regionAdd`.
    pub(crate) fn region_add(&mut self, run: &mut Run<'_>, number: usize, section: Section) -> Result<(), Thrown> {
        let (Section::Iommu(range) | Section::Ram(range)) = section;
        let Some(attachment) = self.attachment(number).filter(|attachment| !attachment.is_deaf) else {
            self.unfollowed(run, number, [range]);
            return Ok(());
        };
        let gone = attachment.gone.iter().position(|one| *one == section);
        let is_told_back = gone.map(|index| attachment.gone.remove(index)).is_some();
        let (pages, added) = match section {
            Section::Ram(pages) => (pages, self.map_ram(run, number, pages)),
            Section::Iommu(pages) => (pages, self.add_iommu(run, number, pages)),
        };
        if added.is_err() && is_told_back {
            self.give_up_on(run, number, pages);
        }
        added
    }

    /// `regionDel`.
    pub(crate) fn region_del(&mut self, run: &mut Run<'_>, number: usize, section: Section) -> Result<(), Thrown> {
        let (Section::Iommu(pages) | Section::Ram(pages)) = section;
        if self.attachment(number).is_none_or(|attachment| attachment.is_deaf) {
            let held = self.seat(number).held_in(pages);
            self.unfollowed(run, number, held);
            return Ok(());
        }
        self.unmap(run, number, pages)?;
        if let Some(attachment) = self.attachment(number) {
            attachment.gone.push(section);
        }
        if let Section::Iommu(pages) = section {
            self.shrink(run, number, pages);
        }
        Ok(())
    }

    /// `step`: goes on with the first replay that is under way; returns whether all are over.
    pub(crate) fn sections_step(&mut self, run: &mut Run<'_>, number: usize) -> Result<bool, Thrown> {
        let pieces = |world: &mut Self| world.attachment(number).map(|one| one.pieces.clone()).unwrap_or_default();
        let Some((index, mut piece)) = pieces(self).into_iter().enumerate().find(|(_, piece)| piece.is_replaying)
        else {
            return Ok(true);
        };
        self.replay(run, number, &mut piece, 1)?;
        if let Some(place) = self.attachment(number).and_then(|one| one.pieces.get_mut(index)) {
            *place = piece;
        }
        Ok(pieces(self).iter().all(|piece| !piece.is_replaying))
    }

    /// `Attachment.stop`: listens to nothing more; what is mapped stays.
    pub(crate) fn stop(&mut self, number: usize) {
        let Some(attachment) = self.attachment(number) else { return };
        attachment.is_deaf = true;
        for piece in core::mem::take(&mut attachment.pieces) {
            self.unregister(piece.notifier);
        }
    }

    /// `#unfollowed`: a container that failed does not follow the rest of the transaction in which it did.
    fn unfollowed(&mut self, run: &mut Run<'_>, number: usize, ranges: impl IntoIterator<Item = Pages>) {
        let was_alive = self.attachment(number).is_some_and(|attachment| attachment.was_alive);
        if self.seat(number).failure.is_none() || !was_alive {
            return;
        }
        for pages in ranges {
            self.give_up_on(run, number, pages);
        }
    }

    /// `#join`, and `IommuPiece.joined`.
    fn join(&mut self, number: usize) {
        let Some(attachment) = self.attachment(number) else { return };
        if attachment.pieces.iter().any(|piece| piece.is_replaying) {
            return;
        }
        let mut sorted = core::mem::take(&mut attachment.pieces);
        sorted.sort_by_key(|piece| piece.range.first);
        let mut groups: Vec<Vec<Piece>> = Vec::new();
        for piece in sorted {
            match groups.last_mut() {
                Some(group) if group.last().is_some_and(|before| before.range.last + 1 == piece.range.first) => {
                    group.push(piece);
                }
                _ => groups.push(vec![piece]),
            }
        }
        let mut pieces = Vec::new();
        for group in groups {
            if let ([first, .., last], false) = (group.as_slice(), group.len() < 2) {
                let range = Pages { first: first.range.first, last: last.range.last };
                pieces.push(self.start(number, range, None));
                for piece in &group {
                    self.unregister(piece.notifier);
                }
            } else {
                pieces.extend(group);
            }
        }
        if let Some(attachment) = self.attachment(number) {
            attachment.pieces = pieces;
        }
    }

    /// `#addIommu`.
    fn add_iommu(&mut self, run: &mut Run<'_>, number: usize, range: Pages) -> Result<(), Thrown> {
        let mut piece = self.start(number, range, Some(range));
        let is_deferred = self.attachment(number).is_some_and(|attachment| attachment.is_deferred);
        if !is_deferred && let Err(thrown) = self.replay(run, number, &mut piece, ALL) {
            // What was mapped before the refusal: nothing but the replay mapped anything here.
            if self.seat(number).failure.is_none() {
                self.unmap(run, number, range)?;
            }
            return Err(thrown);
        }
        if let Some(attachment) = self.attachment(number) {
            attachment.pieces.push(piece);
        }
        Ok(())
    }

    /// A piece with its notifier, which is registered, and the replay of what lies ahead.
    fn start(&mut self, number: usize, range: Pages, ahead: Option<Pages>) -> Piece {
        let id = self.notifiers.iter().map(|notifier| notifier.id + 1).max().unwrap_or(0);
        let walk = ahead.map(|ahead| Walk { position: Some(ahead.first), last: ahead.last, is_stale: false });
        self.notifiers.insert(0, Notifier { id, seat: number, range, walk });
        Piece { range, notifier: id, is_replaying: ahead.is_some(), source: None }
    }

    /// `#shrink`, and `without` of each piece that shrinks.
    fn shrink(&mut self, run: &mut Run<'_>, number: usize, gone: Pages) {
        let Some(attachment) = self.attachment(number) else { return };
        let mut pieces = Vec::new();
        for piece in core::mem::take(&mut attachment.pieces) {
            if piece.range.intersect(gone).is_none() {
                pieces.push(piece);
                continue;
            }
            let walk = self.notifiers.iter().find(|one| one.id == piece.notifier).and_then(|one| one.walk.clone());
            let ahead = walk.and_then(|walk| Pages::new(walk.position?, piece.range.last));
            if ahead.is_some() {
                run.saw(Sight::ShrinkEarly);
            }
            for rest in piece.range.outside(gone).into_iter().flatten() {
                let to_walk = ahead.and_then(|ahead| ahead.intersect(rest));
                pieces.push(self.start(number, rest, to_walk));
            }
            self.unregister(piece.notifier);
        }
        if let Some(attachment) = self.attachment(number) {
            attachment.pieces = pieces;
        }
    }
}
