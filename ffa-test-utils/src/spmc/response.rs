//! How partitions answer.

use ffa_abi::{
    DirectResponse, DirectResponse2, FRAMEWORK_FLAG, FirmwareStatus, Function, FunctionId, Message, Regs,
    VmMessage,
};

use super::partition::{Request, RequestKind};
use super::script::Mangling;

/// The response to a message: a status, or the echo that shows that a partition of this run was there.
pub(super) fn respond_with(request: Request, refused: Option<FirmwareStatus>, nonce: u32) -> Regs {
    let code = u64::from(refused.map_or(0, FirmwareStatus::code) as u32);
    let nonce = u64::from(nonce);
    let marked = |x: u64| u64::from((x as u32).wrapping_add(nonce as u32));
    match (request.kind, refused) {
        (RequestKind::Vm { event, vm }, _) => {
            let told = VmMessage { event, sp: request.receiver, vm, vm_handle: 0 };
            DirectResponse { receiver: request.sender, ..told.response(refused) }.to_regs()
        }
        (RequestKind::Partition(_), Some(_)) => respond(request, [code, 0, 0, 0, 0]),
        (RequestKind::Partition([x3, x4, x5, x6, _]), None) => {
            respond(request, [marked(x3), x4, x5, x6, nonce])
        }
        (RequestKind::Service { mut payload, .. }, refused) => {
            match refused {
                Some(_) => {
                    payload = [0; 14];
                    payload[0] = code;
                }
                None => (payload[0], payload[13]) = (marked(payload[0]), nonce),
            }
            DirectResponse2 { sender: request.receiver, receiver: request.sender, payload }.to_regs()
        }
    }
}

/// A response to FFA_MSG_SEND_DIRECT_REQ.
pub(super) fn respond(request: Request, payload: [u64; 5]) -> Regs {
    DirectResponse {
        width: request.width,
        sender: request.receiver,
        receiver: request.sender,
        message: Message::Partition(payload),
    }
    .to_regs()
}

/// A direct response, spoiled.
#[must_use]
pub fn mangle(response: &Regs, how: Mangling) -> Regs {
    let mut regs = *response;
    match how {
        Mangling::WrongFunction => regs[0] = u64::from(FunctionId::smc32(Function::MsgWait).w0()),
        Mangling::SwappedIds => regs[1] = u64::from(regs.w::<1>().rotate_left(16)),
        Mangling::OtherSender => regs[1] ^= 0x0100_0000,
        Mangling::WrongCode => regs[2] ^= 2,
        Mangling::NotFramework => regs[2] ^= u64::from(FRAMEWORK_FLAG),
    }
    regs
}
