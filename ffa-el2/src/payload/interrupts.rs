//! Interrupts, from the GIC's registers to the vector.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicUsize};

use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{GicCpuInterface, GicV3, SgiTarget, SgiTargetGroup};
use arm_gic::{IntId, InterruptGroup, UniqueMmioPointer, irq_disable, irq_enable, wfi};
use arm_sysregs::el0::accessors::{write_cntv_ctl_el0, write_cntv_cval_el0};
use arm_sysregs::el0::registers::{CntvCtlEl0, CntvCvalEl0};
use ffa_el2::clock;
use ffa_el2::lock::Mutex;
use ffa_el2::machine::{GIC_DISTRIBUTOR, GIC_REDISTRIBUTORS, UART};

static GIC: Mutex<Option<GicV3<'static>>> = Mutex::new(None);

const TIMER: IntId = IntId::ppi(11);
const SERIAL_PORT: IntId = IntId::spi(1);
const FIRST: IntId = IntId::sgi(1);
const SECOND: IntId = IntId::sgi(2);

const LOWEST_PRIORITY: u8 = 0xff;
/// One is more urgent than the other.
const HIGH: u8 = 0x40;
const LOW: u8 = 0xa0;
const MIDDLE: u8 = 0x80;

/// Time in which an interrupt that is pending is taken, in nanoseconds: much less than a turn.
const SOON: u64 = 100_000;

/// `UARTIMSC` of the PL011, and its interrupt for room to transmit.
const SERIAL_INTERRUPT_MASK: usize = UART + 0x38;
const SERIAL_CLEAR_INTERRUPTS: usize = UART + 0x44;
const TRANSMIT: u32 = 1 << 5;

/// INTIDs in the order in which they were taken, and how many there are.
static TAKEN: [AtomicU32; 16] = [const { AtomicU32::new(0) }; 16];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Finds the GIC. Nothing is enabled in it.
pub fn start() {
    let distributor = NonNull::new(GIC_DISTRIBUTOR as *mut Gicd).expect("the address is not zero");
    let redistributors = NonNull::new(GIC_REDISTRIBUTORS as *mut GicrSgi).expect("the address is not zero");
    // SAFETY: The page table has the guest's GIC there, as device memory, and `GIC` is its only user.
    let gic = unsafe { GicV3::new(UniqueMmioPointer::new(distributor), redistributors, 1) };
    let mut gic = gic.expect("the board has a GICv3");
    gic.setup(0);
    GicCpuInterface::set_priority_mask(LOWEST_PRIORITY);
    *GIC.lock() = Some(gic);
}

/// Called by the vector: takes every interrupt that is pending, and has whoever asked for it stop.
pub fn take() {
    while GicCpuInterface::handle_interrupt(InterruptGroup::Group1, |interrupt| {
        let position = COUNT.fetch_add(1, Relaxed);
        if let Some(place) = TAKEN.get(position) {
            place.store(interrupt.raw_value(), Relaxed);
        }
        match interrupt {
            TIMER => write_cntv_ctl_el0(CntvCtlEl0::empty()),
            SERIAL_PORT => set_serial_mask(0),
            _ => {}
        }
    }) {}
}

/// An interrupt that is sent while it is disabled is taken when it is enabled.
pub fn wait_until_enabled() -> bool {
    forget();
    irq_enable();
    send(FIRST);
    let none = are_taken(&[]);
    enable(FIRST, true, LOW);
    let one = taken_within(1) && are_taken(&[FIRST]);
    send(FIRST);
    let two = taken_within(2) && are_taken(&[FIRST; 2]);
    irq_disable();
    enable(FIRST, false, LOW);
    none && one && two
}

/// Even where only the more urgent one is let through.
pub fn have_priorities() -> bool {
    forget();
    enable(FIRST, true, LOW);
    enable(SECOND, true, HIGH);
    send(FIRST);
    send(SECOND);
    GicCpuInterface::set_priority_mask(MIDDLE);
    irq_enable();
    let one = taken_within(1) && !taken_within(2) && are_taken(&[SECOND]);
    GicCpuInterface::set_priority_mask(LOWEST_PRIORITY);
    let two = taken_within(2) && are_taken(&[SECOND, FIRST]);
    irq_disable();
    enable(FIRST, false, LOW);
    enable(SECOND, false, LOW);
    one && two
}

