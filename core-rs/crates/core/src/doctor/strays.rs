//! What no line of QEMU's log explains, and the end of the logs.

use super::finding::{Example, FindingKind, News, Proof, Source};
use super::guest::Wanted;
use super::history::Moment;
use super::host::{HostMap, Origin};
use super::input::{Input, Need};
use super::kernel_side::Event;
use super::operation::EXISTS;
use super::stderr_side::Refusal;
use super::{Doctor, Missing};
use crate::trace::kernel::HostEvent;
use crate::trace::stderr::Failure;

impl Doctor {
    /// Takes what the other logs told without an operation.
    #[inline]
    pub(super) fn take_strays(&mut self) {
        if self.kernel.given || self.stderr.given {
            self.take_all_strays();
        }
    }

    fn take_all_strays(&mut self) {
        if !self.kernel.prior.is_empty() {
            for event in core::mem::take(&mut self.kernel.prior) {
                self.take_prior(&event);
            }
        }
        if !self.kernel.stray.is_empty() {
            let strays = core::mem::take(&mut self.kernel.stray);
            for event in &strays {
                self.take_stray(event);
            }
        }
        if !self.stderr.stray.is_empty() {
            let strays = core::mem::take(&mut self.stderr.stray);
            for refusal in &strays {
                self.unmatched(refusal);
            }
        }
    }

    #[inline(never)]
    fn stray(&self, kind: FindingKind, source: Source, line: u64, start: u64, last: u64) -> News {
        News {
            kind,
            errno: 0,
            window: self.guest.region(start).map_or(u64::MAX, |region| region.id),
            source,
            line,
            start,
            last,
            page_shift: 12,
            replayed: false,
            saved: 0,
            example: Example { iova: start, ..Example::default() },
            call: None,
            proof: if source == Source::Kernel { Proof::Kernel } else { Proof::Stderr },
            hotplug: self.hotplug(),
            lasts: false,
        }
    }

    fn take_stray(&mut self, event: &Event) {
        let Event { start, last, line, value, .. } = *event;
        match event.event {
            HostEvent::Map => {
                let mut news = self.stray(FindingKind::Unexplained, Source::Kernel, line, start, last);
                news.example.host = Some(value);
                news.example.kernel = line;
                news.lasts = true;
                let finding = self.findings.add(&news);
                if self.history.is_at(start, last) {
                    self.history.on_host(self.line, Moment::HostMapped, value, 0, line, 0);
                }
                if self.host.overlap(start, last).is_none() {
                    let mut map = HostMap::new(last, Origin::Nobody, self.line);
                    map.physical = Some(value);
                    map.kernel = line;
                    self.host.insert(start, map);
                }
                self.mark(start, finding);
            }
            HostEvent::Unmap => self.vanished(event),
            HostEvent::Fault => self.faulted(event),
            HostEvent::Lost => {}
        }
    }

    /// What the kernel did before QEMU's log began is there, whoever asked for it.
    fn take_prior(&mut self, event: &Event) {
        let Event { start, last, line, value, .. } = *event;
        if event.event == HostEvent::Unmap {
            for (at, _) in self.host.held(start, last) {
                self.host.remove(at);
            }
        } else if self.host.overlap(start, last).is_none() {
            let mut map = HostMap::new(last, Origin::Entry, 0);
            map.physical = Some(value);
            map.kernel = line;
            self.host.insert(start, map);
        }
    }

    /// The kernel unmapped what nobody told it to.
    fn vanished(&mut self, event: &Event) {
        let Event { start, last, line, .. } = *event;
        if self.history.is_at(start, last) {
            self.history.on_host(self.line, Moment::HostUnmapped, last - start + 1, 0, line, 0);
        }
        let held = self.host.held(start, last);
        for (at, map) in held.into_iter().filter(|(at, map)| *at >= start && map.last <= last) {
            self.lose(at, self.line);
            if map.origin == Origin::Nobody {
                continue;
            }
            let mut news = self.stray(FindingKind::MappingMissing, Source::Kernel, line, at, map.last);
            news.lasts = true;
            news.example.kernel = line;
            news.example.held_since = map.line;
            news.example.now = map.target.map(|target| target.page | u64::from(target.perm.unwrap_or(0)));
            let finding = self.findings.add(&news);
            self.missing.insert(at, Missing { last: map.last, finding });
        }
    }

