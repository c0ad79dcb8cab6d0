//! The TEE driver, as programs see it: Linux, `include/uapi/linux/tee.h`.

use crate::kernel::{File, Memory};

/// The trusted application of the secure world's model.
const MODEL: [u8; 16] =
    [0x0d, 0x5a, 0x1d, 0xef, 0x2c, 0x3b, 0x4f, 0x6a, 0x9a, 0x81, 0x66, 0x66, 0x61, 0x2d, 0x65, 0x6c];
const COMPLEMENT: u32 = 0;

/// OP-TEE's own tests, which it has unless it was built without: `pta_invoke_tests.h`.
const TESTS: [u8; 16] =
    [0xd9, 0x6a, 0x5b, 0x40, 0xc3, 0xe5, 0x21, 0xe3, 0x87, 0x94, 0x10, 0x02, 0xa5, 0xd5, 0xc6, 0x1b];
/// To encrypt, with a key and a counter that are always the same.
const AES: u32 = 9;
const KEY_BITS: u64 = 128;
const COUNTER_MODE: u64 = 2;

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

/// Kinds of parameters: one that goes in, and two that come out as well.
const INPUT: u64 = 1;
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
struct Invocation<const PARAMETERS: usize> {
    function: u32,
    session: u32,
    cancel_id: u32,
    result: u32,
    origin: u32,
    count: u32,
    parameters: [Parameter; PARAMETERS],
}

#[repr(C)]
#[derive(Clone, Copy)]
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

/// A trusted application that changes every byte of memory, and changes it back when it is asked once more.
#[derive(Clone, Copy)]
enum Application {
    /// Encrypts by a stream cipher.
    Tests,
    /// Complements.
    Model,
}

/// A session of the application.
pub struct Session<'a> {
    tee: &'a Tee,
    application: Application,
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
    /// Opens one with whichever application there is. OP-TEE would wait for somebody who brings it one that it does not know,
    /// so its own comes first.
    pub fn open(tee: &'a Tee) -> Result<Self, TeeError> {
        for (application, uuid) in [(Application::Tests, TESTS), (Application::Model, MODEL)] {
            let mut opening = Opening { application: uuid, ..Opening::default() };
            tee.request(OPEN_SESSION, &mut opening)?;
            if opening.result == 0 {
                return Ok(Self { tee, application, number: opening.session });
            }
        }
        Err(TeeError("the trusted OS does not have the application"))
    }

    /// Has the application change each byte of the memory, or change it back.
    pub fn change(&self, shared: &Shared) -> Result<(), TeeError> {
        let memory = Parameter { kind: MEMORY_REFERENCE, words: [0, shared.length, shared.id as u64] };
        match self.application {
            Application::Tests => {
                let algorithm = Parameter { kind: INPUT, words: [KEY_BITS, COUNTER_MODE, 0] };
                // Once, a page at a time.
                let pace = Parameter { kind: INPUT, words: [1, 4096, 0] };
                // From where it is to where it is.
                self.invoke(AES, [algorithm, pace, memory, memory])
            }
            Application::Model => {
                let sum = Parameter { kind: VALUE, words: [0; 3] };
                self.invoke(COMPLEMENT, [sum, memory])
            }
        }
    }

    fn invoke<const N: usize>(&self, function: u32, parameters: [Parameter; N]) -> Result<(), TeeError> {
        let mut invocation = Invocation {
            function,
            session: self.number,
            cancel_id: 0,
            result: 0,
            origin: 0,
            count: N as u32,
            parameters,
        };
        self.tee.request(INVOKE, &mut invocation)?;
        if invocation.result == 0 { Ok(()) } else { Err(TeeError("the application refuses")) }
    }
}
