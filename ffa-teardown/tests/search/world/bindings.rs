//! Guests that bind notifications, and SPs that signal them.

use ffa_abi::{Answer, FirmwareStatus, NotificationBitmap, Width};
use ffa_teardown::{BeginError, BindingOutcome, SecureCall, Standing};

use super::{Search, Seen, Step, Work, World};
use crate::answers;
use crate::oracle::{About, Asked, Binding, Kept, Life, Notifications, Rule, Smc, Vm};
use crate::reading::{self, Reading};

/// The bits that a guest binds, each by a call of its own, and unbinds, together or not.
const BITS: [u64; 2] = [1, 1 << 40];
const PARTS: [u64; 3] = [BITS[0], BITS[1], BITS[0] | BITS[1]];

/// What a call of the engine asks of the secure world.
enum Meant {
    Get,
    Unbind(u64),
    Create,
    Destroy,
}

impl Search {
    /// What may happen about notifications. `free`: the guest lives and makes no other call.
    pub(super) fn binding_steps(&self, world: &World, at: usize, free: bool, steps: &mut Vec<Step>) {
        let vm = &world.oracle.vms[at];
        for (position, binding) in vm.bindings.iter().enumerate() {
            let Some(asked) = binding.asked else { continue };
            let running = binding.in_hand;
            let answers = answers::to_service(self.scope.alphabet, self.first_sp(), running);
            let mut answers = self.possible(world, Work::Service, running, answers);
            answers.retain(|answer| self.is_true(vm, asked, binding.bits, answer));
            for answer in answers {
                let unclear =
                    !matches!(reading::read(&answer), Reading::Success { .. } | Reading::Preempted { .. })
                        && (running || !is_refusal(&answer));
                steps.push(Step::AnswerBinding(at, position, answer, false));
                if unclear && self.scope.terms.honest && self.can_be(vm, asked, binding.bits) {
                    steps.push(Step::AnswerBinding(at, position, answer, true));
                }
            }
        }
        let truth = vm.notifications;
        if self.scope.terms.honest && truth.bitmap && truth.bound != 0 && !truth.pending {
            steps.push(Step::Signal(at));
        }
        if free && self.scope.guests.bind {
            let may = |asked, bits: &u64| world.oracle.may_ask(at, asked, *bits);
            steps.extend(
                BITS.into_iter().filter(|bits| may(Asked::Bind, bits)).map(|bits| Step::Bind(at, bits)),
            );
            let parts = PARTS.into_iter().filter(|bits| may(Asked::Unbind, bits));
            steps.extend(parts.map(|bits| Step::Unbind(at, bits)));
        }
    }

    /// Whether an honest secure world can do what is asked.
    fn can_be(&self, vm: &Vm, asked: Asked, bits: u64) -> bool {
        let truth = vm.notifications;
        match asked {
            Asked::Bind => truth.bitmap,
            Asked::Unbind => truth.bound & bits == bits && !truth.pending,
        }
    }

    fn is_true(&self, vm: &Vm, asked: Asked, bits: u64, answer: &Answer) -> bool {
        let success = matches!(reading::read(answer), Reading::Success { .. });
        !(success && self.scope.terms.honest) || self.can_be(vm, asked, bits)
    }

    /// The guest's call begins; what must be refused is refused, and nothing changes.
    pub(super) fn ask(&self, world: &mut World, vm: usize, asked: Asked, bits: u64) {
        let (key, sp) = (world.oracle.key(vm), self.first_sp());
        let begun = match asked {
            Asked::Bind => world.engine.begin_bind(key, sp, NotificationBitmap(bits)).map(|begun| {
                // The bitmap came before.
                world.oracle.demand(Rule::P14, !begun.take_reference);
                begun.id
            }),
            Asked::Unbind => world.engine.begin_unbind(key, sp, NotificationBitmap(bits)),
        };
        match begun {
            Ok(id) => world.oracle.asks(vm, id, asked, bits),
            Err(_) => return world.oracle.demand(Rule::P31, false),
        }
        let mut after = world.engine.clone();
        let busy = PARTS.into_iter().all(|bits| {
            after.begin_bind(key, sp, NotificationBitmap(bits)) == Err(BeginError::Busy)
                && after.begin_unbind(key, sp, NotificationBitmap(bits)) == Err(BeginError::Busy)
        });
        self.see(Seen::Busy, busy);
        world.oracle.demand(Rule::P31, busy && after == world.engine);
    }

