//! The hypercalls, with the full 64 bits of every argument.

use super::effects::Effects;
use super::machine::SpaprMachine;
use super::memory::GuestMemory;
use crate::address::Gpa;
use crate::hcall::{self, H_HARDWARE, H_PARAMETER, Written};
use crate::tce_table::{Change, TceTable};

/// Bytes of the list of an H_PUT_TCE_INDIRECT at most: a page.
const LIST_BYTES: usize = 4096;

impl SpaprMachine {
    /// H_PUT_TCE: stores one entry. Returns the code for r3.
    pub fn h_put_tce(&mut self, liobn: u64, ioba: u64, tce: u64, effects: &mut Effects) -> i64 {
        self.write(liobn, effects, |table, change| hcall::h_put_tce(table, ioba, tce, change))
    }

    /// H_GET_TCE: the raw entry, for r4.
    ///
    /// # Errors
    /// The code for r3; r4 keeps its value then.
    pub fn h_get_tce(&self, liobn: u64, ioba: u64) -> Result<u64, i64> {
        let table = self.table(liobn).ok_or(H_PARAMETER)?.try_borrow().map_err(|_| H_HARDWARE)?;
        hcall::h_get_tce(&table, ioba)
    }

    /// H_PUT_TCE_INDIRECT: stores entries from a list in guest memory. What of it is not RAM reads as zeros.
    pub fn h_put_tce_indirect(
        &mut self,
        [liobn, ioba, list, npages]: [u64; 4],
        memory: &(impl GuestMemory + ?Sized),
        effects: &mut Effects,
    ) -> i64 {
        effects.clear();
        let count = match hcall::check_indirect(list, npages) {
            Ok(count) => count as usize,
            Err(ret) => return ret,
        };
        let mut bytes = [0; LIST_BYTES];
        let (bytes, _) = bytes.split_at_mut(LIST_BYTES.min(count * size_of::<u64>()));
        memory.read(Gpa(list), bytes);
        let (words, _) = bytes.as_chunks();
        let values: Vec<u64> = words.iter().map(|word| u64::from_be_bytes(*word)).collect();
        self.h_put_tce_list(liobn, ioba, &values, effects)
    }

    /// H_PUT_TCE_INDIRECT for who has read the list already, after [`check_indirect`](hcall::check_indirect).
    pub fn h_put_tce_list(&mut self, liobn: u64, ioba: u64, values: &[u64], effects: &mut Effects) -> i64 {
        self.write(liobn, effects, |table, change| hcall::h_put_tce_indirect(table, ioba, values, change))
    }

    /// H_STUFF_TCE: stores one value in consecutive entries.
    pub fn h_stuff_tce(&mut self, [liobn, ioba, tce, npages]: [u64; 4], effects: &mut Effects) -> i64 {
        self.write(liobn, effects, |table, change| hcall::h_stuff_tce(table, ioba, tce, npages, change))
    }

    /// Makes a call that writes. It clears `change` itself.
    #[inline]
    fn write(
        &mut self,
        liobn: u64,
        effects: &mut Effects,
        call: impl FnOnce(&mut TceTable, &mut Change) -> Written,
    ) -> i64 {
        effects.clear_others();
        let Some(found) = self.table(liobn) else {
            effects.clear();
            return H_PARAMETER;
        };
        // Only a caller that holds a borrow over the call can be in the way.
        let Ok(mut table) = found.try_borrow_mut() else {
            effects.clear();
            return H_HARDWARE;
        };
        effects.writes(found);
        call(&mut table, &mut effects.change).ret
    }
}