/// Three times while this waits, and three times while it is busy.
pub fn of_timer() -> bool {
    const MILLISECOND: u64 = 1_000_000;
    forget();
    enable(TIMER, true, LOW);
    let waits = (1..=3).all(|times| {
        let end = clock::now() + MILLISECOND;
        set_timer(end);
        while COUNT.load(Relaxed) < times {
            // Masked, so that none comes between the look and the wait; a pending one ends that all the same.
            irq_disable();
            if COUNT.load(Relaxed) < times {
                wfi();
            }
            irq_enable();
        }
        clock::now() >= end
    });
    let interrupts = (4..=6).all(|times| {
        set_timer(clock::now() + SOON / 2);
        taken_within(times)
    });
    irq_disable();
    enable(TIMER, false, LOW);
    waits && interrupts && are_taken(&[TIMER; 6])
}

/// Waits so long that others live and die meanwhile.
pub fn end_long_wait() -> bool {
    const SECOND: u64 = 1_000_000_000;
    let start = clock::now();
    sleep(SECOND);
    // Its turn comes soon.
    (SECOND..2 * SECOND).contains(&(clock::now() - start))
}

/// What is printed leaves room to transmit. Whoever masks that is not interrupted by it, until it is unmasked.
pub fn of_serial_port() -> bool {
    forget();
    enable(SERIAL_PORT, true, LOW);
    irq_enable();
    set_serial_mask(TRANSMIT);
    let one = taken_within(1);
    // It is still asserted behind the mask, which the handler has cleared.
    set_serial_mask(TRANSMIT);
    let two = taken_within(2);
    clear_serial_interrupts();
    set_serial_mask(TRANSMIT);
    let no_more = !taken_within(3);
    set_serial_mask(0);
    irq_disable();
    enable(SERIAL_PORT, false, LOW);
    one && two && no_more && are_taken(&[SERIAL_PORT; 2])
}

/// Waits for an interrupt for so long, in nanoseconds.
pub fn sleep(nanoseconds: u64) {
    let end = clock::now() + nanoseconds;
    forget();
    enable(TIMER, true, LOW);
    set_timer(end);
    while clock::now() < end {
        // The interrupt is pending but masked from then on, and ends the wait.
        wfi();
    }
    write_cntv_ctl_el0(CntvCtlEl0::empty());
    enable(TIMER, false, LOW);
}

fn set_timer(time: u64) {
    write_cntv_cval_el0(CntvCvalEl0::from_bits_retain(clock::ticks_at(time)));
    write_cntv_ctl_el0(CntvCtlEl0::ENABLE);
}

fn forget() {
    COUNT.store(0, Relaxed);
}

/// Whether exactly these were taken since the last [`forget`], in this order.
fn are_taken(interrupts: &[IntId]) -> bool {
    let taken = TAKEN.iter().take(COUNT.load(Relaxed)).map(|intid| intid.load(Relaxed));
    taken.eq(interrupts.iter().map(|interrupt| interrupt.raw_value()))
}

/// Whether `count` interrupts have been taken soon.
fn taken_within(count: usize) -> bool {
    let limit = clock::now() + SOON;
    while COUNT.load(Relaxed) < count && clock::now() < limit {}
    COUNT.load(Relaxed) >= count
}

fn send(sgi: IntId) {
    let this = SgiTarget::List { affinity3: 0, affinity2: 0, affinity1: 0, target_list: 1 };
    GicCpuInterface::send_sgi(sgi, this, SgiTargetGroup::CurrentGroup1).expect("it is an SGI");
}

fn enable(interrupt: IntId, is_enabled: bool, priority: u8) {
    let mut gic = GIC.lock();
    let gic = gic.as_mut().expect("it was started");
    gic.set_interrupt_priority(interrupt, Some(0), priority).expect("there is such an interrupt");
    gic.enable_interrupt(interrupt, Some(0), is_enabled).expect("there is such an interrupt");
}

fn set_serial_mask(mask: u32) {
    // SAFETY: The page table has the guest's PL011 there, as device memory. The console does not use its interrupts.
    unsafe { (SERIAL_INTERRUPT_MASK as *mut u32).write_volatile(mask) }
}

fn clear_serial_interrupts() {
    // SAFETY: As above.
    unsafe { (SERIAL_CLEAR_INTERRUPTS as *mut u32).write_volatile(TRANSMIT) }
}
