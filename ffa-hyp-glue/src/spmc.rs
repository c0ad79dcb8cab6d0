//! The secure world: what it offers, found out once. Only its partitions may change.

use ffa_abi::{
    Answer, Call, FeatureId, FeatureQuery, FirmwareStatus, Function, FunctionId, PartitionId, PartitionInfo,
    Regs, RxTxMap, RxTxUnmap, Transaction, Version, VersionError, Width, retrieve_properties, version_answer,
};
use ffa_teardown::Storage;

use crate::listing::{self, ListError};
use crate::partitions::Partitions;
use crate::served::{Abilities, PROBED};
use crate::{Conduit, Scratch, SpmcBuffers};

/// What the secure world offers.
#[derive(Clone, Debug)]
pub struct Spmc {
    version: Version,
    abilities: Abilities,
    schedule_receiver: Option<u32>,
    lists_in_registers: bool,
    says_what_handles_name: bool,
    buffer_pages: u8,
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
    /// It does not list its partitions.
    #[error(transparent)]
    Partitions(#[from] ListError),
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
    /// `lists` is room for its partitions, twice: for the list in use, and for the next one while that is read. A
    /// partition takes a record for each of its UUIDs.
    ///
    /// # Errors
    /// [`ProbeFailure`]: there is no secure world to work with.
    pub fn probe<P: Conduit + SpmcBuffers, L: Storage<PartitionInfo>>(
        hyp: &mut P,
        version: Version,
        scratch: &mut Scratch,
        lists: [L; 2],
    ) -> Result<(Self, Partitions<L>), ProbeFailure> {
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
        let query = FeatureQuery::Function {
            id: FunctionId::smc32(Function::MemRetrieveReq),
            properties: retrieve_properties::NS_BIT,
        };
        let says_what_handles_name = match ask(hyp, Call::Features(query)) {
            Answer::Success(success) => success.w2() & retrieve_properties::HYPERVISOR_RETRIEVE != 0,
            _ => false,
        };
        let (tx, rx) = hyp.addresses();
        let map = |hyp: &mut P, pages| {
            let map = Call::RxTxMap(RxTxMap { width: Width::Smc64, tx, rx, pages });
            expect_success(Function::RxTxMap, &hyp.call(&map.to_regs())).map(|_| pages)
        };
        let offered = buffer_pages(hyp);
        let buffer_pages = match map(hyp, offered) {
            // One page is what every SPMC takes.
            Err(ProbeError::Refused { .. }) if offered > 1 => map(hyp, 1),
            mapped => mapped,
        }
        .map_err(unmapped)?;
        let lists_in_registers =
            version >= Version::V1_2 && abilities.contains(FunctionId::smc64(Function::PartitionInfoGetRegs));
        let spmc = Self {
            version,
            abilities,
            schedule_receiver,
            lists_in_registers,
            says_what_handles_name,
            buffer_pages,
        };
        let mut partitions = Partitions::new(lists);
        listing::read(hyp, lists_in_registers, scratch, |found| partitions.note(found))
            .map(|tag| {
                partitions.replace(tag);
                (spmc, partitions)
            })
            .map_err(|error| {
                let unmap = Call::RxTxUnmap(RxTxUnmap { endpoint: PartitionId::HYPERVISOR });
                let lost = !matches!(ask(hyp, unmap), Answer::Success(_));
                ProbeFailure { error: error.into(), buffers_lost: lost }
            })
    }

    /// The version in use with it.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// 4 KiB pages of each of the buffers that we exchange with it.
    #[must_use]
    pub fn buffer_pages(&self) -> u8 {
        self.buffer_pages
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

    /// Whether it tells the hypervisor what a handle names: which VM's transaction, and of which pages.
    #[must_use]
    pub fn says_what_handles_name(&self) -> bool {
        self.says_what_handles_name
    }

    /// Whether it lists partitions in registers, and names the list.
    #[inline]
    pub(crate) fn lists_in_registers(&self) -> bool {
        self.lists_in_registers
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

/// How many pages of the hypervisor's buffers to offer to the SPMC: all, if it names no limit.
fn buffer_pages<P: Conduit + SpmcBuffers>(hyp: &mut P) -> u8 {
    let id = FunctionId::smc64(Function::RxTxMap);
    let most = match ask(hyp, Call::Features(FeatureQuery::Function { id, properties: 0 })) {
        Answer::Success(success) => u8::try_from(success.w2() >> 16).unwrap_or(0),
        _ => 0,
    };
    let most = if most == 0 { MAX_BUFFER_PAGES } else { most };
    hyp.pages().min(most).clamp(1, MAX_BUFFER_PAGES)
}

/// What w3 of FFA_RXTX_MAP can say.
const MAX_BUFFER_PAGES: u8 = 63;

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

/// The width in which the SPMC takes memory transactions of this kind: 64 bits where it can.
#[inline]
pub(crate) fn send_width(abilities: &Abilities, transaction: Transaction) -> Width {
    let wide = match transaction {
        Transaction::Share => const { FunctionId::smc64(Function::MemShare) },
        Transaction::Lend => const { FunctionId::smc64(Function::MemLend) },
        Transaction::Donate => const { FunctionId::smc64(Function::MemDonate) },
    };
    if abilities.contains(wide) { Width::Smc64 } else { Width::Smc32 }
}
