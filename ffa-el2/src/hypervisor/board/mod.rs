//! The machine around the vCPU of a guest that brings an operating system of its own: memory, an interrupt controller, a
//! timer and a serial port, at the addresses that its device tree names.
//!
//! Its vCPU leaves for EL2 whenever it uses one of them, or a system register that it shall not have: what it did is done
//! here in its place. So its exceptions take longer than those of our own guests, which have none of all this.

mod access;
mod distributor;
mod floating_point;
mod id_registers;
pub mod layout;
mod serial;
mod system_registers;
mod virtual_timer;

use core::ops::Range;

use arm_sysregs::el2::accessors::{read_far_el2, read_hpfar_el2};

use crate::guest_exception::Place;
use crate::trap::is_anothers;
use crate::vcpu::{Context, State, Stop, Vcpu};
use crate::virtual_gic::VirtualGic;
use crate::vm_id::VmId;
use crate::world_switch;

pub use virtual_timer::deadline as next_timer_interrupt;

use access::Access;
use distributor::Distributor;
use floating_point::FloatingPoint;
use serial::Serial;

/// Exception classes. Arm ARM (DDI 0487) section D17.2.37.
const WAIT: u64 = 0x01;
const SYSTEM_REGISTER: u64 = 0x18;
const INSTRUCTION_ABORT: u64 = 0x20;
const DATA_ABORT: u64 = 0x24;

const CLASS_SHIFT: u32 = 26;
const CLASS_MASK: u64 = 0x3f;
const INSTRUCTION_BYTES: u64 = 4;
const PAGE_SHIFT: u32 = 12;

/// What belongs to the machine and not to its CPU, while the vCPU does not run; and the state of the CPU that our own
/// guests do not have.
pub struct Board {
    floating_point: FloatingPoint,
    serial: Serial,
    distributor: Distributor,
    /// What the vCPU left for.
    trap: Option<Trap>,
}

/// An exception that was taken to EL2.
#[derive(Clone, Copy, Debug)]
struct Trap {
    syndrome: u64,
    /// The address that was accessed, if one was, as the guest sees it.
    address: u64,
    /// That address behind the guest's own translation.
    ipa: u64,
}

impl Board {
    /// One that was just switched on.
    pub const fn new() -> Self {
        Self {
            floating_point: FloatingPoint::ZERO,
            serial: Serial::new(),
            distributor: Distributor::new(),
            trap: None,
        }
    }

    /// The interrupt controller of a vCPU on such a board.
    pub const fn gic() -> VirtualGic {
        VirtualGic::behind_distributor(1 << virtual_timer::INTID | 1 << layout::SERIAL_INTID)
    }

    /// Takes note of what the vCPU has just been left for.
    pub fn trapped(&mut self, syndrome: u64) {
        let address = read_far_el2().bits();
        let ipa = read_hpfar_el2().fipa() << PAGE_SHIFT | address & ((1 << PAGE_SHIFT) - 1);
        self.trap = Some(Trap { syndrome, address, ipa });
    }

    /// Ends a turn of the vCPU, whose registers have been saved.
    pub fn end_turn(&self) {
        virtual_timer::stop();
    }

    /// The guest has stopped. Prints what it has not ended with a new line.
    pub fn switch_off(&mut self, vm: VmId) {
        self.serial.flush(vm);
    }
}

/// Prepares for a turn of `vcpu`, whose registers of EL1 are in this CPU.
pub fn begin_turn(vcpu: &mut Vcpu) {
    virtual_timer::refresh(&mut vcpu.gic);
}

/// Runs the guest until it has to wait or an interrupt arrives.
///
/// # Safety
/// That of [`world_switch::enter`], and the vCPU has a board.
pub unsafe extern "C" fn run(vcpu: *mut Vcpu) {
    // SAFETY: The caller's promise: it is valid, and nobody else's.
    let vcpu = unsafe { &mut *vcpu };
    board(vcpu).floating_point.restore();
    loop {
        // SAFETY: The caller's promise. What was done for the guest since has left the system registers as they must be.
        unsafe { world_switch::enter(vcpu) }
        let Some(trap) = board(vcpu).trap.take() else { break };
        handle(vcpu, trap);
        if vcpu.state != State::Ready {
            break;
        }
    }
    board(vcpu).floating_point.save();
}

