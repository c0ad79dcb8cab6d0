//! The virtual CPU interface of the GIC, through which a guest takes interrupts: GICv3 (IHI 0069) chapter 6.
//!
//! A guest uses the `ICC_*_EL1` registers as on hardware, group 1 only. With no distributor and no redistributor, as our
//! own guests are, each of its SGIs and PPIs is enabled, edge-triggered and of the same priority; those of a
//! [`board`](crate::board) decide otherwise.
//!
//! List registers hold interrupts only while their vCPU runs. Otherwise the vCPU has them as two sets.

use core::iter;

use arm_sysregs::el2::accessors::{read_ich_vmcr_el2, write_ich_hcr_el2, write_ich_vmcr_el2};
use arm_sysregs::el2::registers::{IchHcrEl2, IchVmcrEl2};

use crate::doorbell;

/// Interrupts of a vCPU, its private ones and the first that are shared, by INTID: a bit each.
pub type IntIds = u64;

// `arm-sysregs` leaves these out.
arm_sysregs::read_sysreg!(ich_vtr_el2, u64, safe);
arm_sysregs::read_write_sysreg!(ich_ap0r0_el2, u64, safe_read, safe_write);
arm_sysregs::read_write_sysreg!(ich_ap1r0_el2, u64, safe_read, safe_write);
arm_sysregs::read_write_sysreg!(ich_lr0_el2, u64, safe_read, safe_write);
arm_sysregs::read_write_sysreg!(ich_lr1_el2, u64, safe_read, safe_write);
arm_sysregs::read_write_sysreg!(ich_lr2_el2, u64, safe_read, safe_write);
arm_sysregs::read_write_sysreg!(ich_lr3_el2, u64, safe_read, safe_write);

/// A list register: how it is read, and how it is written.
type ListRegister = (fn() -> u64, fn(u64));

/// The list registers of this machine. Another one may have fewer, but not more.
const LIST_REGISTERS: [ListRegister; 4] = [
    (read_ich_lr0_el2, write_ich_lr0_el2),
    (read_ich_lr1_el2, write_ich_lr1_el2),
    (read_ich_lr2_el2, write_ich_lr2_el2),
    (read_ich_lr3_el2, write_ich_lr3_el2),
];

/// Group 0 is not for guests.
const CONTROLS: IchHcrEl2 = IchHcrEl2::TALL0;

/// Fields of `ICH_VTR_EL2`, each one less than the number it stands for.
const VTR_LIST_REGISTERS_MASK: u64 = 0x1f;
const VTR_PREEMPTION_BITS_SHIFT: u32 = 26;
const VTR_PREEMPTION_BITS_MASK: u64 = 0x7;

/// Most bits of preemption with which one register has all active priorities.
const PREEMPTION_BITS: u64 = 5;

/// Fields of `ICH_LR<n>_EL2`.
const LR_INTID_MASK: u64 = 0xffff_ffff;
/// Without `HW`: to be told when the guest is done with the interrupt.
const LR_EOI: u64 = 1 << 41;
const LR_PRIORITY_SHIFT: u32 = 48;
const LR_GROUP_1: u64 = 1 << 60;
const LR_PENDING: u64 = 1 << 62;
const LR_ACTIVE: u64 = 1 << 63;

/// The priority of interrupts, if nobody sets it.
const PRIORITY: u8 = 0x80;

/// A virtual CPU interface while its vCPU does not run.
pub struct VirtualGic {
    /// What was raised and not taken, however it is triggered.
    pub pending: IntIds,
    /// What the guest is busy with.
    pub active: IntIds,
    /// What may be signalled.
    pub enabled: IntIds,
    pub priorities: [u8; IntIds::BITS as usize],
    /// Those that are level-sensitive: pending as long as their line is asserted.
    level_sensitive: IntIds,
    lines: IntIds,
    /// What the guest set: priority mask, enables, binary point, end-of-interrupt mode.
    controls: IchVmcrEl2,
    /// Priorities of the interrupts that the guest is busy with.
    active_priorities: u64,
}

/// Prepares the virtual CPU interface of this CPU: nothing is signalled.
///
/// # Panics
/// If it has more registers than are looked after here.
pub fn start_cpu() {
    let vtr = read_ich_vtr_el2();
    assert!(
        vtr & VTR_LIST_REGISTERS_MASK < LIST_REGISTERS.len() as u64,
        "the CPU has too many list registers"
    );
    assert!(
        vtr >> VTR_PREEMPTION_BITS_SHIFT & VTR_PREEMPTION_BITS_MASK < PREEMPTION_BITS,
        "the CPU has too many registers of active priorities"
    );
    set_controls(CONTROLS);
    write_ich_ap0r0_el2(0);
}

