//! What can interrupt the normal world, or go wrong here.

use aarch64_rt::{ExceptionHandlers, RegisterStateRef, exception_handlers};
use arm_sysregs::el3::accessors::read_esr_el3;

use crate::bench_clock;
use crate::normal_world::{self, EL2_MASKED};
use crate::psci;
use crate::smc::{self, Outcome};

exception_handlers!(Exceptions);

struct Exceptions;

/// Exception class of an SMC from AArch64. Arm ARM (DDI 0487) section D17.2.37.
const SMC64: u8 = 0x17;

impl ExceptionHandlers for Exceptions {
    extern "C" fn sync_lower(mut state: RegisterStateRef) {
        let stopped = bench_clock::stop();
        let syndrome = read_esr_el3();
        if syndrome.ec() != SMC64 {
            panic!("exception {:#x} from the normal world at {:#x}", syndrome.bits(), state.elr);
        }
        // SAFETY: These are registers of the normal world, which trusts nothing here with its safety; ELR and SPSR
        // change only to start it afresh at EL2, at an address that it gave itself.
        let state = unsafe { state.get_mut() };
        let registers = state.registers.first_chunk_mut().expect("x0 to x18 begin with x0 to x17");
        match smc::call(registers, syndrome.iss() as u16) {
            Outcome::Return => {}
            Outcome::PowerOff => {
                let start = psci::power_off();
                normal_world::reset_el2();
                state.registers = [0; 19];
                state.registers[0] = start.argument;
                state.elr = start.entry as usize;
                state.spsr = EL2_MASKED;
            }
        }
        bench_clock::go_on(stopped);
    }

    extern "C" fn sync_current(state: RegisterStateRef) {
        panic!("exception {:#x} at {:#x}", read_esr_el3().bits(), state.elr);
    }
}
