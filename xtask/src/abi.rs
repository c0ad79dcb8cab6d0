//! `cargo xtask abi`: docs/abi.md, written from the tables that the code itself goes by.

use std::fmt;

use ffa_abi::{FUNCTIONS, FunctionId, FunctionInfo, Version, Width};
use ffa_hyp_glue::{SERVICES, Service};

const HEAD: &str = "\
# Functions

Written by `cargo xtask abi > docs/abi.md` from the tables that the code goes by; a test compares the two.

## What FF-A has

Every function up to FF-A 1.3 (`ffa_abi::FUNCTIONS`): its number in each width, with the version that brought it, who may call it,
and what answers it when it goes well. Otherwise FFA_ERROR does. FFA_VERSION is answered with a bare word, and what has no answer
is one itself, or gives the processor away.

| function | 32 bits | 64 bits | who may call it | answers |
| --- | --- | --- | --- | --- |
";

const SERVED: &str = "
## What guests have

Every function that the mediator serves (`ffa_hyp_glue::SERVICES`), in the widths that the guest's version has, what it does, and
what there must be for it. All else is answered NOT_SUPPORTED without a call to the secure world, as is what lacks what it needs;
FFA_FEATURES goes by the same table. It keeps silent about FFA_PARTITION_INFO_GET_REGS while the guest sees more than one
answer holds, since Linux 6.12 loses its way in a second one.

| function | what the mediator does | what it needs |
| --- | --- | --- |
";

/// The whole document. It ends with a line break.
pub struct Document;

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        for &FunctionInfo { function, name, since_32, since_64, callers, answers } in FUNCTIONS {
            let form = |width, since: Option<Version>| match (FunctionId::new(function, width), since) {
                (Some(id), Some(since)) => format!("`{:#010x}` ({since})", id.w0()),
                _ => "–".to_owned(),
            };
            let (narrow, wide) = (form(Width::Smc32, since_32), form(Width::Smc64, since_64));
            let answers: Vec<_> = answers.iter().map(ToString::to_string).collect();
            let answers = if answers.is_empty() { "–".to_owned() } else { answers.join(", ") };
            writeln!(f, "| {name} | {narrow} | {wide} | {callers} | {answers} |")?;
        }
        f.write_str(SERVED)?;
        for Service { function, needs, does } in SERVICES {
            writeln!(f, "| {function} | {does} | {needs} |")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn the_document_is_that_of_the_code() {
        let path = workspace::root().join("docs/abi.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == Document.to_string(), "run `cargo xtask abi > docs/abi.md`");
    }
}