impl VirtualGic {
    /// That of a vCPU that has not run yet: nothing is pending, everything is masked.
    pub const AT_RESET: Self = Self {
        pending: 0,
        active: 0,
        enabled: IntIds::MAX,
        priorities: [PRIORITY; IntIds::BITS as usize],
        level_sensitive: 0,
        lines: 0,
        controls: IchVmcrEl2::empty(),
        active_priorities: 0,
    };

    /// The same behind a distributor, where nothing is enabled: `level_sensitive` interrupts have lines.
    pub const fn behind_distributor(level_sensitive: IntIds) -> Self {
        Self { enabled: 0, level_sensitive, ..Self::AT_RESET }
    }

    /// Whether an interrupt is pending, be it masked at the CPU or not.
    pub fn has_pending(&self) -> bool {
        self.signalled() != 0
    }

    /// Asserts or releases the line of a level-sensitive interrupt.
    pub fn set_line(&mut self, intid: u32, is_asserted: bool) {
        let bit = 1 << intid;
        self.lines = if is_asserted { self.lines | bit } else { self.lines & !bit };
    }

    /// What is pending, be it enabled or not.
    pub fn all_pending(&self) -> IntIds {
        self.pending | self.lines
    }

    /// Which interrupts are level-sensitive.
    pub fn level_sensitive(&self) -> IntIds {
        self.level_sensitive
    }

    /// Puts it into this CPU, with the interrupts that were `raised` meanwhile.
    pub fn restore(&mut self, raised: doorbell::IntIds) {
        self.pending |= IntIds::from(raised);
        let mut left = self.active | self.signalled();
        for (_, write) in list_registers() {
            write(self.take_one(&mut left));
        }
        write_ich_vmcr_el2(self.controls);
        write_ich_ap1r0_el2(self.active_priorities);
        // What found no list register is put into one when the others are done with.
        let more = if left != 0 { IchHcrEl2::UIE } else { IchHcrEl2::empty() };
        set_controls(CONTROLS | IchHcrEl2::EN | more);
    }

    /// Takes it from this CPU, which then signals nothing: not even to itself, when it waits.
    pub fn save(&mut self) {
        for (read, _) in list_registers() {
            let entry = read();
            // Registers that are not used have neither state.
            let bit = (1 as IntIds).unbounded_shl((entry & LR_INTID_MASK) as u32);
            // Of a line, only its state now counts.
            if entry & LR_PENDING != 0 {
                self.pending |= bit & !self.level_sensitive;
            }
            if entry & LR_ACTIVE != 0 {
                self.active |= bit;
            }
        }
        self.controls = read_ich_vmcr_el2();
        self.active_priorities = read_ich_ap1r0_el2();
        set_controls(CONTROLS);
    }

    /// Moves one of the interrupts that are `left` into the value of a list register, if there is one. Active ones are
    /// first: the guest ends them, and so they must be there.
    fn take_one(&mut self, left: &mut IntIds) -> u64 {
        let active = *left & self.active;
        let candidates = if active != 0 { active } else { *left };
        let Some(intid) = self.most_urgent(candidates) else { return 0 };
        let bit = 1 << intid;
        let priority = self.priorities[intid as usize];
        let mut entry = u64::from(intid) | u64::from(priority) << LR_PRIORITY_SHIFT | LR_GROUP_1;
        let is_level_sensitive = self.level_sensitive & bit != 0;
        if is_level_sensitive {
            entry |= LR_EOI;
        }
        // An active one whose line is asserted may no longer be when the guest is done with it.
        if self.signalled() & bit != 0 && !(is_level_sensitive && active != 0) {
            entry |= LR_PENDING;
        }
        if active != 0 {
            entry |= LR_ACTIVE;
        }
        *left &= !bit;
        self.pending &= !bit;
        self.active &= !bit;
        entry
    }

    /// The first of those with the highest priority, which is the lowest number.
    fn most_urgent(&self, intids: IntIds) -> Option<u32> {
        let mut left = intids;
        let present = iter::from_fn(|| {
            let lowest = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            (lowest < IntIds::BITS).then_some(lowest)
        });
        present.min_by_key(|&intid| self.priorities[intid as usize])
    }

    fn signalled(&self) -> IntIds {
        (self.pending | self.lines) & self.enabled
    }
}

/// Those that this CPU has.
fn list_registers() -> impl Iterator<Item = ListRegister> {
    LIST_REGISTERS.into_iter().take((read_ich_vtr_el2() & VTR_LIST_REGISTERS_MASK) as usize + 1)
}

fn set_controls(controls: IchHcrEl2) {
    // SAFETY: The register decides about EL1 and EL0 only, of which none runs now.
    unsafe { write_ich_hcr_el2(controls) }
}
