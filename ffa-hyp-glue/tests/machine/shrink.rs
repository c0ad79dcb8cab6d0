//! Makes little of a script that fails.

use crate::tape::{LEN, Words};

/// Runs that shrinking may take.
const MOST: u32 = 20_000;

/// What a script is drawn from.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    pub machine: Words,
    pub steps: Vec<Words>,
}

/// The simplest that was found of which `fails` is true, as it is of `draft`.
pub fn shrink(draft: Draft, fails: impl FnMut(&Draft) -> bool) -> Draft {
    let mut search = Search { best: draft, fails, left: MOST };
    loop {
        let before = search.best.clone();
        search.drop_steps();
        search.lessen_numbers();
        if search.best == before || search.left == 0 {
            return search.best;
        }
    }
}

struct Search<F> {
    best: Draft,
    fails: F,
    left: u32,
}

impl<F: FnMut(&Draft) -> bool> Search<F> {
    /// Takes this for the best if it fails as well.
    fn is_better(&mut self, draft: Draft) -> bool {
        if self.left == 0 || draft == self.best {
            return false;
        }
        self.left -= 1;
        let better = (self.fails)(&draft);
        if better {
            self.best = draft;
        }
        better
    }

    /// Leaves out half of the steps, a quarter, and so on to single ones.
    fn drop_steps(&mut self) {
        let mut len = self.best.steps.len();
        while len > 0 {
            let mut at = 0;
            while at < self.best.steps.len() {
                let mut draft = self.best.clone();
                draft.steps.drain(at..draft.steps.len().min(at + len));
                if !self.is_better(draft) {
                    at += len;
                }
            }
            len /= 2;
        }
    }

    fn lessen_numbers(&mut self) {
        for step in 0..=self.best.steps.len() {
            for at in 0..LEN {
                let get = |draft: &Draft| draft.steps.get(step).unwrap_or(&draft.machine)[at];
                let with = |this: &mut Self, value| {
                    let mut draft = this.best.clone();
                    match draft.steps.get_mut(step) {
                        Some(words) => words[at] = value,
                        None => draft.machine[at] = value,
                    }
                    this.is_better(draft)
                };
                if get(&self.best) == 0 || with(self, 0) {
                    continue;
                }
                // The smallest that will do, if whatever is larger does as well.
                let (mut too_small, mut small) = (0, get(&self.best));
                while small - too_small > 1 {
                    let middle = too_small + (small - too_small) / 2;
                    if with(self, middle) {
                        small = middle;
                    } else {
                        too_small = middle;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_is_left_out() {
        let mut words = [0; LEN];
        words[3] = 4711;
        let noise = |n: u16| [0; LEN].map(|_| n);
        let steps = (0..100).map(|n| if n == 77 { words } else { noise(n) }).collect();
        let small = shrink(Draft { machine: noise(9), steps }, |draft| {
            draft.steps.iter().any(|words| words[3] >= 1000)
        });
        let mut expected = [0; LEN];
        expected[3] = 1000;
        assert_eq!(small, Draft { machine: [0; LEN], steps: vec![expected] });
    }
}
