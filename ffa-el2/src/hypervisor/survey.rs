//! What the image does when it is told nothing: it looks at the firmware that it finds, whatever that is, has a guest
//! share memory with it, and takes the memory back.

use ffa_abi::{Answer, Call, FUNCTIONS, FeatureQuery, Function, FunctionId, PartitionId, PartitionInfoGet};
use ffa_abi::{RxRelease, Uuid, Width};
use ffa_el2::{clock, println};
use ffa_test_utils::timeline::Summary;

use crate::ffa::{self, FfaMediator};
use crate::frames::{self, FRAMES};
use crate::guest::Program;
use crate::lifecycle::{self, Born};
use crate::scenario::Failed;
use crate::vm_id::VmId;
use crate::{interrupts, scheduler, violations, vms};

const LOOSE_PAGES: usize = 4;
/// How long teardown is waited for, in nanoseconds.
const PATIENCE: u64 = 5_000_000_000;

/// Does it, and says whether every page is where it must be. What the secure world refuses is not wrong.
pub fn run() -> Result<(), Failed> {
    if let Some(mediator) = ffa::mediator() {
        describe(mediator);
    }
    let id = VmId::of_slot(0);
    match lifecycle::create(id, LOOSE_PAGES) {
        Born::Live(key) => {
            lifecycle::start(id, key, Program::Survey.into());
            interrupts::kick_others();
            scheduler::run(|| vms::stopped(id).is_some());
            println!("hypervisor: {id} is destroyed");
            lifecycle::destroy(id);
        }
        Born::Failed => println!("hypervisor: the secure world does not want {id}"),
        Born::Refused => println!("hypervisor: there is no room for {id}"),
    }
    scheduler::run_until(clock::now() + PATIENCE, || !vms::exists(id));
    report(id)
}

fn describe(mediator: &FfaMediator) {
    println!("hypervisor: the secure world has");
    for info in FUNCTIONS {
        let has = |width| FunctionId::new(info.function, width).is_some_and(is_there);
        match (has(Width::Smc32), has(Width::Smc64)) {
            (true, true) => println!("  {}, 32 and 64 bits", info.name),
            (true, false) => println!("  {}", info.name),
            (false, true) => println!("  {}, 64 bits", info.name),
            (false, false) => {}
        }
    }
    let get = PartitionInfoGet { uuid: Uuid::NIL, count_only: false };
    if let Answer::Success(success) = ask(Call::PartitionInfoGet(get)) {
        println!("hypervisor: {} partitions, a record every {} bytes", success.w2(), success.w3());
    }
    // An SPMC may hand RX over even with an error; else it refuses, which does no harm.
    _ = ask(Call::RxRelease(RxRelease { endpoint: PartitionId::HYPERVISOR }));
    for sp in (0..).map_while(|position| mediator.partition_at(position)) {
        println!("  SP {}: {} contexts, {:x?}, {:x?}", sp.id, sp.contexts, sp.properties, sp.uuid);
    }
}

fn is_there(id: FunctionId) -> bool {
    // The answer to itself would be taken for an answer.
    let is_answer = matches!(id.function(), Function::Success | Function::Error);
    let query = FeatureQuery::Function { id, properties: 0 };
    !is_answer && matches!(ask(Call::Features(query)), Answer::Success(_))
}

fn ask(call: Call) -> Answer {
    Answer::from_regs(&ffa::call_secure_world(&call.to_regs()))
}

/// Says what came back, and what did not.
fn report(id: VmId) -> Result<(), Failed> {
    let mediator = ffa::mediator();
    let quarantined = (0..).map_while(|skip| mediator?.quarantined(skip));
    for share in quarantined.clone() {
        println!("hypervisor: quarantined: {share:x?}");
    }
    let orphans = FRAMES.lock().count().orphans as u64;
    let zombie = vms::exists(id);
    let kept = mediator.and_then(|mediator| mediator.report(mediator.find(id.partition())?));
    let tally = ffa::tally();
    let summary = Summary {
        scenario: "survey",
        shares: tally.shares,
        reclaimed: tally.reclaimed,
        gone: tally.gone,
        quarantined: quarantined.count() as u32,
        pages_held: orphans,
        zombies: zombie.into(),
        smcs: ffa::smcs(),
        violations: violations::count() + frames::soiled() as u64,
    };
    println!("{summary}");
    let all_known = orphans == kept.map_or(0, |kept| kept.pages);
    if !all_known {
        println!("hypervisor: {orphans} pages are held, and the mediator says {kept:?}");
    }
    if all_known && summary.violations == 0 { Ok(()) } else { Err(Failed) }
}