    pub(super) fn binding_answered(
        &self,
        world: &mut World,
        vm: usize,
        at: usize,
        answer: &Answer,
        done: bool,
    ) {
        let key = world.oracle.key(vm);
        let Binding { id, bits, asked, in_hand, .. } = world.oracle.vms[vm].bindings[at].clone();
        let (id, asked) = (id.0.expect("begun"), asked.expect("in flight"));
        if done || matches!(reading::read(answer), Reading::Success { .. }) {
            let truth = &mut world.oracle.vms[vm].notifications;
            match asked {
                Asked::Bind => truth.bound |= bits,
                Asked::Unbind => truth.bound &= !bits,
            }
        }
        self.happens(world, Work::Service, in_hand, answer);
        let outcome = match asked {
            Asked::Bind => world.engine.bind_answered(key, id, answer),
            Asked::Unbind => world.engine.unbind_answered(key, id, answer),
        };
        let outcome = outcome.expect("in flight");
        self.see(Seen::InDoubt, outcome == BindingOutcome::Unknown);
        world.oracle.binding_answered(&self.scope.terms, vm, at, answer, outcome);
    }

    /// What the engine's call about notifications comes to, FFA_RUN or not.
    fn meant(vm: &Vm, smc: &Smc) -> Option<Meant> {
        let (drained, own) = match smc.about {
            About::Binding(at) => (vm.bindings[at].drained, Meant::Unbind(vm.bindings[at].bits)),
            About::Kept(at) if vm.kept[at].what == Standing::Bitmap => (vm.kept[at].drained, Meant::Destroy),
            About::NewBitmap => return Some(Meant::Create),
            _ => return None,
        };
        Some(if drained { own } else { Meant::Get })
    }

    /// Whether an honest secure world may say that it has done what the engine asked.
    pub(super) fn may_succeed(&self, vm: &Vm, smc: &Smc) -> bool {
        !self.scope.terms.honest
            || match Self::meant(vm, smc) {
                Some(Meant::Unbind(bits)) => self.can_be(vm, Asked::Unbind, bits),
                Some(Meant::Destroy) => !vm.notifications.pending,
                Some(Meant::Create) => !vm.notifications.bitmap,
                Some(Meant::Get) | None => true,
            }
    }

    /// Whether a kind one does. It is as strict as any: a bitmap in which something is bound stays, and so does what is
    /// not bound, unless the one waits for what was given up for good, or the other for a bitmap that was.
    pub(super) fn succeeds_kindly(&self, vm: &Vm, smc: &Smc) -> bool {
        let truth = vm.notifications;
        let bitmap = |kept: &Kept| kept.what == Standing::Bitmap && !kept.written_off;
        !self.scope.terms.honest
            || match Self::meant(vm, smc) {
                Some(Meant::Unbind(bits)) => {
                    !truth.pending && (truth.bound & bits == bits || !vm.kept.iter().any(bitmap))
                }
                Some(Meant::Destroy) => {
                    !truth.pending
                        && (truth.bound == 0 || vm.bindings.iter().any(|binding| binding.written_off))
                }
                Some(Meant::Create) => !truth.bitmap,
                Some(Meant::Get) | None => true,
            }
    }

    /// What comes of the engine's call in an honest secure world.
    pub(super) fn notifications_after(&self, world: &mut World, vm: usize, answer: &Answer) {
        let one = &mut world.oracle.vms[vm];
        let Some(meant) = one.smc.as_ref().and_then(|smc| Self::meant(one, smc)) else { return };
        let success = matches!(reading::read(answer), Reading::Success { .. });
        let truth = &mut one.notifications;
        let denied = reading::read(answer) == Reading::Error(reading::DENIED);
        self.see(Seen::DeniedPending, denied && truth.pending);
        let running = one.smc.as_ref().is_some_and(|smc| matches!(smc.call, SecureCall::Run { .. }));
        match meant {
            // What has come to an end without a word was done as well.
            Meant::Create => {
                let open = matches!(reading::read(answer), Reading::Preempted { .. });
                let refused = matches!(reading::read(answer), Reading::Error(_)) && !running;
                truth.bitmap |= !open && !refused;
            }
            _ if !success => {}
            Meant::Get => truth.pending = false,
            Meant::Unbind(bits) => truth.bound &= !bits,
            Meant::Destroy => *truth = Notifications::default(),
        }
    }

    /// The kindest answer to a guest's call that is in flight.
    pub(super) fn kind_binding(&self, vm: &Vm, at: usize) -> Option<Step> {
        let position = vm.bindings.iter().position(|binding| binding.asked.is_some())?;
        let binding = &vm.bindings[position];
        let done = answers::success(Width::Smc32, 0);
        let possible = binding.asked.is_some_and(|asked| self.is_true(vm, asked, binding.bits, &done));
        let answer = if possible { done } else { denied() };
        Some(Step::AnswerBinding(at, position, answer, false))
    }

    /// An SP signals a VM.
    pub(super) fn signalled(&self, world: &mut World, vm: usize) {
        let one = &mut world.oracle.vms[vm];
        one.notifications.pending = true;
        self.see(Seen::SignalledLate, one.life == Life::Dying);
    }
}

/// FFA_ERROR with DENIED.
pub(super) fn denied() -> Answer {
    Answer::Error(FirmwareStatus::from_code(reading::DENIED))
}

fn is_refusal(answer: &Answer) -> bool {
    matches!(reading::read(answer), Reading::Error(code) if code != reading::ABORTED && (-10..0).contains(&code))
}
