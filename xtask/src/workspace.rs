//! Where things are.

use std::env;
use std::path::{self, Path, PathBuf};

/// The folder of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is a folder of the workspace")
}

/// The folder for whatever is built.
pub fn target() -> PathBuf {
    let chosen = env::var_os("CARGO_TARGET_DIR").and_then(|folder| path::absolute(folder).ok());
    chosen.unwrap_or_else(|| root().join("target"))
}
