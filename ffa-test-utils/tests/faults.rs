//! Fault plans between a caller and a modelled secure world.

mod common;

use common::*;
use ffa_abi::{
    Answer, FirmwareStatus, Function, PartitionId, Regs, RunTarget, Status, VmAvailability,
    VmAvailabilityAnswer,
};
use ffa_teardown::Span;
use ffa_test_utils::fault::*;
use ffa_test_utils::spmc::*;

use VmAvailability::{Created, Destroyed};

/// A world behind a plan, and how many calls got through.
struct Line {
    world: World,
    plan: FaultPlan,
    through: u32,
}

impl Line {
    fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        let world = World::new(Preset::Strict, [SP1, SP2].map(|sp| SpConfig::new(sp, Script::GOOD)));
        Self { world, plan: FaultPlan::new(faults), through: 0 }
    }

    fn regs(&mut self, regs: &Regs) -> Regs {
        let Self { world, plan, through } = self;
        plan.apply(regs, |regs| {
            *through += 1;
            world.spmc.call(&mut world.memory, world.now, regs)
        })
    }

    fn call<const N: usize>(&mut self, head: [u64; N]) -> Regs {
        self.regs(&Regs::new(head))
    }

    fn share(&mut self, page: u64) -> Regs {
        let bytes = Descriptor::pages(page, 1).bytes();
        self.world.memory.write(TX, &bytes).unwrap();
        self.call([MEM_SHARE, bytes.len() as u64, bytes.len() as u64])
    }

    fn reclaim(&mut self, handle: u64) -> Regs {
        self.call([0x8400_0077, handle & 0xffff_ffff, handle >> 32])
    }

    fn tell(&mut self, event: VmAvailability, sp: PartitionId) -> Regs {
        self.regs(&World::message(event, VM1, sp).request().to_regs())
    }

    fn live(&self) -> usize {
        self.world.spmc.live_handles().count()
    }
}

fn fault(call: CallKind, action: FaultAction) -> Fault {
    Fault { call, when: When::Nth(1), action }
}

const RECLAIM: CallKind = CallKind::function(Function::MemReclaim);
const SHARE: CallKind = CallKind::function(Function::MemShare);

#[test]
fn times() {
    use When::*;
    for (when, expected) in [
        (Nth(3), "..x..."),
        (First(2), "xx...."),
        (After(4), "....xx"),
        (Every, "xxxxxx"),
        (Alternating, "x.x.x."),
    ] {
        let refuse = FaultAction::Refuse(Status::Busy.into());
        let mut line = Line::new([Fault { call: CallKind::function(Function::IdGet), when, action: refuse }]);
        let seen: String = (0..6)
            .map(|_| if line.call([0x8400_0069]) == Regs::error(Status::Busy) { 'x' } else { '.' })
            .collect();
        assert_eq!(seen, expected, "{when:?}");
    }
}

#[test]
fn calls_that_are_refused_get_nowhere_and_lost_ones_do() {
    for code in [-1, -6, 0, -77, 5] {
        let status = FirmwareStatus::from_code(code);
        let mut line = Line::new([fault(SHARE, FaultAction::Refuse(status))]);
        assert_eq!(Answer::from_regs(&line.share(0x4000_0000)), Answer::Error(status));
        assert_eq!((line.live(), line.through), (0, 0));
        let mut line = Line::new([fault(SHARE, FaultAction::Lose(status))]);
        assert_eq!(Answer::from_regs(&line.share(0x4000_0000)), Answer::Error(status));
        assert_eq!((line.live(), line.through), (1, 1), "the share is there all the same");
    }
    let mut line = Line::new([fault(SHARE, FaultAction::CodeInW1(Status::Denied))]);
    assert_eq!(line.share(0x4000_0000), Regs::new([0x8400_0060, 0xffff_fffa]));
    let mut line = Line::new([fault(RECLAIM, FaultAction::Pretend)]);
    let handle = handle_of(&line.share(0x4000_0000)).get();
    assert_eq!(line.reclaim(handle), Regs::success(0, 0));
    assert_eq!(line.live(), 1, "it was a lie");
}

