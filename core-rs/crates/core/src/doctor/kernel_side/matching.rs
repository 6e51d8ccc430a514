//! Finds the kernel's events for what QEMU asked.

use super::{
    AHEAD, Asked, BOOT, DRIFT, Event, HostEvent, JUMP, JUMPS, KernelSide, Offset, SETTLED, Seen, TRIES, signed,
};

impl KernelSide {
    /// The event that begins what was asked for: where it stands in the queue.
    fn search(&mut self, event: HostEvent, asked: &Asked) -> Option<usize> {
        let ahead = if self.counts.maps == 0 && self.tries >= TRIES { BOOT } else { AHEAD };
        let mut passed = 0;
        self.doubt = false;
        for (at, one) in self.queue.iter().enumerate() {
            if !self.is_ours(one) || one.event == HostEvent::Fault {
                continue;
            }
            let fits = one.event == event
                && match event {
                    HostEvent::Map => one.start == asked.start && one.last <= asked.last,
                    _ => one.start >= asked.start && one.last <= asked.last,
                };
            if fits && self.is_due(one, asked) {
                return Some(at);
            }
            if fits && passed == 0 {
                // The very next event is what was asked for, but later than it should be.
                self.doubt = true;
                self.jumps += 1;
                return None;
            }
            passed += 1;
            if passed >= ahead {
                break;
            }
        }
        None
    }

    /// Takes an event from the front, whose place was searched for; what stands before it is explained by nothing.
    fn take(&mut self, at: usize) -> Option<Event> {
        let first = self.counts.maps == 0 && self.counts.unmaps == 0;
        for _ in 0..at {
            let event = self.queue.pop_front()?;
            match event.event {
                HostEvent::Fault => self.fault(event),
                HostEvent::Lost => self.counts.lost += event.value.max(1),
                _ if first && self.is_ours(&event) => {
                    self.counts.prior += 1;
                    self.prior.push(event);
                }
                _ if self.is_ours(&event) => self.stray(event),
                _ => self.counts.foreign += 1,
            }
        }
        self.queue.pop_front()
    }

    /// What the kernel did when it was asked to map; `None` if it did not.
    pub(in crate::doctor) fn take_map(&mut self, asked: &Asked) -> Option<Seen> {
        self.tries = self.tries.saturating_add(1);
        self.late |= !self.begun;
        let fresh = core::mem::take(&mut self.fresh);
        let at = self.search(HostEvent::Map, asked)?;
        self.anchored |= fresh && self.is_next(at);
        let first = self.take(at)?;
        self.belong(&first);
        self.learn(&first, asked);
        self.counts.maps += 1;
        let mut seen = Seen { physical: Some(first.value), line: first.line };
        let mut covered = first.last;
        while covered < asked.last {
            let Some(next) = self.next_of(&first) else { break };
            let Some(event) = self.queue.get(next).copied() else { break };
            if event.event != HostEvent::Map || event.start != covered + 1 || event.last > asked.last {
                break;
            }
            if seen.physical.and_then(|to| to.checked_add(event.start - asked.start)) != Some(event.value) {
                seen.physical = None;
            }
            covered = event.last;
            self.take(next);
            self.counts.maps += 1;
        }
        if !self.is_anchored() {
            // Perhaps it is of another time.
            seen.physical = None;
        }
        if covered < asked.last {
            // It could not be mapped whole: the kernel takes back what it had done.
            let undone = Asked { last: covered, ..*asked };
            self.take_unmaps(&undone, covered - asked.start + 1);
            return None;
        }
        Some(seen)
    }

    /// The next event of the same thread, past faults and what others did.
    fn next_of(&self, first: &Event) -> Option<usize> {
        self.queue.iter().take(AHEAD).position(|one| one.thread == first.thread && one.event != HostEvent::Fault)
    }

    /// Takes the unmaps of what was asked for, of which `expected` bytes are there; returns the ranges.
    pub(in crate::doctor) fn take_unmaps(&mut self, asked: &Asked, expected: u64) -> Vec<(u64, u64, u64)> {
        self.late |= !self.begun;
        let mut done: Vec<(u64, u64, u64)> = Vec::new();
        let mut bytes = 0u64;
        while expected == 0 || bytes < expected {
            let Some(at) = self.search(HostEvent::Unmap, asked) else { break };
            if (expected == 0 || !done.is_empty()) && !self.is_next(at) {
                break;
            }
            let Some(event) = self.take(at) else { break };
            if done.is_empty() {
                self.belong(&event);
                self.learn(&event, asked);
            }
            self.counts.unmaps += 1;
            bytes = bytes.saturating_add(event.last - event.start + 1);
            match done.last_mut() {
                Some((_, last, _)) if last.checked_add(1) == Some(event.start) => *last = event.last,
                _ => done.push((event.start, event.last, event.line)),
            }
        }
        done
    }

    /// Whether nothing of QEMU's stands before a place of the queue.
    fn is_next(&self, at: usize) -> bool {
        !self.queue.iter().take(at).any(|one| self.is_ours(one) && one.event != HostEvent::Fault)
    }

    /// Draws the clocks' offset from a match: QEMU logs before it asks, and the kernel when it is done.
    fn learn(&mut self, event: &Event, asked: &Asked) {
        let (Some(host), Some(time)) = (event.time.and_then(signed), asked.time.and_then(signed)) else { return };
        let found = time - host;
        let idle = event.time.zip(self.matched_at).map_or(0, |(now, before)| now.saturating_sub(before));
        self.matched_at = event.time;
        match self.offset.as_mut() {
            None => self.offset = Some(Offset { first: found, newest: found, matches: 1 }),
            Some(offset) => {
                offset.matches += 1;
                if offset.matches > SETTLED && found - offset.newest > JUMP + signed(idle).unwrap_or(0) / DRIFT {
                    self.jumps += JUMPS + 1;
                }
                // The quickest answer is nearest to the truth; clocks drift, so that it fades.
                let fade = (offset.newest - found) / 64;
                offset.newest = if found > offset.newest { found } else { offset.newest - fade };
            }
        }
    }
}
