use crate::{
    ConsoleLog, DirectRequest, DirectRequest2, DirectResponse, DirectResponse2, FeatureQuery, Function,
    FunctionId, MemFragRx, MemFragTx, MemPermGet, MemPermSet, MemReclaim, MemSend, MsgSend2,
    NotificationBind, NotificationBitmapCreate, NotificationBitmapDestroy, NotificationGet,
    NotificationInfoGet, NotificationSet, NotificationUnbind, PartitionInfoGet, PartitionInfoGetRegs, Regs,
    RunTarget, RxAcquire, RxRelease, RxTxMap, RxTxUnmap, Status, UnknownFunction, Width,
};

/// One FF-A call, decoded from the registers of whoever makes it.
///
/// Parameters that FF-A reserves as zero are refused where the specification says MBZ and ignored where it says
/// SBZ. What depends on the caller or on its version is not judged here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Call {
    /// FFA_VERSION; w1 as it came, since a refusal must not hide what was asked.
    Version(u32),
    /// FFA_FEATURES.
    Features(FeatureQuery),
    /// FFA_ID_GET.
    IdGet,
    /// FFA_SPM_ID_GET.
    SpmIdGet,
    /// FFA_RXTX_MAP.
    RxTxMap(RxTxMap),
    /// FFA_RXTX_UNMAP.
    RxTxUnmap(RxTxUnmap),
    /// FFA_RX_RELEASE.
    RxRelease(RxRelease),
    /// FFA_RX_ACQUIRE.
    RxAcquire(RxAcquire),
    /// FFA_PARTITION_INFO_GET.
    PartitionInfoGet(PartitionInfoGet),
    /// FFA_PARTITION_INFO_GET_REGS.
    PartitionInfoGetRegs(PartitionInfoGetRegs),
    /// FFA_MSG_SEND_DIRECT_REQ.
    DirectRequest(DirectRequest),
    /// FFA_MSG_SEND_DIRECT_RESP.
    DirectResponse(DirectResponse),
    /// FFA_MSG_SEND_DIRECT_REQ2.
    DirectRequest2(DirectRequest2),
    /// FFA_MSG_SEND_DIRECT_RESP2.
    DirectResponse2(DirectResponse2),
    /// FFA_MSG_SEND2.
    MsgSend2(MsgSend2),
    /// FFA_RUN.
    Run(RunTarget),
    /// FFA_MEM_SHARE, FFA_MEM_LEND or FFA_MEM_DONATE.
    MemSend(MemSend),
    /// FFA_MEM_RECLAIM.
    MemReclaim(MemReclaim),
    /// FFA_MEM_FRAG_RX.
    MemFragRx(MemFragRx),
    /// FFA_MEM_FRAG_TX.
    MemFragTx(MemFragTx),
    /// FFA_NOTIFICATION_BITMAP_CREATE.
    NotificationBitmapCreate(NotificationBitmapCreate),
    /// FFA_NOTIFICATION_BITMAP_DESTROY.
    NotificationBitmapDestroy(NotificationBitmapDestroy),
    /// FFA_NOTIFICATION_BIND.
    NotificationBind(NotificationBind),
    /// FFA_NOTIFICATION_UNBIND.
    NotificationUnbind(NotificationUnbind),
    /// FFA_NOTIFICATION_SET.
    NotificationSet(NotificationSet),
    /// FFA_NOTIFICATION_GET.
    NotificationGet(NotificationGet),
    /// FFA_NOTIFICATION_INFO_GET.
    NotificationInfoGet(NotificationInfoGet),
    /// FFA_MEM_PERM_GET.
    MemPermGet(MemPermGet),
    /// FFA_MEM_PERM_SET.
    MemPermSet(MemPermSet),
    /// FFA_CONSOLE_LOG.
    ConsoleLog(ConsoleLog),
    /// Any other function of the table; its registers are not looked at.
    Other(FunctionId),
}

/// Why registers are not a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// w0 names no function in this width.
    #[error(transparent)]
    Unknown(#[from] UnknownFunction),
    /// A register sets bits that must be zero.
    #[error("{function}: register {register} = {value:#x} sets bits that must be zero")]
    Reserved {
        /// The function called.
        function: FunctionId,
        /// Number of the register.
        register: u8,
        /// Its value, as wide as the call.
        value: u64,
    },
    /// A register gives a length that no such call can have.
    #[error("{function}: register {register} gives a length of {value}")]
    Length {
        /// The function called.
        function: FunctionId,
        /// Number of the register.
        register: u8,
        /// The length.
        value: u32,
    },
    /// The handle is the reserved value.
    #[error("{function}: all ones is not a handle")]
    Handle {
        /// The function called.
        function: FunctionId,
    },
}

