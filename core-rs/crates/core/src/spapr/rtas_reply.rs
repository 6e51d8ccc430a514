//! What an RTAS call answers.

use crate::hcall::{H_PARAMETER, H_SUCCESS};

/// Done.
pub const RTAS_OK: i32 = 0;
/// The hardware failed: no window is free, or it would be too large.
pub const RTAS_HW_ERROR: i32 = -1;
/// A parameter is wrong.
pub const RTAS_PARAM_ERROR: i32 = -3;

/// What an RTAS call answers: a code for r3, and the words that it writes after its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RtasReply {
    /// The return code of H_RTAS. Success also where the status says otherwise, unless there is no such call.
    pub ret: i64,
    rets: [u32; 6],
    written: u8,
}

impl RtasReply {
    /// The words that are written, the status first: also where the guest declared fewer. After an error it is the
    /// status alone, and the others keep what was there.
    #[must_use]
    pub fn rets(&self) -> &[u32] {
        self.rets.get(..usize::from(self.written)).unwrap_or(&self.rets)
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> i32 {
        self.rets[0].cast_signed()
    }

    /// A status and nothing else.
    #[must_use]
    pub fn of_status(status: i32) -> Self {
        Self { ret: H_SUCCESS, rets: [status.cast_unsigned(), 0, 0, 0, 0, 0], written: 1 }
    }

    /// There is no call with this token.
    pub(super) fn unknown() -> Self {
        Self { ret: H_PARAMETER, ..Self::of_status(RTAS_PARAM_ERROR) }
    }

    /// Success, with five words at most.
    pub(super) fn success<const N: usize>(words: [u32; N]) -> Self {
        let mut reply = Self::of_status(RTAS_OK);
        for (to, from) in reply.rets.iter_mut().skip(1).zip(words) {
            *to = from;
            reply.written += 1;
        }
        reply
    }
}
