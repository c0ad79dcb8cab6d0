//! The secure world: what it offers, found out once.

use arrayvec::ArrayVec;
use ffa_abi::{
    Answer, Call, FeatureId, FeatureQuery, FirmwareStatus, Function, FunctionId, PartitionId, PartitionInfo,
    PartitionInfoError, PartitionInfoGet, RecordFormat, Records, Regs, RxRelease, RxTxMap, RxTxUnmap, Uuid,
    Version, VersionError, Width, version_answer,
};
use ffa_teardown::{Subscribers, TooManySps};

use crate::served::{Abilities, PROBED};
use crate::{Conduit, Scratch, SpmcBuffers};

/// The partitions that fit one RX page of 4 KiB, in records of 24 bytes.
const PARTITIONS: usize = 4096 / 24;

/// What the secure world offers.
#[derive(Clone, Debug)]
pub struct Spmc {
    version: Version,
    abilities: Abilities,
    schedule_receiver: Option<u32>,
    /// Secure ones only.
    partitions: ArrayVec<PartitionInfo, PARTITIONS>,
    pub(crate) subscribers: Subscribers<6>,
}

/// Why there is no secure world to work with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// No FF-A, or no version of it that suits us.
    #[error("FFA_VERSION: {0}")]
    Version(#[from] VersionError),
    /// It is older than 1.1, which has no VM messages.
    #[error("the SPMC has FF-A {0}, which is older than 1.1")]
    TooOld(Version),
    /// It refused a call that we cannot do without.
    #[error("{function}: {status}")]
    Refused {
        /// The call.
        function: Function,
        /// Its answer.
        status: FirmwareStatus,
    },
    /// It answered with another function than the call has.
    #[error("{function}: unexpected answer {w0:#x}")]
    Unexpected {
        /// The call.
        function: Function,
        /// w0 of the answer.
        w0: u32,
    },
    /// Its list of partitions makes no sense.
    #[error(transparent)]
    Partitions(#[from] PartitionInfoError),
    /// More SPs want to be told of VMs than there is room for.
    #[error(transparent)]
    Subscribers(#[from] TooManySps),
}

/// A probe that failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{error}")]
pub struct ProbeFailure {
    /// Why.
    pub error: ProbeError,
    /// The SPMC still has our RX and TX pages: they must not be used for anything else.
    pub buffers_lost: bool,
}

impl Spmc {
    /// Finds out what the secure world offers, at `version` at most, and gives it our RX and TX pages. To be called
    /// once, before any other call to it.
    ///
    /// # Errors
    /// [`ProbeFailure`]: there is no secure world to work with.
    pub fn probe<P: Conduit + SpmcBuffers>(
        hyp: &mut P,
        version: Version,
        scratch: &mut Scratch,
    ) -> Result<Self, ProbeFailure> {
        let unmapped = |error| ProbeFailure { error, buffers_lost: false };
        // Before any other call: TF-A's SPMC locks out whoever asks late.
        let version = negotiate(hyp, version).map_err(unmapped)?;
        let mut abilities = Abilities::default();
        for &id in PROBED {
            let query = FeatureQuery::Function { id, properties: 0 };
            if matches!(ask(hyp, Call::Features(query)), Answer::Success(_)) {
                abilities.insert(id);
            }
        }
        let query = FeatureQuery::Feature(FeatureId::ScheduleReceiverInterrupt);
        let schedule_receiver = match ask(hyp, Call::Features(query)) {
            Answer::Success(success) => Some(success.w2()),
            _ => None,
        };
        let (tx, rx) = hyp.addresses();
        let map = Call::RxTxMap(RxTxMap { width: Width::Smc64, tx, rx, pages: 1 });
        expect_success(Function::RxTxMap, &hyp.call(&map.to_regs())).map_err(unmapped)?;
        list(hyp, scratch)
            .and_then(|partitions| {
                let mut subscribers = Subscribers::new();
                for sp in &partitions {
                    subscribers.add(sp.id, sp.properties)?;
                }
                Ok(Self { version, abilities, schedule_receiver, partitions, subscribers })
            })
            .map_err(|error| {
                let unmap = Call::RxTxUnmap(RxTxUnmap { endpoint: PartitionId::HYPERVISOR });
                let lost = !matches!(ask(hyp, unmap), Answer::Success(_));
                ProbeFailure { error, buffers_lost: lost }
            })
    }

    /// The version in use with it.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The functions that it has, of those that guests can make use of.
    #[must_use]
    pub fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// INTID of its schedule receiver interrupt, at which [`schedule_receivers`](crate::Mediator::schedule_receivers) is
    /// to be called; `None` if it has none.
    #[must_use]
    pub fn schedule_receiver_interrupt(&self) -> Option<u32> {
        self.schedule_receiver
    }

    /// Its secure partitions as it listed them; one with several UUIDs may stand here several times.
    pub fn partitions(&self) -> impl Iterator<Item = &PartitionInfo> {
        self.partitions.iter()
    }

    /// The first record of a secure partition.
    #[must_use]
    pub fn partition(&self, id: PartitionId) -> Option<&PartitionInfo> {
        self.partitions().find(|sp| sp.id == id)
    }
}

/// The version to use with the SPMC, `ours` at most.
///
/// It must be the last one asked for: TF-A answers a newer one with its own version, but takes no note. Hafnium
/// does not even name its own.
fn negotiate<P: Conduit>(hyp: &mut P, ours: Version) -> Result<Version, ProbeError> {
    let mut asked = ours;
    loop {
        let answer = version_answer::from_regs(&hyp.call(&Call::Version(asked.word()).to_regs()));
        let lower = match answer.and_then(|theirs| asked.negotiate(theirs)) {
            Ok(version) if version < Version::V1_1 => return Err(ProbeError::TooOld(version)),
            Ok(version) if version == asked => return Ok(version),
            Ok(version) => version,
            Err(error) if asked <= Version::V1_1 => return Err(error.into()),
            Err(_) => Version::new(asked.major(), asked.minor().saturating_sub(1)),
        };
        asked = lower;
    }
}

fn ask<P: Conduit>(hyp: &mut P, call: Call) -> Answer {
    Answer::from_regs(&hyp.call(&call.to_regs()))
}

fn expect_success(function: Function, regs: &Regs) -> Result<ffa_abi::Success, ProbeError> {
    match Answer::from_regs(regs) {
        Answer::Success(success) => Ok(success),
        Answer::Error(status) => Err(ProbeError::Refused { function, status }),
        _ => Err(ProbeError::Unexpected { function, w0: regs.w::<0>() }),
    }
}

/// The list of secure partitions. RX is released whatever happened: OP-TEE hands it over even with an error.
fn list<P: Conduit + SpmcBuffers>(
    hyp: &mut P,
    scratch: &mut Scratch,
) -> Result<ArrayVec<PartitionInfo, PARTITIONS>, ProbeError> {
    let get = PartitionInfoGet { uuid: Uuid::NIL, count_only: false };
    let answer = expect_success(Function::PartitionInfoGet, &hyp.call(&get.to_regs()));
    if answer.is_ok() {
        hyp.read_rx(0, &mut scratch.input);
    }
    let _refused_if_not_ours = ask(hyp, Call::RxRelease(RxRelease { endpoint: PartitionId::HYPERVISOR }));
    let answer = answer?;
    let (count, stride) = (answer.w2(), answer.w3());
    // Records of 8 bytes are for callers of 1.0, which we are not.
    if stride < RecordFormat::for_version(Version::V1_1).size_word() {
        return Err(PartitionInfoError::Stride { stride }.into());
    }
    let records = Records::new(&scratch.input, count, stride)?;
    let mut partitions = ArrayVec::new();
    // An ID without bit 15 would be taken for a VM.
    for record in records.filter(|record| record.id.is_secure()) {
        let have = scratch.input.len();
        partitions.try_push(record).map_err(|_| PartitionInfoError::TooMany { count, stride, have })?;
    }
    Ok(partitions)
}

/// The width in which the SPMC takes memory transactions: 64 bits where it can.
pub(crate) fn share_width(abilities: &Abilities) -> Width {
    if abilities.contains(FunctionId::smc64(Function::MemShare)) { Width::Smc64 } else { Width::Smc32 }
}
