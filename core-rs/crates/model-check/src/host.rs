//! The host: a plain map with the rules of a kernel.

use std::collections::BTreeMap;

use giommu_core::address::{Gpa, IovaRange};
use giommu_core::container::{Coalesce, HolePolicy, HostLimits, Split};
use giommu_core::perm::Perm;

use crate::pages::{PAGE_SHIFT, Pages, joined};

/// What a page reaches, and what a device may do there.
pub type Reach = (Gpa, Perm);

/// A kind of host, with the policy of a container on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HostKind {
    /// VFIO type1: EEXIST on overlap, EINVAL for a part of a map. One map per page.
    Type1,
    /// As [`HostKind::Type1`], and every UNMAP must match one map exactly, as over vfio-user.
    Exact,
    /// iommufd with `HUGE_PAGES=0`: parts are cut out. One map per run.
    Atomic,
    /// As [`HostKind::Type1`] with one map per run; the device is stopped before a part of one goes.
    Quiesced,
    /// As [`HostKind::Type1`] with one map per run, and nobody minds holes: what giommu does only where it is allowed explicitly.
    Holes,
}

impl HostKind {
    /// Whether a part of a map can be unmapped.
    #[must_use]
    pub fn split(self) -> Split {
        if self == Self::Atomic { Split::Atomic } else { Split::None }
    }

    /// How pages share maps.
    #[must_use]
    pub fn coalesce(self) -> Coalesce {
        if matches!(self, Self::Type1 | Self::Exact) { Coalesce::None } else { Coalesce::Full }
    }

    /// What happens when a part of a map must go that the host cannot split.
    #[must_use]
    pub fn holes(self) -> HolePolicy {
        match self {
            Self::Type1 | Self::Exact | Self::Atomic => HolePolicy::Forbid,
            Self::Quiesced => HolePolicy::Quiesce,
            Self::Holes => HolePolicy::Allow,
        }
    }

    /// What its kernel tells of itself.
    #[must_use]
    pub fn limits(self, max_mappings: Option<u32>) -> HostLimits {
        HostLimits {
            page_sizes: 1 << PAGE_SHIFT,
            iova_ranges: vec![IovaRange::ALL],
            max_mappings,
            split: self.split(),
            unmap_wide: self != Self::Exact,
            write_only: true,
            exchange: false,
        }
    }
}

/// Why a host refuses by its own rules, whatever it was going to answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AgainstTheRules;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct HostMap {
    last: u32,
    target: Gpa,
    perm: Perm,
}

/// A host that knows nothing of containers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Host {
    kind: HostKind,
    by_first: BTreeMap<u32, HostMap>,
}

impl Host {
    /// One that holds nothing.
    #[must_use]
    pub fn new(kind: HostKind) -> Self {
        Self { kind, by_first: BTreeMap::new() }
    }

    /// What kind it is.
    #[must_use]
    pub fn kind(&self) -> HostKind {
        self.kind
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_first.is_empty()
    }

    /// What a device would reach.
    #[must_use]
    pub fn translate(&self, page: u32) -> Option<Reach> {
        let (first, map) = self.by_first.range(..=page).next_back()?;
        (page <= map.last).then(|| (map.target.wrapping_add(u64::from(page - first) << PAGE_SHIFT), map.perm))
    }

    /// The pages that it holds, in order, joined.
    #[must_use]
    pub fn held(&self) -> Vec<Pages> {
        joined(self.by_first.iter().map(|(first, map)| Pages { first: *first, last: map.last }).collect())
    }

    /// Every map: pages, target of the first, permission.
    pub fn maps(&self) -> impl Iterator<Item = (Pages, Reach)> {
        self.by_first.iter().map(|(first, map)| (Pages { first: *first, last: map.last }, (map.target, map.perm)))
    }

    /// Maps pages.
    ///
    /// # Errors
    /// Where something is mapped already.
    pub fn map(&mut self, pages: Pages, (target, perm): Reach) -> Result<(), AgainstTheRules> {
        if self.overlapping(pages).next().is_some() || perm.is_none() {
            return Err(AgainstTheRules);
        }
        self.by_first.insert(pages.first, HostMap { last: pages.last, target, perm });
        Ok(())
    }

    /// Unmaps what is mapped in a range; returns how many pages that was.
    ///
    /// # Errors
    /// Where the kind of host cannot do that; nothing is unmapped then.
    pub fn unmap(&mut self, pages: Pages) -> Result<u32, AgainstTheRules> {
        let hit: Vec<(Pages, HostMap)> = self.overlapping(pages).collect();
        let is_exact = matches!(hit.as_slice(), [(only, _)] if *only == pages);
        let is_partial = hit.iter().any(|(held, _)| held.outside(pages).iter().any(Option::is_some));
        if self.kind == HostKind::Exact && !is_exact || is_partial && self.kind.split() == Split::None {
            return Err(AgainstTheRules);
        }
        let mut count = 0;
        for (held, map) in hit {
            self.by_first.remove(&held.first);
            count += held.intersect(pages).map_or(0, |part| part.last - part.first + 1);
            for rest in held.outside(pages).into_iter().flatten() {
                let target = map.target.wrapping_add(u64::from(rest.first - held.first) << PAGE_SHIFT);
                self.by_first.insert(rest.first, HostMap { last: rest.last, target, ..map });
            }
        }
        Ok(count)
    }

    fn overlapping(&self, pages: Pages) -> impl Iterator<Item = (Pages, HostMap)> {
        self.by_first
            .iter()
            .map(|(first, map)| (Pages { first: *first, last: map.last }, *map))
            .filter(move |(held, _)| held.intersect(pages).is_some())
    }
}