fn handle(vcpu: &mut Vcpu, trap: Trap) {
    match trap.syndrome >> CLASS_SHIFT & CLASS_MASK {
        WAIT => {
            vcpu.state = State::WaitingForInterrupt(virtual_timer::deadline());
            skip_instruction(vcpu);
        }
        SYSTEM_REGISTER => {
            if system_registers::access(vcpu, trap.syndrome) {
                skip_instruction(vcpu);
            } else {
                go_on_at(vcpu, Place::after_undefined_instruction);
            }
        }
        DATA_ABORT => match Access::from_syndrome(trap.syndrome) {
            Some(access) if access_device(vcpu, access, trap.ipa) => skip_instruction(vcpu),
            _ => abort(vcpu, trap),
        },
        INSTRUCTION_ABORT if is_anothers(vcpu.vm, trap.ipa) => abort(vcpu, trap),
        // Its vectors may be there as well.
        INSTRUCTION_ABORT => vcpu.state = State::Stopped(Stop::MemoryFault(trap.ipa)),
        _ => go_on_at(vcpu, Place::after_undefined_instruction),
    }
}

/// Does what the guest's load or store does. Says false if there is no device at that address.
fn access_device(vcpu: &mut Vcpu, access: Access, ipa: u64) -> bool {
    let stored = access.stored(&vcpu.context);
    let offset_in = |device: Range<u64>| device.contains(&ipa).then(|| ipa - device.start);
    let Vcpu { board, gic, .. } = vcpu;
    let Board { serial, distributor, .. } = board.as_mut().expect("only vCPUs with a board come here");
    let loaded = if let Some(offset) = offset_in(layout::SERIAL) {
        let before = serial.is_asserted();
        let value = serial.access(vcpu.vm, offset, stored);
        let after = serial.is_asserted();
        if after != before {
            change_gic(gic, |gic| gic.set_line(layout::SERIAL_INTID, after));
        }
        value
    } else if let Some(offset) = offset_in(layout::DISTRIBUTOR) {
        change_gic(gic, |gic| distributor.access(gic, offset, access.bytes, stored))
    } else if let Some(offset) = offset_in(layout::REDISTRIBUTOR) {
        change_gic(gic, |gic| distributor.access_redistributor(gic, offset, access.bytes, stored))
    } else {
        return false;
    };
    access.finish(&mut vcpu.context, loaded);
    true
}

/// Changes the guest's GIC while it is in this CPU.
fn change_gic<T>(gic: &mut VirtualGic, change: impl FnOnce(&mut VirtualGic) -> T) -> T {
    gic.save();
    let result = change(gic);
    virtual_timer::refresh(gic);
    gic.restore(0);
    result
}

fn board(vcpu: &mut Vcpu) -> &mut Board {
    vcpu.board.as_mut().expect("only vCPUs with a board come here")
}

/// Lets the guest take an external abort for what it did.
fn abort(vcpu: &mut Vcpu, trap: Trap) {
    go_on_at(vcpu, |place| place.after_external_abort(trap.syndrome, trap.address));
}

fn go_on_at(vcpu: &mut Vcpu, next: impl FnOnce(Place) -> Place) {
    let Context { pc, processor_state, .. } = &mut vcpu.context;
    let next = next(Place { pc: *pc, processor_state: *processor_state });
    (*pc, *processor_state) = (next.pc, next.processor_state);
}

fn skip_instruction(vcpu: &mut Vcpu) {
    // The guest chose where its instruction is.
    vcpu.context.pc = vcpu.context.pc.wrapping_add(INSTRUCTION_BYTES);
}
