//! The TEE driver, as programs see it: Linux, `include/uapi/linux/tee.h`.

use crate::kernel::{File, Memory};

/// The trusted application of the secure world's model.
const APPLICATION: [u8; 16] =
    [0x0d, 0x5a, 0x1d, 0xef, 0x2c, 0x3b, 0x4f, 0x6a, 0x9a, 0x81, 0x66, 0x66, 0x61, 0x2d, 0x65, 0x6c];
const COMPLEMENT: u32 = 0;

/// Requests: direction, size of the argument, the driver's letter, and a number.
const OPEN_SESSION: usize = request(READ, size_of::<Buffer>(), 2);
const INVOKE: usize = request(READ, size_of::<Buffer>(), 3);
const REGISTER: usize = request(READ | WRITE, size_of::<Registration>(), 9);
const WRITE: usize = 1;
const READ: usize = 2;

const fn request(direction: usize, bytes: usize, number: usize) -> usize {
    const LETTER: usize = 0xa4;
    direction << 30 | bytes << 16 | LETTER << 8 | number
}

/// Kinds of parameters: both go in and come out.
const VALUE: u64 = 3;
const MEMORY_REFERENCE: u64 = 7;

/// Where an argument is that may have any number of parameters.
#[repr(C)]
struct Buffer {
    address: u64,
    length: u64,
}

#[repr(C)]
#[derive(Default)]
struct Registration {
    address: u64,
    length: u64,
    flags: u32,
    id: i32,
}

#[repr(C)]
#[derive(Default)]
struct Opening {
    application: [u8; 16],
    client: [u8; 16],
    login: u32,
    cancel_id: u32,
    session: u32,
    result: u32,
    origin: u32,
    parameters: u32,
}

#[repr(C)]
#[derive(Default)]
struct Invocation {
    function: u32,
    session: u32,
    cancel_id: u32,
    result: u32,
    origin: u32,
    count: u32,
    parameters: [Parameter; 2],
}

#[repr(C)]
#[derive(Default)]
struct Parameter {
    kind: u64,
    words: [u64; 3],
}

/// What went wrong.
pub struct TeeError(pub &'static str);

/// The driver.
pub struct Tee(File);

/// Memory that is shared until this is dropped.
pub struct Shared {
    id: i32,
    length: u64,
    /// The kernel keeps the memory shared as long as somebody has this open.
    _file: File,
}

/// A session of the application.
pub struct Session<'a> {
    tee: &'a Tee,
    number: u32,
}

impl Tee {
    pub fn open() -> Result<Self, TeeError> {
        File::open(c"/dev/tee0").map(Self).ok_or(TeeError("there is no /dev/tee0"))
    }

    /// Shares `memory` with the trusted OS.
    pub fn register(&self, memory: &Memory) -> Result<Shared, TeeError> {
        let length = memory.length() as u64;
        let mut registration =
            Registration { address: memory.address() as u64, length, ..Registration::default() };
        // SAFETY: The driver reads and writes the argument, which is of the kind that it takes.
        let number = unsafe { self.0.control(REGISTER, &mut registration) };
        let file = File::from_number(number).ok_or(TeeError("the memory cannot be shared"))?;
        Ok(Shared { id: registration.id, length, _file: file })
    }

    /// Makes a request whose argument has parameters behind it.
    fn request<T>(&self, request: usize, argument: &mut T) -> Result<(), TeeError> {
        let mut buffer =
            Buffer { address: core::ptr::from_mut(argument).addr() as u64, length: size_of::<T>() as u64 };
        // SAFETY: The driver reads the buffer, and reads and writes the argument that it points to, which the caller lends
        // for that and which any bytes fit.
        let result = unsafe { self.0.control(request, &mut buffer) };
        if result < 0 { Err(TeeError("the driver refuses a request")) } else { Ok(()) }
    }
}

impl Shared {
    /// Takes the memory back.
    pub fn take_back(self) {}
}

impl<'a> Session<'a> {
    pub fn open(tee: &'a Tee) -> Result<Self, TeeError> {
        let mut opening = Opening { application: APPLICATION, ..Opening::default() };
        tee.request(OPEN_SESSION, &mut opening)?;
        if opening.result != 0 {
            return Err(TeeError("the trusted OS does not have the application"));
        }
        Ok(Self { tee, number: opening.session })
    }

    /// Has the application turn each byte into its complement. Returns the sum of what it found.
    pub fn complement(&self, shared: &Shared) -> Result<u64, TeeError> {
        let mut invocation = Invocation {
            function: COMPLEMENT,
            session: self.number,
            count: 2,
            parameters: [
                Parameter { kind: VALUE, ..Parameter::default() },
                Parameter { kind: MEMORY_REFERENCE, words: [0, shared.length, shared.id as u64] },
            ],
            ..Invocation::default()
        };
        self.tee.request(INVOKE, &mut invocation)?;
        if invocation.result != 0 {
            return Err(TeeError("the application refuses"));
        }
        Ok(invocation.parameters[0].words[0])
    }
}
