use crate::{AnswerTable, Pace, Span};

/// What becomes of a VM when pages of it must stay quarantined.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Disposal {
    /// The VM stays as a zombie: its reference is kept as long as any page is.
    #[default]
    Zombie,
    /// The pages go to the hypervisor's own list of pages not to be reused, and the VM goes. Its ID stays
    /// retired, and a retry can still get the pages back.
    HandOver,
}

/// When the ID of a dead VM may be used again.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum IdReuse {
    /// When every obligation is met: an SP that was never told of the end would mistake the next VM for this one.
    #[default]
    WhenMet,
    /// When every obligation is met or given up, but for shares, whose pages would be told apart by nothing.
    WhenOver,
}

/// Pace and limits of teardown. Plain data.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Policy {
    /// What answers mean.
    pub answers: AnswerTable,
    /// [`Pace::Fixed`]: the wait after each DENIED.
    pub fixed: Span,
    /// [`Pace::BackOff`]: the first wait, doubled each time.
    pub first: Span,
    /// [`Pace::BackOff`]: the longest wait.
    pub longest: Span,
    /// Tries that [`Verdict::Limited`](crate::Verdict::Limited) allows, at least 1.
    pub tries: u8,
    /// How often in a row an SP that was preempted is resumed before anything else is done, since until it has
    /// finished it takes no message about any other VM. After that it waits like the rest.
    pub runs_first: u8,
    /// What becomes of a VM with quarantined pages.
    pub disposal: Disposal,
    /// When an ID is free again.
    pub id_reuse: IdReuse,
}

impl Policy {
    /// A second after DENIED; 10 ms doubling up to a second for what passes; 8 tries.
    pub const DEFAULT: Self = Self {
        answers: AnswerTable::DEFAULT,
        fixed: Span::from_secs(1),
        first: Span::from_millis(10),
        longest: Span::from_secs(1),
        tries: 8,
        runs_first: 8,
        disposal: Disposal::Zombie,
        id_reuse: IdReuse::WhenMet,
    };

    /// The wait at `pace` after `step` earlier waits, and the step after it. The step stops where the wait does.
    pub(crate) fn wait(&self, pace: Pace, step: u8) -> (Span, u8) {
        match pace {
            Pace::Fixed => (self.fixed, step),
            Pace::BackOff => {
                let doubled = self.first.as_nanos().checked_shl(u32::from(step));
                // `checked_shl` refuses only too many places; bits that fall out show as a smaller number.
                match doubled {
                    Some(nanos)
                        if nanos >> step == self.first.as_nanos() && nanos < self.longest.as_nanos() =>
                    {
                        (Span::from_nanos(nanos), step.saturating_add(1))
                    }
                    _ => (self.longest, step),
                }
            }
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_up_to_the_longest_and_stays_there() {
        let mut step = 0;
        let mut waits = [0; 10];
        for wait in &mut waits {
            let (span, next) = Policy::DEFAULT.wait(Pace::BackOff, step);
            (*wait, step) = (span.as_nanos() / 1_000_000, next);
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000]);
        let endless = Policy { longest: Span::from_nanos(u64::MAX), ..Policy::DEFAULT };
        assert_eq!(endless.wait(Pace::BackOff, 63).0, endless.longest);
        assert_eq!(Policy::DEFAULT.wait(Pace::Fixed, 3), (Span::from_secs(1), 3));
    }
}
