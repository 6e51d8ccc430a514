//! The bus, of which RAM can hide a page: packages/memory-api/address_space.ts and _delivery.ts.

use crate::pages::Pages;
use crate::run::Run;
use crate::seat::Section;
use crate::sight::Sight;
use crate::world::{Thrown, World};

impl World {
    /// What the bus shows, ascending.
    #[must_use]
    pub fn sections(&self, hidden: u32) -> Vec<Section> {
        let all = Pages { first: 0, last: self.table.pages() - 1 };
        if !self.is_hidden {
            return vec![Section::Iommu(all)];
        }
        let [before, after] = all.outside(Pages::one(hidden));
        let iommu = |pages: Option<Pages>| pages.map(Section::Iommu);
        [iommu(before), Some(Section::Ram(Pages::one(hidden))), iommu(after)].into_iter().flatten().collect()
    }

    /// `addListener`: tells of all sections that are there; if one is refused, tells back those before it.
    pub(crate) fn add_listener(&mut self, run: &mut Run<'_>, number: usize) -> Result<(), Thrown> {
        self.sections_begin(number);
        let mut told = Vec::new();
        for section in self.sections(run.setup.hidden) {
            if let Err(thrown) = self.region_add(run, number, section) {
                for section in told.into_iter().rev() {
                    // What fails here is told once more, by whoever gives the attach up.
                    let _ = self.region_del(run, number, section);
                }
                self.sections_commit(number);
                return Err(thrown);
            }
            told.push(section);
        }
        self.sections_commit(number);
        self.listeners.push(number);
        Ok(())
    }

    /// RAM hides a page of the IOMMU, or goes away again: `Delivery.deliver`.
    ///
    /// # Errors
    /// If a listener refused: the bus is as before then, or a deletion failed, and it is not.
    pub fn change_bus(&mut self, run: &mut Run<'_>, hides: bool) -> Result<(), Thrown> {
        let page = Pages::one(run.setup.hidden);
        let (iommu, ram) = (Section::Iommu(page), Section::Ram(page));
        let (gone, come) = if hides { (iommu, ram) } else { (ram, iommu) };
        let listeners = self.listeners.clone();
        listeners.iter().for_each(|number| self.sections_begin(*number));
        let mut told: Vec<(usize, Section, bool)> = Vec::new();
        let mut outcome = Ok(());
        for number in listeners.iter().rev() {
            if self.listeners.contains(number) {
                told.push((*number, gone, false));
                outcome = self.region_del(run, *number, gone).and(outcome);
            }
        }
        self.is_hidden = hides;
        for number in listeners.clone() {
            if !self.listeners.contains(&number) {
                continue;
            }
            if let Err(thrown) = self.region_add(run, number, come) {
                self.tell_back(run, told);
                self.is_hidden = !hides;
                self.commit_all(&listeners);
                return Err(thrown);
            }
            told.push((number, come, true));
        }
        self.commit_all(&listeners);
        outcome
    }

    /// `#commit` of each that has not left meanwhile.
    fn commit_all(&mut self, listeners: &[usize]) {
        for number in listeners {
            if self.listeners.contains(number) {
                self.sections_commit(*number);
            }
        }
    }

    /// `#undo`: everything is told back in reverse.
    fn tell_back(&mut self, run: &mut Run<'_>, told: Vec<(usize, Section, bool)>) {
        run.saw(Sight::ToldBack);
        for (number, section, is_added) in told.into_iter().rev() {
            if !self.listeners.contains(&number) {
                continue;
            }
            // What fails here is in the containers' own failures.
            let _ =
                if is_added { self.region_del(run, number, section) } else { self.region_add(run, number, section) };
        }
    }
}
