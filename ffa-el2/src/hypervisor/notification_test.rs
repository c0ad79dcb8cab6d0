//! What this hypervisor promises about notifications of SPs, from the interrupt of the secure world to that of the guest.

use ffa_abi::{DirectRequest, Function, FunctionId, Message, PartitionId, Width};
use ffa_el2::partitions::QUIET;
use ffa_el2::{clock, println};
use ffa_test_utils::spmc::Control;

use crate::guest::{Program, SIGNALLED};
use crate::lifecycle::{self, Born};
use crate::scenario::Failed;
use crate::self_test::{begin, end, verdict};
use crate::vcpu::Stop;
use crate::vm_id::VmId;
use crate::{ffa, interrupts, scheduler, vms};

const LOOSE_PAGES: usize = 4;
const PASSED: Stop = Stop::Exited(0);
/// Time in which a guest gets to where it waits, in nanoseconds.
const SOON: u64 = 20_000_000;

type Check = fn() -> bool;

/// Makes every check, and goes on after one that fails.
pub fn run() -> Result<(), Failed> {
    let checks: [(_, Check); 3] = [
        ("a guest that asks an SP to signal it is interrupted", by_request),
        ("a guest that waits is interrupted when an SP signals it", while_it_waits),
        ("a signal for a VM without a vCPU is kept until it has one", before_it_runs),
    ];
    let notifies =
        ffa::mediator().is_some_and(|mediator| mediator.spmc().schedule_receiver_interrupt().is_some());
    let mut result = Ok(());
    for (name, check) in checks {
        if notifies {
            result = result.and(verdict(name, check()));
        } else {
            println!("check: {name}: skipped, there are no notifications");
        }
    }
    result
}

fn by_request() -> bool {
    let id = VmId::of_slot(0);
    begin(id, Program::NotifiedByRequest);
    let passed = runs_to_its_end(id);
    end(id);
    passed
}

fn while_it_waits() -> bool {
    let id = VmId::of_slot(0);
    begin(id, Program::NotifiedWhileWaiting);
    scheduler::run_until(clock::now() + SOON, || false);
    let signalled = vms::stopped(id).is_none() && signal(id);
    let passed = runs_to_its_end(id);
    end(id);
    signalled && passed
}

fn before_it_runs() -> bool {
    let id = VmId::of_slot(0);
    let Born::Live(key) = lifecycle::create(id, LOOSE_PAGES) else { return false };
    lifecycle::start(id, key, Program::Bind.into());
    let bound = runs_to_its_end(id);
    let signalled = signal(id);
    // The interrupt comes, and finds nobody.
    scheduler::run_until(clock::now() + SOON, || false);
    lifecycle::start(id, key, Program::FindNotification.into());
    let found = runs_to_its_end(id);
    end(id);
    bound && signalled && found
}

/// Has [`QUIET`] signal the VM.
fn signal(id: VmId) -> bool {
    let notify = Control::Notify { vm: id.partition(), id: SIGNALLED, vcpu: None, after_ms: 0 };
    let message = Message::Partition(notify.payload());
    let request =
        DirectRequest { width: Width::Smc32, sender: PartitionId::HYPERVISOR, receiver: QUIET, message };
    let answer = ffa::call_secure_world(&request.to_regs());
    let id = FunctionId::from_w0(answer.w::<0>()).map(FunctionId::function);
    id == Ok(Function::MsgSendDirectResp) && answer.w::<4>() == 1
}

fn runs_to_its_end(id: VmId) -> bool {
    interrupts::kick_others();
    scheduler::run(|| vms::stopped(id).is_some());
    vms::stopped(id) == Some(PASSED)
}
