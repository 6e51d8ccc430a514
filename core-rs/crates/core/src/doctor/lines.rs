//! Takes the lines of QEMU's log.

use super::finding::Call;
use super::history::Moment;
use super::operation::Open;
use super::{Doctor, guest};
use crate::trace::hotplug::LiveCall;
use crate::trace::kind::Kind;
use crate::trace::parser::Record;
use crate::trace::rebuilt::GeometrySource;

/// Operations that wait for the line that explains them; only the newest of a long replay can be a live call's.
const WAITING: usize = 1 << 16;
/// As many as one hypercall's list has, for several containers.
const NEWEST: usize = 4096;

impl Doctor {
    /// QEMU looked up an address for a device, or for a replay.
    #[inline]
    pub(super) fn translated(&mut self, record: &Record<'_>) {
        if let Some(replay) = self.replay.as_mut() {
            replay.walked += 1;
            if !self.batch.is_empty() {
                self.resolve_all();
            }
        }
        self.machine.take(record);
        self.history_learned(record);
    }

    /// QEMU told its listeners of a change.
    #[inline]
    pub(super) fn told(&mut self, record: &Record<'_>) {
        let [start, last, ..] = record.fields;
        if last < start {
            return;
        }
        if self.kernel.given {
            self.kernel.thread(record.thread());
        }
        self.counts.told += 1;
        if self.batch.len() >= WAITING {
            let newest = self.batch.split_off(self.batch.len() - NEWEST);
            self.resolve_all();
            self.batch = newest;
        }
        let map = record.text == b"MAP";
        if !map && self.replay.is_some() && self.guest.regions.iter().all(|region| region.liobn.is_none()) {
            // A replay only maps, and where there are no calls nothing else ends it.
            self.resolve_all();
            self.end_replay(None);
        }
        let mut open = Open::told(record, self.now, map, start, last);
        if self.replay.is_some() {
            open.stamp = record.stamp();
            self.stamp(record);
        }
        self.open = Some(open);
    }

    /// The times of the first and the newest line that mattered, and the thread that logged it.
    #[inline(never)]
    fn stamp(&mut self, record: &Record<'_>) {
        if self.kernel.given {
            self.kernel.thread(record.thread());
        }
        if record.is_timed() {
            let stamp = record.stamp();
            let first = self.stamps.map_or(stamp, |(first, _)| first);
            self.stamps = Some((first, stamp));
        }
    }

    /// A guest's call changed a table.
    pub(super) fn called(&mut self, record: &Record<'_>) {
        if self.guest.regions.is_empty() && self.batch.is_empty() {
            self.machine.take(record);
            self.history_called(record, None);
            return;
        }
        self.stamp(record);
        let live = self.machine.live_call(record);
        let containers = live.map_or(0, |live| self.containers(live.liobn));
        let own = live.map_or(0, |live| self.own(&live, containers));
        let own = self.batch.split_off(self.batch.len() - own);
        self.resolve_all();
        if self.replay.is_some() {
            self.end_replay(live.map(|live| (live.range.start().0, live.range.last().0)));
        }
        self.machine.take(record);
        let call = Call { kind: record.kind, line: record.line, fields: record.fields };
        self.history_called(record, live.as_ref());
        for done in &own {
            self.resolve(done, Some(&call));
        }
        if let Some(live) = live
            && containers > 0
            && self.counts.told > 0
            && own.len() as u64 != live.pages.saturating_mul(u64::from(containers))
            && returned(record) == 0
        {
            self.untold(&live, &own, &call);
        }
    }