#[test]
fn faults_single_out_partitions_vms_and_shares() {
    let refuse = FaultAction::RefuseAsPartition(Status::Retry.into());
    let mut line = Line::new([
        fault(CallKind::vm_message(Destroyed).to(SP2), refuse),
        fault(CallKind::vm_message(Destroyed).of(VM2), FaultAction::Refuse(Status::Aborted.into())),
        fault(RECLAIM.share(1), FaultAction::Refuse(Status::Denied.into())),
    ]);
    let handles = [0x4000_0000, 0x5000_0000].map(|page| handle_of(&line.share(page)).get());
    let answer = |regs: &Regs, sp| World::message(Destroyed, VM1, sp).answer(&Answer::from_regs(regs));
    let regs = line.tell(Destroyed, SP1);
    assert_eq!(answer(&regs, SP1), Ok(VmAvailabilityAnswer::Accepted));
    let regs = line.tell(Destroyed, SP2);
    assert_eq!(answer(&regs, SP2), Ok(VmAvailabilityAnswer::Refused(Status::Retry.into())));
    assert_eq!(line.world.spmc.told(VM1, SP2).len(), 1, "the second message never came");
    assert_eq!(status_of(&line.reclaim(handles[0])), Ok(()));
    assert_eq!(status_of(&line.reclaim(handles[1])), Err(Status::Denied));
    assert_eq!(status_of(&line.reclaim(handles[1])), Ok(()));
    let request = World::message(Destroyed, VM2, SP1).request().to_regs();
    assert_eq!(status_of(&line.regs(&request)), Err(Status::Aborted));
    assert_eq!([0, 1, 2].map(|index| line.plan.fired(index)), [1, 1, 1]);
}

#[test]
fn pauses_end_with_run_and_only_then_is_the_call_made() {
    let yields = FaultAction::Yield(1, Span::from_nanos(9));
    let mut line = Line::new([
        fault(CallKind::vm_message(Destroyed), FaultAction::Interrupt(2)),
        fault(RECLAIM, yields),
    ]);
    let handle = handle_of(&line.share(0x4000_0000)).get();
    let target = RunTarget { endpoint: SP1, vcpu: 0 };
    let run = |target: RunTarget| [0x8400_006d, u64::from(target.word())];
    assert_eq!(Answer::from_regs(&line.tell(Destroyed, SP1)), Answer::Interrupt(target));
    assert_eq!(status_of(&line.tell(Created, SP1)), Err(Status::Busy));
    assert_eq!(Answer::from_regs(&line.call(run(target))), Answer::Interrupt(target));
    assert_eq!(line.world.spmc.told(VM1, SP1).len(), 1, "not told yet");
    let regs = line.call(run(target));
    let message = World::message(Destroyed, VM1, SP1);
    assert_eq!(message.answer(&Answer::from_regs(&regs)), Ok(VmAvailabilityAnswer::Accepted));
    assert_eq!(Answer::from_regs(&line.call(run(target))), Answer::Error(Status::Denied.into()));
    let Answer::Yield { target, timeout: 9 } = Answer::from_regs(&line.reclaim(handle)) else { panic!() };
    assert_eq!(line.live(), 1);
    assert_eq!(status_of(&line.call(run(target))), Ok(()));
    assert_eq!(line.live(), 0);
}

#[test]
fn run_of_a_paused_call_meets_faults_of_its_own() {
    let refuse = |status: Status| FaultAction::Refuse(status.into());
    let every_run = Fault {
        call: CallKind::function(Function::Run),
        when: When::Every,
        action: refuse(Status::NotSupported),
    };
    let mut line = Line::new([
        fault(CallKind::vm_message(Destroyed), FaultAction::Interrupt(2)),
        Fault { call: CallKind::RESUME, when: When::Nth(1), action: refuse(Status::Busy) },
        Fault { call: CallKind::RESUME, when: When::Nth(2), action: FaultAction::W0(0x8400_006b) },
        every_run,
    ]);
    let target = RunTarget { endpoint: SP1, vcpu: 0 };
    let run = [0x8400_006d, u64::from(target.word())];
    let _ = line.tell(Destroyed, SP1);
    assert_eq!(line.call(run), Regs::error(Status::Busy));
    assert_eq!(line.call(run).w::<0>(), 0x8400_006b, "FFA_INTERRUPT, spoiled");
    assert_eq!(line.through, 0);
    let regs = line.call(run);
    let message = World::message(Destroyed, VM1, SP1);
    assert_eq!(message.answer(&Answer::from_regs(&regs)), Ok(VmAvailabilityAnswer::Accepted));
    assert_eq!([0, 1, 2, 3].map(|index| line.plan.fired(index)), [1, 1, 1, 0]);
    assert_eq!(line.call(run), Regs::error(Status::NotSupported), "of nothing that a fault has paused");

    // Whoever is run dies, or has nothing in hand: its call is lost.
    for answer in [Regs::error(Status::Aborted), Regs::new([0x8400_006b])] {
        let mut line = Line::new([
            fault(CallKind::vm_message(Destroyed), FaultAction::Interrupt(2)),
            fault(CallKind::RESUME, FaultAction::Instead(answer)),
        ]);
        let _ = line.tell(Destroyed, SP1);
        assert_eq!(line.call(run), answer);
        assert_eq!(line.call(run), Regs::error(Status::Denied));
        assert_eq!(line.world.spmc.told(VM1, SP1).len(), 1, "of its creation alone");
    }

    // Without faults what was paused can still be resumed.
    let mut line = Line::new([fault(SHARE, FaultAction::Interrupt(1))]);
    let Answer::Interrupt(target) = Answer::from_regs(&line.share(0x4000_0000)) else { panic!() };
    line.plan.clear();
    line.plan.add(fault(SHARE, refuse(Status::NoMemory)));
    let _handle = handle_of(&line.call([0x8400_006d, u64::from(target.word())]));
    assert_eq!(line.live(), 1);
    assert_eq!(line.share(0x5000_0000), Regs::error(Status::NoMemory));
}