    fn faulted(&mut self, event: &Event) {
        let Event { start, line, value, .. } = *event;
        let (wanted, _) = self.guest.wanted(&self.machine, start);
        let mapped =
            matches!(wanted, Wanted::Page(_)) || self.missing.upto(start).is_some_and(|(_, one)| one.last >= start);
        let kind = if mapped { FindingKind::FaultMapped } else { FindingKind::FaultUnmapped };
        let mut news = self.stray(kind, Source::Kernel, line, start & !0xfff, start | 0xfff);
        news.example.iova = start;
        news.example.kernel = line;
        news.example.other = Some(value);
        if let Wanted::Page(target) = wanted {
            news.example.now = Some(target.page | u64::from(target.perm.unwrap_or(0)));
        }
        self.findings.add(&news);
        if self.history.is_at(start & !0xfff, start | 0xfff) {
            self.history.on_host(self.line, Moment::Faulted, value, 0, line, 0);
        }
    }

    /// QEMU printed a failure that no operation explains.
    fn unmatched(&mut self, refusal: &Refusal) {
        let kind = match refusal.failure {
            Failure::NotMemory => FindingKind::NotMemory,
            // Whatever the log lacks: the host lacks the page.
            Failure::Map if refusal.errno != EXISTS => FindingKind::MappingMissing,
            _ => FindingKind::FailureUnmatched,
        };
        let (start, last) = (refusal.start.unwrap_or(0), refusal.last.unwrap_or(u64::MAX));
        let mut news = self.stray(kind, Source::Stderr, refusal.line, start, last.max(start));
        news.errno = refusal.errno;
        news.example.stderr = refusal.line;
        news.example.other = refusal.memory;
        self.findings.add(&news);
    }

    /// The kernel frees what a container held when that is closed.
    pub(super) fn disconnected(&mut self) {
        self.resolve_all();
        if self.guest.regions.is_empty() {
            self.leave_container();
        }
    }

    /// Nothing of the guest's entries can be on a host that has no container.
    pub(super) fn leave_container(&mut self) {
        let held = self.host.held(0, u64::MAX);
        for (at, _) in held.into_iter().filter(|(_, map)| map.origin != Origin::Memory) {
            self.lose(at, self.line);
        }
        self.limit = None;
    }

    /// The log of QEMU is at its end, or far enough.
    pub(super) fn finish(&mut self, kernel: &mut Input<'_>, stderr: &mut Input<'_>) -> Need {
        if self.open.is_some() {
            let time = self.open.as_ref().and_then(|open| open.time);
            if let Some(need) = self.read_ahead(time, kernel, stderr) {
                return need;
            }
            self.close(None);
        }
        self.resolve_all();
        if let Some(replay) = self.replay.as_mut() {
            // It may go on where the log does not: what was not told so far is not left out.
            replay.cut = true;
            self.end_replay(None);
        }
        let whole = self.parser_is_done();
        while whole && self.kernel.given && !self.kernel.is_ended() {
            let more = self.kernel.fill_one(kernel);
            self.take_left();
            if !more {
                return Need::Kernel;
            }
        }
        self.take_left();
        while whole && self.stderr.given {
            let more = self.stderr.fill(stderr);
            while let Some(refusal) = self.stderr.next_left() {
                self.unmatched(&refusal);
            }
            if !more {
                return Need::Stderr;
            }
            if self.stderr.is_ended() {
                break;
            }
        }
        self.machine.finish_log();
        self.judge();
        self.findings.close(self.parser.lines());
        self.finished = true;
        Need::Nothing
    }

    /// Whether QEMU's log was read to its end and not only up to a limit.
    fn parser_is_done(&self) -> bool {
        self.options.hotplug == 0 && self.limits == crate::trace::parser::Limits::NONE
    }

    /// Takes the kernel's events after QEMU's last line: when QEMU ends, the kernel unmaps what is mapped.
    fn take_left(&mut self) {
        if !self.parser_is_done() {
            return;
        }
        let newest = self.times().map(|(_, newest)| newest);
        while let Some(event) = self.kernel.next_left() {
            if event.event == HostEvent::Fault {
                self.faulted(&event);
                continue;
            }
            let ours = self.kernel.belongs(&event);
            // Threads that only end QEMU have logged nothing: they are known by their name, and by what they unmap.
            let maybe = event.event == HostEvent::Unmap && self.kernel.may_belong(&event);
            if !(ours || maybe) {
                self.kernel.counts.foreign += 1;
                continue;
            }
            let Event { start, last, .. } = event;
            if ours && self.kernel.is_before(&event, newest) {
                self.kernel.counts.unexplained += 1;
                self.take_stray(&event);
                continue;
            }
            let held = self.host.held(start, last);
            if held.is_empty() && !ours {
                self.kernel.counts.foreign += 1;
                continue;
            }
            self.kernel.counts.exit += 1;
            // What was wrong about a mapping was so to the log's end; what is mapped after that is nobody's business.
            for (at, map) in held {
                if event.event == HostEvent::Unmap && at >= start && map.last <= last {
                    self.host.remove(at);
                }
            }
        }
    }
}
