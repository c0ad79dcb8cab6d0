//! The scenarios of `ffa-test-utils` on this hypervisor.

use core::fmt::Arguments;

use ffa_abi::{DirectRequest, Function, FunctionId, Message, PartitionId, Width};
use ffa_el2::{clock, println};
use ffa_teardown::{Span, Time, VmKey};
use ffa_test_utils::scenario::{Born, Guest, Scenario, Stage, Tally, play};
use ffa_test_utils::spmc::Control;
use ffa_test_utils::timeline::Line;

use crate::frames::{self, FRAMES};
use crate::guest::Task;
use crate::scenario::Failed;
use crate::vcpu::Stop;
use crate::vm_id::{MAX_VMS, VmId};
use crate::{alarm, ffa, interrupts, lifecycle, scheduler, violations, vms};

/// Plays a scenario and prints its timeline and its summary.
///
/// # Errors
/// If it did not end as it must.
pub fn play_scenario(scenario: &Scenario) -> Result<(), Failed> {
    println!("{}", Line::Begin(scenario));
    let mut stage = El2Stage { keys: [None; MAX_VMS] };
    let outcome = play(scenario, &mut stage);
    println!("{}", outcome.summary);
    if outcome.is_good() { Ok(()) } else { Err(Failed) }
}

struct El2Stage {
    /// What the mediator calls each VM.
    keys: [Option<VmKey>; MAX_VMS],
}

impl Stage for El2Stage {
    fn create(&mut self, guest: &Guest) -> Born {
        let id = vm_id(guest.vm);
        match lifecycle::create(id, guest.loose_pages.into()) {
            lifecycle::Born::Live(key) => {
                self.keys[id.slot()] = key;
                Born::Live
            }
            lifecycle::Born::Failed => Born::Failed,
            lifecycle::Born::Refused => Born::Refused,
        }
    }

    fn run(&mut self, scenario: &Scenario, guests: &[u8]) -> u32 {
        self.start(scenario, guests);
        self.finish(scenario, guests)
    }

    fn run_and_destroy(&mut self, scenario: &Scenario, guests: &[u8], after: Span, dead: &[u8]) -> u32 {
        let when = clock::now() + after.as_nanos();
        self.start(scenario, guests);
        scheduler::run_until(when, || false);
        dead.iter().for_each(|&guest| self.destroy(scenario.guests[usize::from(guest)].vm));
        self.finish(scenario, guests)
    }

    fn destroy(&mut self, vm: PartitionId) {
        lifecycle::destroy(vm_id(vm));
    }

    fn now(&mut self) -> Time {
        Time::from_nanos(clock::now())
    }

    fn pass(&mut self, until: Time) {
        scheduler::run_until(until.as_nanos(), || false);
    }

    fn is_gone(&mut self, vm: PartitionId) -> bool {
        // The mediator forgets it before it gives its reference back, perhaps on another CPU.
        ffa::mediator().is_none_or(|mediator| mediator.find(vm).is_none()) && !vms::exists(vm_id(vm))
    }

    fn pages_held(&mut self, vm: Option<PartitionId>) -> u64 {
        let frames = FRAMES.lock();
        vm.map_or_else(|| frames.count().orphans, |vm| frames.orphans_of(vm_id(vm))) as u64
    }

    fn is_timer_armed(&mut self) -> bool {
        alarm::next() != alarm::NEVER
    }

    fn quarantined(&mut self) -> u32 {
        let mediator = ffa::mediator();
        let shares = (0..).map_while(|skip| mediator?.quarantined(skip));
        shares.count() as u32
    }

    fn retry(&mut self) -> u32 {
        ffa::retry()
    }

    fn restart(&mut self, sp: PartitionId) {
        let message = Message::Partition(Control::Restart.payload());
        let sender = PartitionId::HYPERVISOR;
        let request = DirectRequest { width: Width::Smc32, sender, receiver: sp, message };
        let answer = ffa::call_secure_world(&request.to_regs());
        let done = FunctionId::from_w0(answer.w::<0>()).map(FunctionId::function)
            == Ok(Function::MsgSendDirectResp)
            && answer.w::<4>() == 1;
        if !done {
            self.wrong(format_args!("SP {sp} was not restarted: {:x?}", answer.0));
        }
    }

    fn tally(&mut self) -> Tally {
        ffa::tally()
    }

    fn smcs(&mut self) -> u64 {
        ffa::smcs()
    }

    fn violations(&mut self) -> u64 {
        violations::count() + frames::soiled() as u64
    }

    fn note(&mut self, text: Arguments) {
        println!("{}", Line::Note(self.now(), text));
    }

    fn wrong(&mut self, text: Arguments) {
        println!("{}", Line::Wrong(self.now(), text));
    }
}

impl El2Stage {
    /// Lets guests run, on whatever CPU.
    fn start(&mut self, scenario: &Scenario, guests: &[u8]) {
        let position = Scenario::ALL.iter().position(|other| other.name == scenario.name);
        let position = position.expect("guests find the scenario among all") as u8;
        for (&guest, id) in guests.iter().zip(ids(scenario, guests)) {
            lifecycle::start(id, self.keys[id.slot()], Task::Play { scenario: position, guest });
        }
        interrupts::kick_others();
    }

    /// Waits until all of them have stopped. Returns how many things they saw that were wrong.
    fn finish(&mut self, scenario: &Scenario, guests: &[u8]) -> u32 {
        scheduler::run(|| ids(scenario, guests).all(|id| vms::stopped(id).is_some()));
        ids(scenario, guests).map(|id| self.wrongs_of(id)).sum()
    }

    /// How many things the guest of a VM whose vCPU stopped saw that were wrong.
    fn wrongs_of(&mut self, id: VmId) -> u32 {
        match vms::stopped(id).expect("it stopped") {
            Stop::Exited(wrongs) => u32::try_from(wrongs).unwrap_or(u32::MAX),
            stop => {
                self.wrong(format_args!("the guest of {id} ended by {stop:x?}"));
                1
            }
        }
    }
}

/// The VMs of guests that are named by position.
fn ids(scenario: &Scenario, guests: &[u8]) -> impl Iterator<Item = VmId> {
    guests.iter().map(|&guest| vm_id(scenario.guests[usize::from(guest)].vm))
}

/// Scenarios use no other VMs than this hypervisor can have.
fn vm_id(vm: PartitionId) -> VmId {
    VmId::of_partition(vm).expect("the scenario names a VM")
}