#[test]
fn answers_may_be_any_registers() {
    let answer = Regs::new([0x8400_007a, 3, 0, 64]);
    for (action, live) in [(FaultAction::Instead(answer), 0), (FaultAction::Replace(answer), 1)] {
        let mut line = Line::new([fault(SHARE, action)]);
        assert_eq!(line.share(0x4000_0000), answer);
        assert_eq!((line.live(), line.plan.fired(0)), (live, 1));
    }
}

#[test]
fn a_partition_dies_before_the_call() {
    for preset in Preset::ALL {
        let mut line = Line::new([fault(SHARE, FaultAction::Crash(SP2))]);
        line.world = World::new(preset, [SP1, SP2].map(|sp| SpConfig::new(sp, Script::GOOD)));
        // OP-TEE knows only VMs of which it was told.
        let _ = line.tell(Created, SP1);
        line.through = 0;
        let _ = handle_of(&line.share(0x4000_0000));
        assert!(line.world.spmc.is_crashed(SP2) && !line.world.spmc.is_crashed(SP1), "{}", preset.name());
        assert_eq!((line.through, line.plan.fired(0)), (2, 1));
    }
}

#[test]
fn answers_are_spoiled_after_the_call_was_made() {
    let dirty = 0xdead_beef << 32;
    type Case = (FaultAction, fn(&Regs) -> bool);
    let cases: [Case; 7] = [
        (FaultAction::W0(0xffff_ffff), |regs| regs.x::<0>() == 0xffff_ffff),
        (FaultAction::OtherWidth, |regs| regs.x::<0>() == 0xc400_0061),
        (FaultAction::DirtyUpperHalves, |regs| regs.x::<0>() >> 32 == 0xdead_beef),
        (FaultAction::ClobberHighRegisters, |regs| regs.0[8..].iter().all(|&x| x != 0)),
        (FaultAction::GiveHandle(0), |regs| *regs == Regs::success(0, 0)),
        (FaultAction::GiveHandle(u64::MAX), |regs| *regs == Regs::success(u32::MAX, u32::MAX)),
        (FaultAction::Values { w2: 7, w3: 9 }, |regs| *regs == Regs::success(7, 9)),
    ];
    for (action, holds) in cases {
        let mut line = Line::new([fault(SHARE, action)]);
        let regs = line.share(0x4000_0000);
        assert!(holds(&regs), "{action:?}: {regs:x?}");
        assert_eq!((line.live(), line.plan.fired(0)), (1, 1), "{action:?}");
    }
    let mut line = Line::new([fault(CallKind::function(Function::IdGet), FaultAction::DirtyUpperHalves)]);
    assert_eq!(
        line.call([0x8400_0069]),
        Regs::new([0x8400_0061 | dirty, dirty, dirty, dirty, dirty, dirty, dirty, dirty])
    );
}

#[test]
fn a_duplicate_handle_is_that_of_another_share() {
    let mut line =
        Line::new([Fault { call: SHARE, when: When::Every, action: FaultAction::DuplicateHandle }]);
    let first = handle_of(&line.share(0x4000_0000));
    assert_eq!(line.plan.fired(0), 0, "there was no other");
    assert_eq!(handle_of(&line.share(0x5000_0000)), first);
    assert_eq!((line.live(), line.plan.fired(0)), (2, 1));
}

