//! A program that makes every call that is served, by SMC and by HVC.

use core::fmt::Arguments;

use ffa_abi::{
    Call, FUNCTIONS, FeatureQuery, FrameworkNotifications, Function, FunctionId, NotificationBitmap,
    PartitionId, PendingNotifications, Regs, Version, Width,
};
use ffa_el2::partitions::{LAZY, QUIET};
use ffa_teardown::Span;
use ffa_test_utils::scenario::{FIRST_BYTE, Guest, GuestCpu, GuestOp, Instruction, Pages, run_guest};
use ffa_test_utils::spmc::Control;

use super::interrupts;
use super::play::{Cpu, LAYOUT};

/// The VM in which this program runs, since what it asks of SPs names it.
pub const EVERY_CALLS_VM: PartitionId = PartitionId(1);

const IDS: NotificationBitmap = NotificationBitmap(0x80);

/// What it does. The interpreter looks at x0 to x17 after each call, and [`Cpu`] at the others.
const PROGRAM: &[GuestOp] = &[
    GuestOp::Version(Version::V1_2, Version::V1_2),
    GuestOp::IdGet,
    GuestOp::Map,
    GuestOp::List,
    GuestOp::ListInRegisters,
    GuestOp::Request(QUIET, 0),
    GuestOp::Request64(LAZY, 1),
    GuestOp::Request2(QUIET, 0),
    GuestOp::Share(Pages::block(2, 2), LAZY),
    GuestOp::Reclaim(0),
    GuestOp::ShareInFragments(Pages::block(2, 3).with_gaps(), LAZY, 112),
    GuestOp::Reclaim(1),
    GuestOp::IfServed(
        FunctionId::smc32(Function::MemLend),
        &[GuestOp::Lend(Pages::block(2, 2), LAZY), GuestOp::Reclaim(2)],
    ),
    GuestOp::IfServed(
        FunctionId::smc32(Function::MemDonate),
        &[GuestOp::Donate(Pages::block(2, 2), LAZY), GuestOp::Reclaim(3)],
    ),
    GuestOp::Bind(QUIET, IDS),
    GuestOp::Ask(QUIET, Control::Notify { vm: EVERY_CALLS_VM, id: 7, vcpu: None, after_ms: 0 }),
    GuestOp::Interrupted,
    GuestOp::Informed,
    GuestOp::Get(PendingNotifications {
        from_sps: IDS,
        from_vms: NotificationBitmap::NONE,
        from_spm: FrameworkNotifications::NONE,
        from_hypervisor: FrameworkNotifications::NONE,
    }),
    GuestOp::Unbind(QUIET, IDS),
    GuestOp::Signal(QUIET, IDS),
    GuestOp::Send(QUIET, 100),
    GuestOp::Delivered(QUIET, 100),
    GuestOp::Ask(QUIET, Control::SendMessage { vm: EVERY_CALLS_VM, size: 100, first: FIRST_BYTE }),
    GuestOp::Interrupted,
    GuestOp::Get(PendingNotifications {
        from_sps: NotificationBitmap::NONE,
        from_vms: NotificationBitmap::NONE,
        from_spm: FrameworkNotifications::RX_BUFFER_FULL,
        from_hypervisor: FrameworkNotifications::NONE,
    }),
    GuestOp::Receive(QUIET, 100),
    GuestOp::Unmap,
];

const GUEST: Guest =
    Guest { vm: EVERY_CALLS_VM, block_pages: 8, loose_pages: 0, acquainted: &[], program: PROGRAM };

/// Returns how many things were wrong.
pub fn run() -> u64 {
    interrupts::start();
    let mut wrongs = 0;
    for by in [Instruction::Smc, Instruction::Hvc] {
        let mut cpu = Recorder { by, made: 0 };
        wrongs += run_guest(&mut cpu, LAYOUT, &GUEST);
        wrongs += cpu.see_that_all_were_made();
    }
    wrongs.into()
}

/// Makes calls by one instruction, and takes note of them.
struct Recorder {
    by: Instruction,
    /// Functions, by the low bits of their numbers, in which all differ.
    made: u64,
}

impl Recorder {
    /// Sees that nothing is served that was not called. Returns how many functions were not.
    fn see_that_all_were_made(&mut self) -> u32 {
        let mut wrongs = 0;
        for row in FUNCTIONS {
            let forms = [Width::Smc32, Width::Smc64].map(|width| FunctionId::new(row.function, width));
            let was_made = self.made & bit(row.function) != 0;
            let is_served = forms.into_iter().flatten().any(|id| self.serves(id));
            if is_served && !was_made {
                self.wrong(format_args!("{} is served and was not called", row.name));
                wrongs += 1;
            }
        }
        wrongs
    }

    fn serves(&mut self, id: FunctionId) -> bool {
        let mut regs = Call::Features(FeatureQuery::Function { id, properties: 0 }).to_regs();
        self.call(self.by, &mut regs);
        regs.w::<0>() == FunctionId::smc32(Function::Success).w0()
    }
}

const fn bit(function: Function) -> u64 {
    1 << (function as u32 & 63)
}

impl GuestCpu for Recorder {
    fn call(&mut self, _: Instruction, regs: &mut Regs) {
        if let Ok(id) = FunctionId::from_w0(regs.w::<0>()) {
            self.made |= bit(id.function());
        }
        Cpu.call(self.by, regs);
    }

    fn read(&mut self, address: u64) -> u64 {
        Cpu.read(address)
    }

    fn write(&mut self, address: u64, value: u64) {
        Cpu.write(address, value);
    }

    fn is_aborted(&mut self, address: u64, value: Option<u64>) -> bool {
        Cpu.is_aborted(address, value)
    }

    fn sleep(&mut self, span: Span) {
        Cpu.sleep(span);
    }

    fn interrupted(&mut self, intid: u32, within: Span) -> bool {
        Cpu.interrupted(intid, within)
    }

    fn wrong(&mut self, what: Arguments<'_>) {
        Cpu.wrong(what);
    }
}