    /// How many containers hold a table's region.
    fn containers(&self, liobn: u32) -> u32 {
        let count = self.guest.regions.iter().filter(|region| region.liobn == Some(liobn)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// How many of the newest operations a call made: QEMU tells of them, in ascending order, before it logs the call.
    #[inline(never)]
    fn own(&self, live: &LiveCall, containers: u32) -> usize {
        let most = live.pages.saturating_mul(u64::from(containers));
        let mut lowest = None;
        let mut count = 0;
        for done in self.batch.iter().rev() {
            let inside = live.range.start().0 <= done.start && done.last <= live.range.last().0;
            let descends = lowest.is_none_or(|lowest| done.start < lowest || (done.start == lowest && containers > 1));
            if !inside || !descends || count as u64 >= most {
                break;
            }
            lowest = Some(done.start);
            count += 1;
        }
        count
    }

    #[cold]
    pub(super) fn take_rare(&mut self, record: &Record<'_>) {
        self.stamp(record);
        let [first, second, third, fourth, ..] = record.fields;
        match record.kind {
            Kind::RegionAddIommu => self.attached(record),
            Kind::RegionDelIommu => self.detached(record),
            Kind::RegionAddRam => {
                self.resolve_all();
                if self.guest.regions.is_empty() && self.host.len() == 0 {
                    self.kernel.attach(true);
                }
                self.open = Some(Open::memory(record, self.now, true, first, second));
            }
            Kind::RegionDel => {
                self.resolve_all();
                self.open = Some(Open::memory(record, self.now, false, first, second));
            }
            Kind::DisconnectContainer => self.disconnected(),
            Kind::SpaprCreateWindow | Kind::PreregRegister => self.exchanges = true,
            Kind::RegionAddNoDmaMap | Kind::KnownSafeMisalignment => self.learn_host_page(third),
            Kind::VtdWalkOne => {
                let [_, iova, page, mask, perm, ..] = record.fields;
                let last = iova.saturating_add(mask);
                match u8::try_from(perm & 3) {
                    Ok(0) | Err(_) => self.guest.hide(iova, last),
                    Ok(perm) => self.guest.show(iova, last, page, Some(perm)),
                }
                self.walk(record, iova, last);
            }
            Kind::VtdSkipMap => self.guest.show(first, first.saturating_add(second), third, None),
            Kind::VirtioNotifyMap => {
                self.guest.show(first, second, third, Some((fourth & 3) as u8));
                self.walk(record, first, second);
            }
            Kind::VirtioNotifyUnmap => {
                self.guest.hide(first, second);
                self.walk(record, first, second);
            }
            Kind::VirtioRemap => self.guest.show(first, second, third, None),
            Kind::VtdReplay => self.replays_again(record),
            Kind::VtdWalkLevel if self.replay.is_some() => self.walks(record),
            Kind::IommufdMap | Kind::IommufdUnmap => self.unasked(record),
            Kind::NewTable
            | Kind::PostLoad
            | Kind::DdwCreate
            | Kind::DdwRemove
            | Kind::DdwReset
            | Kind::Get
            | Kind::PciGet => {
                self.resolve_all();
                self.machine.take(record);
            }
            Kind::PreSave | Kind::DdwQuery => self.machine.take(record),
            _ => {}
        }
    }

    /// A line of another IOMMU told an entry; what QEMU tells next is because of it.
    fn walk(&mut self, record: &Record<'_>, start: u64, last: u64) {
        self.resolve_all();
        self.walked = Some(Call { kind: record.kind, line: record.line, fields: record.fields });
        if self.history.is_at(start, last) {
            let perm = match record.kind {
                Kind::VtdWalkOne => record.fields.get(4).copied().unwrap_or(0) & 3,
                Kind::VirtioNotifyMap => record.fields.get(3).copied().unwrap_or(0) & 3,
                _ => 0,
            };
            let page = record.fields.get(2).copied().unwrap_or(0);
            let value = if perm == 0 { 0 } else { page | perm };
            self.history.log(record.line, Moment::Called(record.kind), value, 0);
        }
    }

    /// iommufd logged an operation of which QEMU's listeners did not.
    fn unasked(&mut self, record: &Record<'_>) {
        self.resolve_all();
        self.open = Open::iommufd(record, self.now);
    }

    /// A container got a region.
    fn attached(&mut self, record: &Record<'_>) {
        self.resolve_all();
        let [start, last, ..] = record.fields;
        let first = self.guest.regions.is_empty();
        self.begin_replay(record);
        self.guest.add(record.text, start, last);
        self.machine.take(record);
        if first {
            let liobn = self.guest.regions.last().and_then(|region| region.liobn);
            let known = |liobn| self.machine.table(liobn).is_none_or(|table| table.source() != GeometrySource::Assumed);
            self.kernel.attach(liobn.is_none_or(known));
        }
        if self.history.is_at(start, last) {
            let id = self.guest.regions.last().map_or(0, |region| region.id);
            self.history.log(record.line, Moment::Attached, id, 0);
        }
    }

    /// A container lost a region: the section that it was goes with the next line.
    fn detached(&mut self, record: &Record<'_>) {
        self.resolve_all();
        if self.replay.is_some() {
            self.end_replay(None);
        }
        if let Some(region) = self.guest.remove(record.text) {
            let guest::Region { start, last, id, .. } = region;
            if self.history.is_at(start, last) {
                self.history.log(record.line, Moment::Detached, id, 0);
            }
        }
        self.machine.take(record);
        if self.guest.regions.is_empty() {
            self.unplugged();
        }
    }
}

/// What a call returned.
fn returned(record: &Record<'_>) -> u64 {
    let [_, _, _, fourth, fifth, sixth, ..] = record.fields;
    match record.kind {
        Kind::Put | Kind::PciPut => fourth,
        Kind::Stuff | Kind::PciStuff => fifth,
        _ => sixth,
    }
}
