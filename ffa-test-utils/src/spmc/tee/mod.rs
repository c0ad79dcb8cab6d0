//! A partition that speaks OP-TEE's protocol, as far as a client driver needs it to find a trusted OS, share memory with it
//! and use a trusted application: so guests with the drivers of a real operating system have something to talk to.
//!
//! What words mean is from OP-TEE's documentation of its FF-A interface (`core/arch/arm/include/optee_ffa.h`): w3 of a request
//! is the service, and w3 of the answer an error, which is one of GlobalPlatform's.

mod application;
mod argument;

use alloc::vec::Vec;

use ffa_abi::{Handle, Uuid};

use super::memory::{PAGE_SIZE, PhysMemory};
use super::model::SpmcModel;
use super::partition::Request;
use super::reach::Serial;

use argument::Argument;

/// What a client driver looks for among the partitions: 486178e0-e7f8-11e3-bc5e-0002a5d5c51b.
pub const TEE_UUID: Uuid =
    Uuid([0x48, 0x61, 0x78, 0xe0, 0xe7, 0xf8, 0x11, 0xe3, 0xbc, 0x5e, 0x00, 0x02, 0xa5, 0xd5, 0xc5, 0x1b]);
pub use application::TEE_APPLICATION_UUID;

/// Services that are answered at once.
const GET_API_VERSION: u32 = 0;
const GET_OS_VERSION: u32 = 1;
const EXCHANGE_CAPABILITIES: u32 = 2;
const UNREGISTER_SHARED_MEMORY: u32 = 3;
/// The one that may be interrupted, and return to have something done.
const CALL_WITH_ARGUMENT: u32 = 1 << 31;

/// An argument need not begin where its memory does.
const CAPABILITY_ARGUMENT_OFFSET: u64 = 1 << 0;
/// Parameters that a request to the driver would have: this makes none.
const REQUEST_PARAMETERS: u64 = 0;

/// GlobalPlatform's errors, as far as there are any here. TEE Internal Core API 1.3 (GPD_SPE_010), table 3-7.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub(super) enum TeeError {
    BadParameters = 0xffff_0006,
    ItemNotFound = 0xffff_0008,
    NotSupported = 0xffff_000a,
}

impl SpmcModel {
    /// w3 to w7 of the answer to a request of a guest, given its own.
    pub(super) fn serve_as_tee(
        &mut self,
        memory: &mut dyn PhysMemory,
        request: Request,
        payload: [u64; 5],
    ) -> [u64; 5] {
        let [service, low, high, offset, _] = payload.map(|word| word as u32);
        let handle = || Handle::from_words(low, high).map_err(|_| TeeError::BadParameters);
        let result = match service {
            GET_API_VERSION => return [1, 0, 0, 0, 0],
            GET_OS_VERSION => return [4, 0, u64::from(self.config.nonce), 0, 0],
            EXCHANGE_CAPABILITIES => Ok([REQUEST_PARAMETERS, CAPABILITY_ARGUMENT_OFFSET]),
            UNREGISTER_SHARED_MEMORY => handle().and_then(|handle| self.forget_shared(request, handle)),
            CALL_WITH_ARGUMENT => {
                handle().and_then(|handle| self.call_with_argument(memory, request, handle, offset))
            }
            _ => Err(TeeError::NotSupported),
        };
        match result {
            Ok([w4, w5]) => [0, w4, w5, 0, 0],
            Err(error) => [u64::from(error as u32), 0, 0, 0, 0],
        }
    }

    /// Maps memory that the sender has shared with the receiver of this request, if it is not mapped yet.
    fn use_shared(&mut self, request: Request, handle: Handle) -> Result<Serial, TeeError> {
        let is_theirs = |serial: &Serial| {
            self.store.get(*serial).is_some_and(|share| {
                let is_sent = share.receivers.iter().any(|receiver| receiver.id == request.receiver);
                is_sent && share.owner == request.sender
            })
        };
        let serial = self.store.find(handle.get()).filter(is_theirs).ok_or(TeeError::BadParameters)?;
        if !self.has_mapped(serial, request.receiver) {
            self.set_mapped(serial, request.receiver, true);
        }
        Ok(serial)
    }

    fn forget_shared(&mut self, request: Request, handle: Handle) -> Result<[u64; 2], TeeError> {
        let serial = self.use_shared(request, handle)?;
        self.set_mapped(serial, request.receiver, false);
        Ok([0; 2])
    }

    /// Does what an argument in shared memory says, and puts the results there. The answer says that it is done.
    fn call_with_argument(
        &mut self,
        memory: &mut dyn PhysMemory,
        request: Request,
        handle: Handle,
        offset: u32,
    ) -> Result<[u64; 2], TeeError> {
        let serial = self.use_shared(request, handle)?;
        let mut argument = Argument::read(&self.shared(serial, memory), offset.into())?;
        let error = application::carry_out(self, memory, request, &mut argument);
        argument.write(&mut self.shared(serial, memory), error)?;
        Ok([0; 2])
    }

    /// Memory that is mapped, from its first byte to its last.
    fn shared<'a>(&'a self, serial: Serial, memory: &'a mut dyn PhysMemory) -> Shared<'a> {
        Shared { model: self, serial, memory }
    }
}

/// Memory that was shared, as one piece.
struct Shared<'a> {
    model: &'a SpmcModel,
    serial: Serial,
    memory: &'a mut dyn PhysMemory,
}

impl Shared<'_> {
    fn read(&self, offset: u64, dst: &mut [u8]) -> Result<(), TeeError> {
        let mut left = dst;
        for (address, length) in self.pieces(offset, left.len() as u64)? {
            let (part, rest) = left.split_at_mut(length);
            self.memory.read(address, part).map_err(|_| TeeError::BadParameters)?;
            left = rest;
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, src: &[u8]) -> Result<(), TeeError> {
        let mut left = src;
        for (address, length) in self.pieces(offset, left.len() as u64)? {
            let (part, rest) = left.split_at(length);
            self.memory.write(address, part).map_err(|_| TeeError::BadParameters)?;
            left = rest;
        }
        Ok(())
    }

    /// Physical addresses and lengths of the pieces of `length` bytes from `offset`.
    fn pieces(&self, offset: u64, length: u64) -> Result<Vec<(u64, usize)>, TeeError> {
        let extents = self.model.store.get(self.serial).map(|share| &share.extents[..]).unwrap_or_default();
        let (mut skip, mut left) = (offset, length);
        let mut pieces = Vec::new();
        for extent in extents {
            let bytes = u64::from(extent.pages) * PAGE_SIZE;
            if skip >= bytes {
                skip -= bytes;
                continue;
            }
            let piece = left.min(bytes - skip);
            if piece > 0 {
                pieces.push((extent.base + skip, piece as usize));
            }
            (skip, left) = (0, left - piece);
        }
        if left == 0 { Ok(pieces) } else { Err(TeeError::BadParameters) }
    }
}
