use alloc::vec::Vec;

use ffa_abi::{FirmwareStatus, Function, PartitionId, Status, VmAvailability};
use ffa_teardown::Span;

use super::call::{CallKind, What};
use super::plan::{Fault, FaultPlan, When};
use super::spoil::FaultAction;
use crate::Rng;
use crate::spmc::Mangling;

/// How far the secure world can be believed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Trust {
    /// Success is said only when it is true, and handles are those of the SPMC. Errors come at any time.
    Honest,
    /// Anything is said at any time.
    Lying,
}

/// What to draw random faults from.
#[derive(Clone, Debug)]
pub struct RandomFaults<'a> {
    /// How far the secure world can be believed.
    pub trust: Trust,
    /// Number of faults.
    pub count: usize,
    /// Faults that happen once hit one of the first so many matching calls.
    pub horizon: u32,
    /// Partitions to single out; a fault may also be for all.
    pub partitions: &'a [PartitionId],
}

/// Calls that are worth spoiling.
const CALLS: [CallKind; 21] = [
    CallKind::vm_message(VmAvailability::Created),
    CallKind::vm_message(VmAvailability::Destroyed),
    CallKind::vm_message(VmAvailability::Destroyed),
    CallKind::function(Function::MemReclaim),
    CallKind::function(Function::MemReclaim),
    CallKind::function(Function::MemShare),
    CallKind::function(Function::MsgSendDirectReq),
    CallKind::function(Function::Run),
    CallKind::function(Function::PartitionInfoGet),
    CallKind::function(Function::MemFragTx),
    CallKind::function(Function::RxTxMap),
    CallKind::function(Function::RxTxUnmap),
    CallKind::function(Function::RxAcquire),
    CallKind::function(Function::RxRelease),
    CallKind::function(Function::MsgSend2),
    CallKind::function(Function::NotificationBitmapCreate),
    CallKind::function(Function::NotificationBitmapDestroy),
    CallKind::function(Function::NotificationBind),
    CallKind::function(Function::NotificationUnbind),
    CallKind::function(Function::NotificationSet),
    CallKind::function(Function::NotificationGet),
];

/// Codes that no version of FF-A has.
const ODD_CODES: [i32; 5] = [0, 1, -11, -100, i32::MIN];

impl RandomFaults<'_> {
    /// The plan of this seed. Its faults can be listed, shrunk and written into a test by hand.
    #[must_use]
    pub fn plan(&self, seed: u64) -> FaultPlan {
        let mut rng = Rng::new(seed);
        let faults: Vec<_> = (0..self.count).map(|_| self.fault(&mut rng)).collect();
        FaultPlan::seeded(rng.next_u64(), faults)
    }

    fn fault(&self, rng: &mut Rng) -> Fault {
        let mut call = rng.pick(&CALLS).copied().unwrap_or(CallKind::ANY);
        let addressed = !matches!(
            call.what,
            What::Function(Function::MemReclaim | Function::MemShare | Function::PartitionInfoGet)
        );
        if addressed && rng.one_in(2) {
            call.sp = rng.pick(self.partitions).copied();
        }
        let (when, action) = (self.when(rng), self.action(rng));
        Fault { call, when, action: if self.trust == Trust::Honest { honest(&call, action) } else { action } }
    }

    fn when(&self, rng: &mut Rng) -> When {
        let number = 1 + rng.below(u64::from(self.horizon.max(1))) as u32;
        match rng.below(10) {
            0..=4 => When::Nth(number),
            5..=6 => When::First(1 + rng.below(4) as u32),
            7 => When::After(number),
            8 => When::Alternating,
            _ => When::OneIn(2 + rng.below(6) as u32),
        }
    }

    fn action(&self, rng: &mut Rng) -> FaultAction {
        let times = 1 + rng.below(3) as u32;
        let lies = match self.trust {
            Trust::Honest => 0,
            Trust::Lying => 4,
        };
        match rng.below(13 + lies) {
            0..=2 => FaultAction::Refuse(any_status(rng)),
            3 => FaultAction::RefuseAsPartition(any_status(rng)),
            4 => FaultAction::Lose(any_status(rng)),
            5 => FaultAction::CodeInW1(rng.pick(Status::ALL).copied().unwrap_or(Status::Busy)),
            6 => FaultAction::W0(rng.pick(&[0x8400_0069, 0xffff_ffff, 0, 0x8400_006b]).copied().unwrap_or(0)),
            7 => FaultAction::OtherWidth,
            8 => FaultAction::DirtyUpperHalves,
            9 => FaultAction::ClobberHighRegisters,
            10 => FaultAction::Interrupt(times),
            11 => FaultAction::Yield(times, Span::from_millis(rng.below(50))),
            12 => FaultAction::Mangle(rng.pick(&Mangling::ALL).copied().unwrap_or(Mangling::WrongCode)),
            13 => FaultAction::DuplicateHandle,
            14 => FaultAction::GiveHandle(rng.pick(&[0, u64::MAX, 1 << 63]).copied().unwrap_or(0)),
            15 => FaultAction::Values { w2: rng.next_u64() as u32, w3: rng.below(64) as u32 },
            _ => FaultAction::Pretend,
        }
    }
}

/// The same without a lie: a refusal in so many words of a send, a mapping or a run that was carried out, or success from a
/// partition that has not heard.
fn honest(call: &CallKind, action: FaultAction) -> FaultAction {
    use Function::{MemFragTx, MemShare, Run, RxTxMap};
    let refusal_counts = matches!(call.what, What::Function(MemShare | MemFragTx | RxTxMap | Run));
    match action {
        FaultAction::Lose(status) if refusal_counts => FaultAction::Refuse(status),
        FaultAction::RefuseAsPartition(status) if status.code() == 0 => FaultAction::Refuse(status),
        action => action,
    }
}

fn any_status(rng: &mut Rng) -> FirmwareStatus {
    if rng.one_in(6) {
        FirmwareStatus::from_code(rng.pick(&ODD_CODES).copied().unwrap_or(0))
    } else {
        rng.pick(Status::ALL).copied().unwrap_or(Status::Busy).into()
    }
}
