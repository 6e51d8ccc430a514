//! The RTAS calls for DMA windows and VIO devices.

use super::effects::Effects;
use super::machine::SpaprMachine;
use super::memory::{GuestMemory, read_word};
use super::rtas_reply::{RTAS_OK, RTAS_PARAM_ERROR, RtasReply};
use super::token;
use crate::address::Gpa;

/// The most arguments that any of these calls takes.
const MAX_ARGS: usize = 5;

/// Words at the start of a block that a call looks at: token, two numbers, and the most arguments.
pub const RTAS_BLOCK_WORDS: usize = 3 + MAX_ARGS;

/// The page sizes that have a bit in the answer of a query, as page shifts by ascending bit (PAPR, DDW).
const QUERY_SHIFTS: [u32; 9] = [12, 16, 24, 25, 26, 27, 28, 34, 21];

/// Guest-physical addresses have no more bits than these for RTAS.
const REAL: u64 = 0x0fff_ffff_ffff_ffff;

/// Where a byte of an H_RTAS block lies, `offset` bytes after its start.
#[must_use]
pub fn block_address(block: u64, offset: u64) -> Gpa {
    Gpa(block.wrapping_add(offset) & REAL)
}

impl SpaprMachine {
    /// Makes an RTAS call with these arguments, `nret` being the number of words that the guest expects.
    pub fn rtas(&mut self, token: u32, args: &[u32], nret: u32, effects: &mut Effects) -> RtasReply {
        let mut known = [0; MAX_ARGS];
        known.iter_mut().zip(args).for_each(|(to, from)| *to = *from);
        let nargs = u32::try_from(args.len()).unwrap_or(u32::MAX);
        self.rtas_call(token, nargs, known, nret, effects)
    }

    /// H_RTAS: makes the call that a block in guest memory describes, and writes the answer into it. Returns the code
    /// for r3.
    ///
    /// The block is big-endian words: token, number of arguments, number of answers, arguments, answers. It may lie
    /// anywhere; what is not RAM reads as 0 and is not written.
    pub fn rtas_block(&mut self, block: u64, memory: &mut (impl GuestMemory + ?Sized), effects: &mut Effects) -> i64 {
        let at = |offset| block_address(block, offset);
        let mut words = [0; RTAS_BLOCK_WORDS];
        for (word, offset) in words.iter_mut().zip((0..).step_by(4)) {
            *word = read_word(memory, at(offset));
        }
        let (reply, rets) = self.rtas_words(words, effects);
        for (ret, offset) in reply.rets().iter().zip((rets..).step_by(4)) {
            memory.write(at(offset), &ret.to_be_bytes());
        }
        reply.ret
    }

    /// H_RTAS for who has read the first words of the block already: what it answers, and how many bytes after the
    /// block's start the answers are to be written.
    pub fn rtas_words(&mut self, words: [u32; RTAS_BLOCK_WORDS], effects: &mut Effects) -> (RtasReply, u64) {
        let [token, nargs, nret, args @ ..] = words;
        (self.rtas_call(token, nargs, args, nret, effects), 12 + 4 * u64::from(nargs))
    }

    /// Makes a call; arguments beyond the known ones count, and mean nothing.
    fn rtas_call(
        &mut self,
        token: u32,
        nargs: u32,
        args: [u32; MAX_ARGS],
        nret: u32,
        effects: &mut Effects,
    ) -> RtasReply {
        effects.clear();
        let [first, high, low, page, window] = args;
        let buid = u64::from(high) << 32 | u64::from(low);
        let reply = match (token, nargs, nret) {
            (token::QUERY, 3, 5 | 6) => self.query(buid, nret),
            (token::CREATE, 5, 4) => self.create(buid, page, window, effects),
            (token::REMOVE, 1, 1) => self.remove(first, effects),
            (token::RESET, 3, 1) => self.reset_windows(buid, effects),
            // QEMU looks at neither number of answers.
            (token::SET_TCE_BYPASS, 2, _) => self.set_bypass(first, high != 0, effects),
            (token::QUIESCE, 0, _) => {
                self.quiesce(effects);
                Ok(RtasReply::of_status(RTAS_OK))
            }
            (token::QUERY..=token::RESET | token::SET_TCE_BYPASS | token::QUIESCE, ..) => Err(RTAS_PARAM_ERROR),
            _ => return RtasReply::unknown(),
        };
        reply.unwrap_or_else(RtasReply::of_status)
    }

    fn query(&self, buid: u64, nret: u32) -> Result<RtasReply, i32> {
        let phb = self.ddw_phb(buid).ok_or(RTAS_PARAM_ERROR)?;
        let free = u32::try_from(phb.slots().len() - phb.active_windows()).unwrap_or(0);
        let mask = QUERY_SHIFTS
            .iter()
            .enumerate()
            .filter(|(_, shift)| phb.config().pgsz >> **shift & 1 != 0)
            .fold(0, |mask, (bit, _)| mask | 1 << bit);
        // The largest window, in entries: 2^37 where 64 bits can say it, else 2^31. No create is held to it.
        Ok(if nret == 6 {
            RtasReply::success([free, 0x20, 0, mask, 0])
        } else {
            RtasReply::success([free, 0x8000_0000, mask, 0])
        })
    }

    fn create(&mut self, buid: u64, page: u32, window: u32, effects: &mut Effects) -> Result<RtasReply, i32> {
        let made = self.ddw_phb_mut(buid).ok_or(RTAS_PARAM_ERROR)?.create(page, window, effects)?;
        let [high, low] = [(made.bus_offset.0 >> 32) as u32, (made.bus_offset.0 & 0xffff_ffff) as u32];
        Ok(RtasReply::success([made.liobn, high, low]))
    }

    fn remove(&mut self, liobn: u32, effects: &mut Effects) -> Result<RtasReply, i32> {
        self.owner_mut(liobn).ok_or(RTAS_PARAM_ERROR)?.remove(liobn, effects)?;
        Ok(RtasReply::of_status(RTAS_OK))
    }

    fn reset_windows(&mut self, buid: u64, effects: &mut Effects) -> Result<RtasReply, i32> {
        self.ddw_phb_mut(buid).ok_or(RTAS_PARAM_ERROR)?.reset(effects);
        Ok(RtasReply::of_status(RTAS_OK))
    }

    fn set_bypass(&mut self, unit: u32, on: bool, effects: &mut Effects) -> Result<RtasReply, i32> {
        self.vio_mut(unit).ok_or(RTAS_PARAM_ERROR)?.set_bypass(on, effects);
        Ok(RtasReply::of_status(RTAS_OK))
    }
}
