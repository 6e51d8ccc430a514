//! Hypercalls as a processor makes them: in registers.

use super::effects::Effects;
use super::machine::SpaprMachine;
use super::memory::GuestMemory;

/// Opcode of H_GET_TCE.
pub const H_GET_TCE: u64 = 0x1c;
/// Opcode of H_PUT_TCE.
pub const H_PUT_TCE: u64 = 0x20;
/// Opcode of H_STUFF_TCE.
pub const H_STUFF_TCE: u64 = 0x138;
/// Opcode of H_PUT_TCE_INDIRECT.
pub const H_PUT_TCE_INDIRECT: u64 = 0x13c;
/// Opcode of H_RTAS, KVM's way to RTAS.
pub const H_RTAS: u64 = 0xf000;

/// r3 to r12: the opcode and its arguments before a call; the return code, and what else it answers, after it.
pub type Registers = [u64; 10];

impl SpaprMachine {
    /// Makes the hypercall that the registers say, and changes them as it does. Returns whether it is one of these: if
    /// not, nothing is changed.
    pub fn hcall(
        &mut self,
        registers: &mut Registers,
        memory: &mut (impl GuestMemory + ?Sized),
        effects: &mut Effects,
    ) -> bool {
        let [opcode, r4, r5, r6, r7, ..] = *registers;
        let ret = match opcode {
            H_PUT_TCE => self.h_put_tce(r4, r5, r6, effects),
            H_STUFF_TCE => self.h_stuff_tce([r4, r5, r6, r7], effects),
            H_PUT_TCE_INDIRECT => self.h_put_tce_indirect([r4, r5, r6, r7], memory, effects),
            H_RTAS => self.rtas_block(r4, memory, effects),
            H_GET_TCE => {
                effects.clear();
                match self.h_get_tce(r4, r5) {
                    Ok(tce) => {
                        registers[1] = tce;
                        0
                    }
                    Err(ret) => ret,
                }
            }
            _ => return false,
        };
        registers[0] = ret.cast_unsigned();
        true
    }
}