/// What a guest is told of registers that are no call.
impl From<CallError> for Status {
    #[inline]
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unknown(_) => Self::NotSupported,
            CallError::Reserved { .. } | CallError::Length { .. } | CallError::Handle { .. } => {
                Self::InvalidParameters
            }
        }
    }
}

impl Call {
    /// Decodes the registers of a request.
    ///
    /// # Errors
    /// [`CallError::Unknown`] if w0 names no function, otherwise the register that is wrong.
    #[inline]
    pub fn from_regs(regs: &Regs) -> Result<Self, CallError> {
        let id = FunctionId::from_w0(regs.w::<0>())?;
        // Each arm makes the whole result: joining them first costs as much again.
        match id.function() {
            Function::Version => Ok(Self::Version(regs.w::<1>())),
            Function::Features => Ok(Self::Features(FeatureQuery::from_regs(regs))),
            Function::IdGet => Ok(Self::IdGet),
            Function::SpmIdGet => Ok(Self::SpmIdGet),
            Function::RxTxMap => RxTxMap::from_regs(id, regs).map(Self::RxTxMap),
            Function::RxTxUnmap => RxTxUnmap::from_regs(id, regs).map(Self::RxTxUnmap),
            Function::RxRelease => RxRelease::from_regs(id, regs).map(Self::RxRelease),
            Function::RxAcquire => RxAcquire::from_regs(id, regs).map(Self::RxAcquire),
            Function::PartitionInfoGet => PartitionInfoGet::from_regs(id, regs).map(Self::PartitionInfoGet),
            Function::PartitionInfoGetRegs => {
                Ok(Self::PartitionInfoGetRegs(PartitionInfoGetRegs::from_regs(regs)))
            }
            Function::MsgSendDirectReq => DirectRequest::from_regs(id, regs).map(Self::DirectRequest),
            Function::MsgSendDirectResp => DirectResponse::from_regs(id, regs).map(Self::DirectResponse),
            Function::MsgSendDirectReq2 => Ok(Self::DirectRequest2(DirectRequest2::from_regs(regs))),
            Function::MsgSendDirectResp2 => DirectResponse2::from_regs(id, regs).map(Self::DirectResponse2),
            Function::MsgSend2 => MsgSend2::from_regs(id, regs).map(Self::MsgSend2),
            Function::Run => Ok(Self::Run(RunTarget::from_word(regs.w::<1>()))),
            Function::MemShare | Function::MemLend | Function::MemDonate => {
                Ok(Self::MemSend(MemSend::from_regs(id, regs)))
            }
            Function::MemReclaim => MemReclaim::from_regs(id, regs).map(Self::MemReclaim),
            Function::MemFragRx => MemFragRx::from_regs(id, regs).map(Self::MemFragRx),
            Function::MemFragTx => MemFragTx::from_regs(id, regs).map(Self::MemFragTx),
            Function::NotificationBitmapCreate => {
                NotificationBitmapCreate::from_regs(id, regs).map(Self::NotificationBitmapCreate)
            }
            Function::NotificationBitmapDestroy => {
                NotificationBitmapDestroy::from_regs(id, regs).map(Self::NotificationBitmapDestroy)
            }
            Function::NotificationBind => NotificationBind::from_regs(id, regs).map(Self::NotificationBind),
            Function::NotificationUnbind => {
                NotificationUnbind::from_regs(id, regs).map(Self::NotificationUnbind)
            }
            Function::NotificationSet => NotificationSet::from_regs(id, regs).map(Self::NotificationSet),
            Function::NotificationGet => NotificationGet::from_regs(id, regs).map(Self::NotificationGet),
            Function::NotificationInfoGet => {
                NotificationInfoGet::from_regs(id, regs).map(Self::NotificationInfoGet)
            }
            Function::MemPermGet => Ok(Self::MemPermGet(MemPermGet::from_regs(id, regs))),
            Function::MemPermSet => MemPermSet::from_regs(id, regs).map(Self::MemPermSet),
            Function::ConsoleLog => ConsoleLog::from_regs(id, regs).map(Self::ConsoleLog),
            _ => Ok(Self::Other(id)),
        }
    }

