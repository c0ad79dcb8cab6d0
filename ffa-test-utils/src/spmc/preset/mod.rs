//! The secure worlds whose code was read, as configurations.

mod hafnium;
mod optee;
mod strict;
mod tfa_el3;

use super::config::Config;

/// A configuration by name.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Preset {
    /// Hafnium at S-EL2, with the TF-A relay in front.
    Hafnium,
    /// The SPMC inside TF-A at EL3.
    TfaEl3,
    /// OP-TEE as the SPMC at S-EL1, with virtualization. The first partition of the list is its own endpoint.
    Optee,
    /// Nobody's code: the specification, read strictly.
    Strict,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 4] = [Self::Hafnium, Self::TfaEl3, Self::Optee, Self::Strict];

    /// The knobs.
    #[must_use]
    pub fn config(self) -> Config {
        match self {
            Self::Hafnium => hafnium::config(),
            Self::TfaEl3 => tfa_el3::config(),
            Self::Optee => optee::config(),
            Self::Strict => strict::config(),
        }
    }

    /// The preset of this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }

    /// Short name, as command lines spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hafnium => "hafnium",
            Self::TfaEl3 => "tfa_el3",
            Self::Optee => "optee",
            Self::Strict => "strict",
        }
    }
}

impl From<Preset> for Config {
    fn from(preset: Preset) -> Self {
        preset.config()
    }
}

/// Rows of a feature table for functions without properties.
macro_rules! features {
    ([$($narrow:ident)*], [$($wide:ident)*], $($row:expr),* $(,)?) => {
        &[
            $(FeatureRow::plain(FunctionId::smc32(Function::$narrow)),)*
            $(FeatureRow::plain(FunctionId::smc64(Function::$wide)),)*
            $($row,)*
        ]
    };
}
use features;
