use ffa_abi::{Function, Regs, Version, version_answer};

use super::config::VersionPolicy;
use super::model::SpmcModel;

/// How far the two sides have agreed on a version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Negotiation {
    /// It can still change; this is what was asked last.
    Open(Option<Version>),
    /// Settled by the first other call.
    Settled(Version),
    /// The first call was another one.
    LockedOut,
}

impl SpmcModel {
    /// The version that the caller is served as.
    pub(super) fn caller_version(&self) -> Version {
        match self.negotiation {
            Negotiation::Open(Some(version)) | Negotiation::Settled(version) => version,
            Negotiation::Open(None) | Negotiation::LockedOut => match self.config.version_policy {
                VersionPolicy::Renegotiable => Version::V1_0,
                VersionPolicy::LockThenRefuse | VersionPolicy::RequireFirst => self.config.version,
            },
        }
    }

    /// A call other than FFA_VERSION arrives; false if it must be refused for that.
    pub(super) fn settle_version(&mut self, function: Function) -> bool {
        if function == Function::Interrupt || self.config.version_policy == VersionPolicy::Renegotiable {
            return true;
        }
        self.negotiation = match (self.negotiation, self.config.version_policy) {
            (Negotiation::Open(Some(version)), _) => Negotiation::Settled(version),
            (Negotiation::Open(None), VersionPolicy::RequireFirst) => Negotiation::LockedOut,
            (Negotiation::Open(None), _) => Negotiation::Settled(self.config.version),
            (settled, _) => settled,
        };
        self.negotiation != Negotiation::LockedOut
    }

    pub(super) fn version(&mut self, regs: &Regs) -> Regs {
        let ours = self.config.version;
        version_answer::to_regs(Version::from_word(regs.w::<1>()).ok().and_then(|asked| {
            let same_major = asked.major() == ours.major();
            let compatible = same_major && asked.minor() <= ours.minor();
            match (self.config.version_policy, self.negotiation) {
                (VersionPolicy::LockThenRefuse, Negotiation::Settled(settled)) => {
                    (asked == settled).then_some(ours)
                }
                (VersionPolicy::LockThenRefuse, _) => compatible.then(|| self.ask(asked)),
                (VersionPolicy::RequireFirst, Negotiation::LockedOut) => None,
                (VersionPolicy::RequireFirst, Negotiation::Settled(settled)) => Some(settled),
                (VersionPolicy::RequireFirst, Negotiation::Open(_)) => {
                    Some(if compatible { self.ask(asked) } else { ours })
                }
                (VersionPolicy::Renegotiable, _) => {
                    Some(if same_major { self.ask(asked.min(ours)) } else { ours })
                }
            }
        }))
    }

    fn ask(&mut self, version: Version) -> Version {
        self.negotiation = Negotiation::Open(Some(version));
        self.config.version
    }
}
