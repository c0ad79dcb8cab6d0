//! The system registers that EL1 sees as its own.

use arm_sysregs::el0::accessors::*;
use arm_sysregs::el0::registers::*;
use arm_sysregs::el1::accessors::*;
use arm_sysregs::el1::registers::*;
use arm_sysregs::el2::accessors::{read_vdisr_el2, write_vdisr_el2};
use arm_sysregs::el2::registers::VdisrEl2;

// `arm-sysregs` leaves this one out.
arm_sysregs::read_write_sysreg!(sp_el0, u64, safe_read);

/// `SCTLR_EL1` as EL1 finds it: MMU and caches off, and the bits that are one. `HCR_EL2.DC` makes its memory cacheable
/// all the same.
const SCTLR_AT_RESET: u64 = 0x30d0_0800;

macro_rules! el1_registers {
    ($($field:ident: $type:ty, $read:ident, $write:ident;)*) => {
        /// Values of the registers while their vCPU does not run.
        #[derive(Default)]
        pub struct El1Registers {
            $($field: $type,)*
        }

        impl El1Registers {
            /// Takes the values from this CPU.
            pub fn save(&mut self) {
                $(self.$field = $read();)*
            }

            /// Puts the values into this CPU.
            #[allow(unused_unsafe, reason = "arm-sysregs makes some of these writes safe")]
            pub fn restore(&self) {
                // SAFETY: None of these registers has an effect at EL2. EL1 sees the values that it had, and cannot
                // reach more with them than its stage 2 allows.
                unsafe { $($write(self.$field);)* }
            }
        }
    };
}

el1_registers! {
    sp_el0: u64, read_sp_el0, write_sp_el0;
    sp: SpEl1, read_sp_el1, write_sp_el1;
    elr: ElrEl1, read_elr_el1, write_elr_el1;
    spsr: SpsrEl1, read_spsr_el1, write_spsr_el1;
    vbar: VbarEl1, read_vbar_el1, write_vbar_el1;
    esr: EsrEl1, read_esr_el1, write_esr_el1;
    far: FarEl1, read_far_el1, write_far_el1;
    afsr0: u64, read_afsr0_el1, write_afsr0_el1;
    afsr1: u64, read_afsr1_el1, write_afsr1_el1;
    sctlr: SctlrEl1, read_sctlr_el1, write_sctlr_el1;
    cpacr: CpacrEl1, read_cpacr_el1, write_cpacr_el1;
    tcr: TcrEl1, read_tcr_el1, write_tcr_el1;
    ttbr0: Ttbr0El1, read_ttbr0_el1, write_ttbr0_el1;
    ttbr1: Ttbr1El1, read_ttbr1_el1, write_ttbr1_el1;
    mair: MairEl1, read_mair_el1, write_mair_el1;
    amair: u64, read_amair_el1, write_amair_el1;
    par: ParEl1, read_par_el1, write_par_el1;
    disr: VdisrEl2, read_disr, write_disr;
    contextidr: ContextidrEl1, read_contextidr_el1, write_contextidr_el1;
    tpidr: TpidrEl1, read_tpidr_el1, write_tpidr_el1;
    tpidr_el0: TpidrEl0, read_tpidr_el0, write_tpidr_el0;
    tpidrro_el0: TpidrroEl0, read_tpidrro_el0, write_tpidrro_el0;
    csselr: CsselrEl1, read_csselr_el1, write_csselr_el1;
    cntkctl: CntkctlEl1, read_cntkctl_el1, write_cntkctl_el1;
    cntv_ctl: CntvCtlEl0, read_cntv_ctl_el0, write_cntv_ctl_el0;
    cntv_cval: CntvCvalEl0, read_cntv_cval_el0, write_cntv_cval_el0;
}

/// `DISR_EL1`, where there is one: with `HCR_EL2.AMO`, EL1 accesses `VDISR_EL2` by this name.
fn read_disr() -> VdisrEl2 {
    if has_disr() { read_vdisr_el2() } else { VdisrEl2::empty() }
}

fn write_disr(value: VdisrEl2) {
    if has_disr() {
        write_vdisr_el2(value);
    }
}

/// It came with the RAS extension.
fn has_disr() -> bool {
    read_id_aa64pfr0_el1().ras() != 0
}

impl El1Registers {
    /// The registers of a vCPU that has not run yet and has its stack below `stack_top`.
    pub fn at_reset(stack_top: u64) -> Self {
        Self {
            sp: SpEl1::from_bits_retain(stack_top),
            sctlr: SctlrEl1::from_bits_retain(SCTLR_AT_RESET),
            ..Self::default()
        }
    }
}
