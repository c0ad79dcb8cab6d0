//! What the hypervisor, time and the secure world do.

use ffa_abi::{Handle, NotificationBitmap, PartitionId, Version};
use ffa_hyp_glue::Creation;
use ffa_teardown::Span;
use ffa_test_utils::fault::{Trust, When};
use ffa_test_utils::hypervisor::Fallible;
use ffa_test_utils::spmc::Control;

use crate::act::Act;
use crate::book::Guest;
use crate::catalogue::Plan;
use crate::common::{PAGE, REGIONS};
use crate::run::Run;
use crate::setup::{SPS, VMS};

/// Frames that a VM takes, and some.
const ROOM: u64 = 100;

pub fn vm(number: u8) -> PartitionId {
    VMS[usize::from(number) % VMS.len()]
}

pub fn sp(number: u8) -> PartitionId {
    SPS[usize::from(number) % SPS.len()]
}

impl Run {
    /// Does one thing, and says whether it had an effect.
    pub fn act(&self, act: Act) -> bool {
        let hypervisor = &self.hypervisor;
        let control = |number: u8, control| self.machine().control(sp(number), control);
        match act {
            Act::Create { vm, minor, map } => self.create(vm, minor, map),
            Act::Destroy(number) => self.destroy(number),
            Act::SpRetrieves { sp, share } => {
                self.live(share).is_some_and(|handle| control(sp, Control::Retrieve(handle)))
            }
            Act::SpRelinquishes { sp, share } => {
                self.live(share).is_some_and(|handle| control(sp, Control::Relinquish(handle)))
            }
            Act::SpRelinquishesAll { sp, vm: of } => control(sp, Control::RelinquishAll(vm(of))),
            Act::SpCrashes(number) => {
                !hypervisor.spmc().is_crashed(sp(number)) && control(number, Control::Crash)
            }
            Act::SpRestarts(number) => control(number, Control::Restart),
            Act::SpNotifies { sp, vm: to, id } => {
                control(sp, Control::Notify { vm: vm(to), id: id % 64, vcpu: None, after_ms: 0 })
            }
            Act::SpAllows { sp, vm: to } => {
                let ids = NotificationBitmap(0xff);
                control(sp, Control::AllowNotifications { vm: vm(to), ids })
            }
            Act::SpMessages { sp, vm: to, size } => {
                control(sp, Control::SendMessage { vm: vm(to), size: size.into(), first: 1 })
            }
            Act::Wait(ms) => {
                // Time is not let pass by who comes in between: the timer of a modelled CPU fires after its call.
                if self.book.borrow().busy.is_some() {
                    return false;
                }
                hypervisor.advance(Span::from_millis(ms.into()));
                true
            }
            Act::Tick => {
                // Early, late and needless ones do no harm.
                hypervisor.mediator().tick(&mut hypervisor.cpu(7));
                true
            }
            Act::Retry(of) => hypervisor.retry(of.map(vm)).is_ok_and(|due| due > 0),
            Act::Online { vm: of, vcpu, online } => {
                self.machine().set_online(vm(of), u16::from(vcpu % 2), online);
                hypervisor.is_alive(vm(of))
            }
            Act::Fault { f, plan, when } => self.fault(f, plan, when),
            Act::Calm => {
                let fired = self.machine().plan_mut().fired_total();
                self.machine().plan_mut().clear();
                self.book.borrow_mut().tally.moment("a fault that happened", fired);
                fired > 0
            }
            Act::NoMemory(nth) => {
                self.machine().fail(Fallible::Hold, nth.into());
                true
            }
            guest => self.guest_act(guest),
        }
    }

    /// One of the handles that the SPMC knows.
    fn live(&self, number: u8) -> Option<Handle> {
        let spmc = self.hypervisor.spmc();
        let live: Vec<_> = spmc.live_handles().map(|live| live.handle).collect();
        let number = usize::from(number).checked_rem(live.len())?;
        live.get(number).copied()
    }

    fn fault(&self, f: u8, plan: u8, when: When) -> bool {
        let Some(plan) = Plan::find(f, plan) else { return false };
        if plan.trust == Trust::Lying && self.setup.trust == Trust::Honest {
            return false;
        }
        for fault in plan.faults(when) {
            self.machine().plan_mut().add(fault);
        }
        if plan.crash {
            self.machine().spmc_mut().crash(SPS[0]);
        }
        true
    }

    fn create(&self, number: u8, minor: u8, map: bool) -> bool {
        let (id, hypervisor) = (vm(number), &self.hypervisor);
        let retired = hypervisor.mediator().find(id).is_some();
        if hypervisor.frames().free < ROOM || hypervisor.is_there(id) && !retired {
            return false;
        }
        let was_alive = hypervisor.is_alive(id);
        let created = hypervisor.create(id, &REGIONS);
        self.say(|| format!("    VM {id}: {created:?}"));
        if created != Ok(Creation::Live) || !hypervisor.is_alive(id) {
            return false;
        }
        if (retired || was_alive) && !self.is_raced() {
            self.wrong(format!("VM {id} was created while there was one"));
        }
        let pages = REGIONS
            .iter()
            .flat_map(|region| (0..u64::from(region.pages)).map(|page| region.base + page * PAGE));
        let frames = pages.filter_map(|page| Some((page, hypervisor.translate(id, page)?))).collect();
        self.guest(number, |guest| *guest = Guest { frames, ..Guest::default() });
        self.negotiate(number, minor);
        if map {
            self.map(number, 0, 1);
        }
        self.finds_nothing(number);
        true
    }

    fn destroy(&self, number: u8) -> bool {
        let (id, hypervisor) = (vm(number), &self.hypervisor);
        let Some(key) = hypervisor.mediator().find(id).filter(|_| hypervisor.is_alive(id)) else {
            return false;
        };
        let destroyed = hypervisor.mediator().destroy_vm(&mut hypervisor.cpu(6), key).is_ok();
        self.say(|| format!("    VM {id} dies: {destroyed}"));
        if destroyed {
            hypervisor.bury(id);
            let sent = self.guest(number, |guest| {
                guest.drafts.clear();
                std::mem::take(&mut guest.sent)
            });
            self.book.borrow_mut().spent.extend(sent.into_iter().map(|sent| sent.handle));
            self.loans_after(number);
        }
        destroyed
    }

    /// The version that a guest of this minor version has.
    pub fn version(&self, number: u8) -> Version {
        self.guest(number, |guest| guest.version.unwrap_or(Version::V1_1))
    }
}
