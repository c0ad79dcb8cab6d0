//! The one trusted application, which works on memory of the guest so that the guest can see that it was there.

use alloc::vec;

use ffa_abi::{Handle, Uuid};

use super::super::memory::{PAGE_SIZE, PhysMemory};
use super::super::model::SpmcModel;
use super::super::partition::Request;
use super::TeeError;
use super::argument::Argument;

/// The application's name.
pub const TEE_APPLICATION_UUID: Uuid =
    Uuid([0x0d, 0x5a, 0x1d, 0xef, 0x2c, 0x3b, 0x4f, 0x6a, 0x9a, 0x81, 0x66, 0x66, 0x61, 0x2d, 0x65, 0x6c]);

/// Commands of a driver.
const OPEN_SESSION: u32 = 0;
const INVOKE: u32 = 1;
const CLOSE_SESSION: u32 = 2;
/// Sessions need not be told apart.
const SESSION: u32 = 1;

/// Functions of the application. One turns every byte of the memory that its second parameter names into its complement,
/// and adds the bytes that it finds up; its first parameter is a value, which becomes that sum.
const COMPLEMENT: u32 = 0;

/// Does what the argument says.
pub fn carry_out(
    model: &mut SpmcModel,
    memory: &mut dyn PhysMemory,
    request: Request,
    argument: &mut Argument,
) -> Result<(), TeeError> {
    match (argument.command(), argument.session()) {
        (OPEN_SESSION, _) => open(argument),
        (INVOKE, SESSION) if argument.function() == COMPLEMENT => {
            complement(model, memory, request, argument)
        }
        (CLOSE_SESSION, SESSION) => Ok(()),
        (INVOKE | CLOSE_SESSION, _) => Err(TeeError::BadParameters),
        _ => Err(TeeError::NotSupported),
    }
}

/// The first parameter of the argument is the UUID of an application.
fn open(argument: &mut Argument) -> Result<(), TeeError> {
    let wanted = argument.parameters.first_mut().and_then(|parameter| parameter.value().copied());
    let [first, second, _] = wanted.ok_or(TeeError::BadParameters)?;
    if Uuid::from_halves([first, second]) != TEE_APPLICATION_UUID {
        return Err(TeeError::ItemNotFound);
    }
    argument.set_session(SESSION);
    Ok(())
}

fn complement(
    model: &mut SpmcModel,
    memory: &mut dyn PhysMemory,
    request: Request,
    argument: &mut Argument,
) -> Result<(), TeeError> {
    let [value, reference, ..] = &mut argument.parameters[..] else { return Err(TeeError::BadParameters) };
    let value = value.value().ok_or(TeeError::BadParameters)?;
    let reference = reference.reference().ok_or(TeeError::BadParameters)?;
    let handle = Handle::new(reference.handle).map_err(|_| TeeError::BadParameters)?;
    let serial = model.use_shared(request, handle)?;
    let mut shared = model.shared(serial, memory);
    let mut sum = 0_u64;
    let mut done = 0;
    while done < reference.bytes {
        let mut bytes = vec![0; (reference.bytes - done).min(PAGE_SIZE) as usize];
        shared.read(reference.offset + done, &mut bytes)?;
        sum += bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
        shared.write(reference.offset + done, &bytes)?;
        done += bytes.len() as u64;
    }
    value[0] = sum;
    Ok(())
}
