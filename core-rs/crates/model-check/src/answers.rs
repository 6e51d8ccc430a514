//! What hosts answer.

use core::fmt;

/// What the hosts answer to the calls of one act, in order: `true` where they do what they are asked. To what comes
/// after the last one they say yes.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Answers(pub Vec<bool>);

impl Answers {
    /// How many are refusals.
    #[must_use]
    pub fn refusals(&self) -> usize {
        self.0.iter().filter(|answer| !**answer).count()
    }

    /// The same answers, yes to some more, and then no: `at` is the number of the call that is refused.
    #[must_use]
    pub fn refusing(&self, at: usize) -> Self {
        let mut answers = self.0.clone();
        answers.resize(at, true);
        answers.push(false);
        Self(answers)
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("yes to all");
        }
        for (call, answer) in self.0.iter().enumerate() {
            let gap = if call == 0 { "" } else { "," };
            write!(f, "{gap}{}", if *answer { "yes" } else { "no" })?;
        }
        Ok(())
    }
}
