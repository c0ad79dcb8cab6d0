//! What the guest of a VM does.

use ffa_abi::{
    FrameworkNotifications, Function, FunctionId, NotificationBitmap, PartitionId, PendingNotifications,
};
use ffa_el2::partitions::{LAZY, QUIET, SCRIBBLER};
use ffa_teardown::Span;
use ffa_test_utils::scenario::GuestOp::{self, *};
use ffa_test_utils::scenario::{Guest, Instruction, Pages};
use ffa_test_utils::spmc::Control;

/// Pages behind TX and RX, which every VM uses in the same way.
const SHARED: Pages = Pages::block(2, 2);
const IN_FRAGMENTS: Pages = Pages::block(4, 8).with_gaps();
const SCRIBBLED: Pages = Pages::block(22, 1);
const LENT: Pages = Pages::block(23, 2);
const ALL: u16 = 25;

/// What not every secure world has.
const NOTIFICATIONS: FunctionId = FunctionId::smc32(Function::NotificationBind);
const LENDING: FunctionId = FunctionId::smc32(Function::MemLend);

/// Bytes of a fragment: the first has one range, the others six.
const FRAGMENT: u16 = 96;
const NOTIFICATION: u8 = 3;
const SIGNALLED: NotificationBitmap = NotificationBitmap(1 << NOTIFICATION);

/// Others run meanwhile.
const A_MOMENT: Span = Span::from_nanos(20_000);

/// The guest of the VM with this ID, with what it does first, and what it does in each round.
pub fn of(id: u32) -> Option<(Guest, &'static [GuestOp])> {
    match id {
        1 => Some((Programs::<1>::GUEST, Programs::<1>::ROUND)),
        2 => Some((Programs::<2>::GUEST, Programs::<2>::ROUND)),
        _ => None,
    }
}

/// The programs of a VM.
struct Programs<const ID: u16>;

impl<const ID: u16> Programs<ID> {
    const VM: PartitionId = PartitionId(ID);

    const GUEST: Guest =
        Guest { vm: Self::VM, block_pages: ALL, loose_pages: 0, acquainted: &[], program: &[CheckAllZero] };

    /// Nothing of it stays to the end of the round, but the data.
    const ROUND: &'static [GuestOp] = &[
        By(Instruction::Smc),
        IdGet,
        Map,
        List,
        IfServed(NOTIFICATIONS, Self::SIGNAL),
        Fill(SHARED),
        Share(SHARED, QUIET),
        Request(QUIET, 0),
        Request(LAZY, 1),
        Share(SCRIBBLED, SCRIBBLER),
        By(Instruction::Hvc),
        Fill(IN_FRAGMENTS),
        ShareInFragments(IN_FRAGMENTS, QUIET, FRAGMENT),
        Request(LAZY, 1),
        Sleep(A_MOMENT),
        IfServed(LENDING, &[Lend(LENT, QUIET), Lost(LENT), Request(LAZY, 1)]),
        Check(IN_FRAGMENTS),
        By(Instruction::Smc),
        ReclaimInUse(0),
        Ask(QUIET, Control::RelinquishAll(Self::VM)),
        Ask(SCRIBBLER, Control::RelinquishAll(Self::VM)),
        Check(SHARED),
        Reclaim(0),
        Reclaim(1),
        Reclaim(2),
        IfServed(LENDING, &[Reclaim(3)]),
        Fill(SCRIBBLED),
        IfServed(NOTIFICATIONS, Self::TAKE),
        Request(SCRIBBLER, 0),
        Request(LAZY, 1),
        Check(SHARED),
        Check(SCRIBBLED),
        Unmap,
        Sleep(A_MOMENT),
    ];

    const SIGNAL: &'static [GuestOp] = &[
        Bind(QUIET, SIGNALLED),
        Ask(QUIET, Control::Notify { vm: Self::VM, id: NOTIFICATION, vcpu: None, after_ms: 0 }),
    ];

    const TAKE: &'static [GuestOp] = &[
        Get(PendingNotifications {
            from_sps: SIGNALLED,
            from_vms: NotificationBitmap::NONE,
            from_spm: FrameworkNotifications(0),
            from_hypervisor: FrameworkNotifications(0),
        }),
        Unbind(QUIET, SIGNALLED),
    ];
}