#[test]
fn acknowledgements_are_mangled_and_errors_are_not() {
    for mangling in Mangling::ALL {
        let mut line = Line::new([Fault {
            call: CallKind::vm_message(Created),
            when: When::Every,
            action: FaultAction::Mangle(mangling),
        }]);
        let regs = line.tell(Created, SP1);
        let message = World::message(Created, VM1, SP1);
        let accepted = message.answer(&Answer::from_regs(&regs)) == Ok(VmAvailabilityAnswer::Accepted);
        assert!(!accepted, "{mangling:?}: {regs:x?}");
        assert_eq!(status_of(&line.tell(Created, PartitionId(0x8055))), Err(Status::InvalidParameters));
        assert_eq!(line.plan.fired(0), 1);
    }
}

#[test]
fn the_same_seed_is_the_same_plan() {
    let random = |trust| RandomFaults { trust, count: 40, horizon: 10, partitions: &[SP1, SP2] };
    let list = |trust, seed| random(trust).plan(seed).faults().collect::<Vec<_>>();
    assert_eq!(list(Trust::Honest, 1), list(Trust::Honest, 1));
    assert_ne!(list(Trust::Honest, 1), list(Trust::Honest, 2));
    let lies = |fault: &Fault| match fault.action {
        FaultAction::Pretend
        | FaultAction::GiveHandle(_)
        | FaultAction::DuplicateHandle
        | FaultAction::Values { .. } => true,
        // Refused in so many words, and yet carried out.
        FaultAction::Lose(_) => {
            [Function::MemShare, Function::Run].map(CallKind::function).contains(&fault.call)
        }
        // Success from a partition that has not heard.
        FaultAction::RefuseAsPartition(status) => status.code() == 0,
        _ => false,
    };
    for seed in 0..50 {
        assert!(!list(Trust::Honest, seed).iter().any(lies), "{seed}");
    }
    assert!((0..50).any(|seed| list(Trust::Lying, seed).iter().any(lies)));
}

/// Any registers, any memory, any faults: answers, and no panic.
#[test]
fn random_calls_through_random_faults() {
    for (seed, preset) in (0..200).zip(Preset::ALL.into_iter().cycle()) {
        let mut rng = ffa_test_utils::Rng::new(seed);
        let faults = RandomFaults { trust: Trust::Lying, count: 6, horizon: 20, partitions: &[SP1] };
        let mut plan = faults.plan(seed);
        let scripts = [Script::GOOD, Script::dma(Span::from_secs(1)), Script::STUCK];
        let script = *rng.pick(&scripts).unwrap();
        let mut world = World::new(preset, [SP1, SP2].map(|sp| SpConfig::new(sp, script)));
        for _ in 0..200 {
            let mut bytes = Descriptor::pages(0x4000_0000 + rng.below(16) * PAGE, 1).bytes();
            if rng.one_in(2) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = rng.next_u64() as u8;
            }
            world.memory.write(TX, &bytes).unwrap();
            let len = bytes.len() as u64;
            let handle = world.spmc.live_handles().last().map_or(0, |live| live.handle.get());
            let w1 = u64::from(PartitionId::pair(PartitionId(rng.below(3) as u16), SP1));
            let mut regs = match rng.below(7) {
                0 => Regs::new([MEM_SHARE + rng.below(2) * (1 << 30), len, len]),
                1 => Regs::new([MEM_LEND, len, len - 16]),
                2 => Regs::new([0x8400_007b, handle & 0xffff_ffff, handle >> 32, 16, 1 << 16]),
                3 => Regs::new([0x8400_0077, handle & 0xffff_ffff, handle >> 32]),
                4 => Regs::new([0x8400_006f, w1, 0x8000_0004 | rng.below(2) << 1, 0, 0, rng.below(3)]),
                5 => Regs::new([0x8400_006f, w1, 0, u64::from(Control::MAGIC), rng.below(7), handle]),
                _ => Regs::new([0x8400_0060 + rng.below(0x38), rng.next_u64(), rng.next_u64()]),
            };
            if rng.one_in(4) {
                regs[rng.below(18) as usize] = rng.next_u64();
            }
            world.pass(Span::from_millis(rng.below(100)));
            plan.apply(&regs, |regs| world.spmc.call(&mut world.memory, world.now, regs));
            let reached: Vec<_> = world.spmc.reaches().collect();
            for reached in reached {
                if reached.extent.pages > 0 {
                    assert!(world.spmc.can_reach(reached.extent.base).is_some(), "seed {seed}");
                }
            }
        }
    }
}
