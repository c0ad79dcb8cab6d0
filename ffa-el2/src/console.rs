//! Lines of text on the serial port.

use core::fmt::{Arguments, Write};

use core::ptr::NonNull;

use crate::lock::{Mutex, let_others_go_first};
use arm_pl011_uart::{DataBits, LineConfig, PL011Registers, Parity, StopBits, Uart, UniqueMmioPointer};

use crate::machine::UART;

const BAUD_RATE: u32 = 115_200;
const CLOCK_HERTZ: u32 = 24_000_000;
/// How often a panicking CPU asks for the lock before it takes it that the lock is its own.
const PATIENCE: u32 = 1_000_000;

static CONSOLE: Mutex<Option<Uart<'static>>> = Mutex::new(None);

/// Starts the serial port.
pub fn start() {
    *CONSOLE.lock() = Some(open());
}

/// Prints one line, whole: lines of two CPUs do not mix. Before [`start`], nothing happens.
pub fn line(text: Arguments) {
    if let Some(uart) = CONSOLE.lock().as_mut() {
        write_line(uart, text);
    }
}

/// Prints one line although this CPU may have stopped while printing another.
pub fn line_in_panic(text: Arguments) {
    for _ in 0..PATIENCE {
        if let Some(mut console) = CONSOLE.try_lock() {
            write_line(console.get_or_insert_with(open), text);
            return;
        }
        let_others_go_first();
    }
    write_line(&mut open(), text);
}

fn write_line(uart: &mut Uart, text: Arguments) {
    // The port takes every byte, so only a broken `Display` could make this fail.
    _ = writeln!(uart, "{text}");
}

fn open() -> Uart<'static> {
    let registers = NonNull::new(UART as *mut PL011Registers).expect("the address is not zero");
    // SAFETY: Every map of both images has the PL011 of this machine at that address, as device memory and for good.
    // `CONSOLE` keeps the only `Uart` of an image, save in a panic; the two images, and a panic, may write into each
    // other's lines but share no state beyond the device itself.
    let mut uart = Uart::new(unsafe { UniqueMmioPointer::new(registers) });
    let line = LineConfig { data_bits: DataBits::Bits8, parity: Parity::None, stop_bits: StopBits::One };
    uart.enable(line, BAUD_RATE, CLOCK_HERTZ).expect("the divisor of these two constants fits");
    uart
}

/// Prints one line on the serial port, as `std::println!` does.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => { $crate::console::line(format_args!($($argument)*)) };
}