    /// Registers that make this call; those it does not use are zero.
    ///
    /// [`Call::Other`] gives the function ID alone.
    #[must_use]
    #[inline]
    pub fn to_regs(&self) -> Regs {
        const fn plain(function: Function, w1: u32) -> Regs {
            Regs::new([FunctionId::smc32(function).w0() as u64, w1 as u64])
        }
        match self {
            Self::Version(word) => plain(Function::Version, *word),
            Self::Features(query) => query.to_regs(),
            Self::IdGet => plain(Function::IdGet, 0),
            Self::SpmIdGet => plain(Function::SpmIdGet, 0),
            Self::RxTxMap(map) => map.to_regs(),
            Self::RxTxUnmap(unmap) => unmap.to_regs(),
            Self::RxRelease(release) => release.to_regs(),
            Self::RxAcquire(acquire) => acquire.to_regs(),
            Self::PartitionInfoGet(get) => get.to_regs(),
            Self::PartitionInfoGetRegs(get) => get.to_regs(),
            Self::DirectRequest(request) => request.to_regs(),
            Self::DirectResponse(response) => response.to_regs(),
            Self::DirectRequest2(request) => request.to_regs(),
            Self::DirectResponse2(response) => response.to_regs(),
            Self::MsgSend2(send) => send.to_regs(),
            Self::Run(target) => plain(Function::Run, target.word()),
            Self::MemSend(send) => send.to_regs(),
            Self::MemReclaim(reclaim) => reclaim.to_regs(),
            Self::MemFragRx(rx) => rx.to_regs(),
            Self::MemFragTx(tx) => tx.to_regs(),
            Self::NotificationBitmapCreate(call) => call.to_regs(),
            Self::NotificationBitmapDestroy(call) => call.to_regs(),
            Self::NotificationBind(call) => call.to_regs(),
            Self::NotificationUnbind(call) => call.to_regs(),
            Self::NotificationSet(call) => call.to_regs(),
            Self::NotificationGet(call) => call.to_regs(),
            Self::NotificationInfoGet(call) => call.to_regs(),
            Self::MemPermGet(call) => call.to_regs(),
            Self::MemPermSet(call) => call.to_regs(),
            Self::ConsoleLog(call) => call.to_regs(),
            Self::Other(id) => Regs::new([u64::from(id.w0())]),
        }
    }

    /// The function that this call invokes.
    #[must_use]
    pub fn function(&self) -> Function {
        match self {
            Self::Version(_) => Function::Version,
            Self::Features(_) => Function::Features,
            Self::IdGet => Function::IdGet,
            Self::SpmIdGet => Function::SpmIdGet,
            Self::RxTxMap(_) => Function::RxTxMap,
            Self::RxTxUnmap(_) => Function::RxTxUnmap,
            Self::RxRelease(_) => Function::RxRelease,
            Self::RxAcquire(_) => Function::RxAcquire,
            Self::PartitionInfoGet(_) => Function::PartitionInfoGet,
            Self::PartitionInfoGetRegs(_) => Function::PartitionInfoGetRegs,
            Self::DirectRequest(_) => Function::MsgSendDirectReq,
            Self::DirectResponse(_) => Function::MsgSendDirectResp,
            Self::DirectRequest2(_) => Function::MsgSendDirectReq2,
            Self::DirectResponse2(_) => Function::MsgSendDirectResp2,
            Self::MsgSend2(_) => Function::MsgSend2,
            Self::Run(_) => Function::Run,
            Self::MemSend(send) => send.transaction.function(),
            Self::MemReclaim(_) => Function::MemReclaim,
            Self::MemFragRx(_) => Function::MemFragRx,
            Self::MemFragTx(_) => Function::MemFragTx,
            Self::NotificationBitmapCreate(_) => Function::NotificationBitmapCreate,
            Self::NotificationBitmapDestroy(_) => Function::NotificationBitmapDestroy,
            Self::NotificationBind(_) => Function::NotificationBind,
            Self::NotificationUnbind(_) => Function::NotificationUnbind,
            Self::NotificationSet(_) => Function::NotificationSet,
            Self::NotificationGet(_) => Function::NotificationGet,
            Self::NotificationInfoGet(_) => Function::NotificationInfoGet,
            Self::MemPermGet(_) => Function::MemPermGet,
            Self::MemPermSet(_) => Function::MemPermSet,
            Self::ConsoleLog(_) => Function::ConsoleLog,
            Self::Other(id) => id.function(),
        }
    }
}

/// `value` of `register`, refused if it sets a bit outside `allowed`.
#[inline]
pub(crate) fn reserved(id: FunctionId, register: u8, value: u64, allowed: u64) -> Result<u64, CallError> {
    if value & !allowed == 0 { Ok(value) } else { Err(CallError::Reserved { function: id, register, value }) }
}

/// `x` cut to what a call of `width` carries.
#[inline]
pub(crate) const fn cut(width: Width, x: u64) -> u64 {
    match width {
        Width::Smc32 => x & 0xffff_ffff,
        Width::Smc64 => x,
    }
}
