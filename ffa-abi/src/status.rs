use core::fmt;

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// A status code as we give it to guests: one of those FF-A defines, and never "no error".
        ///
        /// # Specification
        /// DEN0077A v1.1 Table 12.2.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(i32)]
        pub enum Status { $($(#[$doc])* $name = $code,)* }

        impl Status {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The specification's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// The status with this code, if FF-A defines one.
            #[must_use]
            pub const fn from_code(code: i32) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

statuses! {
    /// The call or the feature is not there.
    NotSupported = -1, "NOT_SUPPORTED";
    /// A parameter is wrong.
    InvalidParameters = -2, "INVALID_PARAMETERS";
    /// Memory or table space is used up.
    NoMemory = -3, "NO_MEMORY";
    /// A needed resource is in use.
    Busy = -4, "BUSY";
    /// The call was interrupted before it took effect.
    Interrupted = -5, "INTERRUPTED";
    /// The callee refuses in its present state.
    Denied = -6, "DENIED";
    /// Try again.
    Retry = -7, "RETRY";
    /// The callee gave up.
    Aborted = -8, "ABORTED";
    /// Nothing to hand out.
    NoData = -9, "NO_DATA";
    /// The callee is not ready (1.2).
    NotReady = -10, "NOT_READY";
}

impl Status {
    /// The code, negative.
    #[must_use]
    pub const fn code(self) -> i32 {
        self as i32
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A status code as firmware gives it: one that FF-A defines, or any other number, zero and positive included.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum FirmwareStatus {
    /// A code that FF-A defines.
    Known(Status),
    /// Any other number. It never means success.
    Other(i32),
}

impl FirmwareStatus {
    /// Reads a 32-bit code.
    #[must_use]
    pub const fn from_code(code: i32) -> Self {
        match Status::from_code(code) {
            Some(status) => Self::Known(status),
            None => Self::Other(code),
        }
    }

    /// The 32-bit code.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::Known(status) => status.code(),
            Self::Other(code) => code,
        }
    }

    /// What a guest may be told: what FF-A does not define becomes ABORTED.
    #[must_use]
    pub const fn for_guest(self) -> Status {
        match self {
            Self::Known(status) => status,
            Self::Other(_) => Status::Aborted,
        }
    }
}

impl From<Status> for FirmwareStatus {
    fn from(status: Status) -> Self {
        Self::Known(status)
    }
}

impl fmt::Display for FirmwareStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(status) => status.fmt(f),
            Self::Other(code) => write!(f, "status {code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_and_unknown_ones_stay_visible() {
        for code in -20..=20 {
            let status = FirmwareStatus::from_code(code);
            assert_eq!(status.code(), code);
            let known = (-10..=-1).contains(&code);
            assert_eq!(matches!(status, FirmwareStatus::Known(_)), known, "{code}");
            assert_eq!(status.for_guest() == Status::Aborted, !known || code == -8, "{code}");
        }
        assert_eq!(Status::ALL.len(), 10);
    }
}
