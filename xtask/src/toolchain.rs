//! Which compiler can build for the bare machine.
//!
//! Best is one that has the target's library. Else one that has the library's sources will do: it builds `core` and
//! `alloc` itself, which stable compilers do when they are told to pass as nightly.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;

/// The bare machine. The kind without floating point: neither image saves its registers.
pub const TARGET: &str = "aarch64-unknown-none-softfloat";
/// The images switch the MMU on before anything else, so unaligned accesses to memory work. The target does not count on that
/// and takes eight loads for a number in a descriptor.
const FLAGS: &str = "-Ctarget-feature=-strict-align";
/// Oldest compiler that builds `ffa-el2`: its `rust-version`.
const OLDEST_MINOR: u32 = 89;

/// A compiler that can build the images.
pub struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    library: Library,
}

/// Where the standard library comes from.
enum Library {
    Installed,
    /// Built with the images, and linked by this program.
    FromSource {
        linker: PathBuf,
    },
}

impl Toolchain {
    /// The best toolchain that is installed.
    pub fn find() -> Option<Self> {
        let pairs = candidates();
        let with_library = pairs.iter().find(|pair| pair.has_library());
        let installed = with_library.map(|pair| pair.toolchain(Library::Installed));
        installed.or_else(|| {
            pairs.iter().find_map(|pair| {
                let linker = pair.linker().filter(|_| pair.has_sources())?;
                Some(pair.toolchain(Library::FromSource { linker }))
            })
        })
    }

    /// A Cargo command for the bare machine, with `core` and `alloc`; arguments are still to be added.
    pub fn cargo(&self, subcommand: &str) -> Command {
        self.cargo_with(subcommand, "core,alloc")
    }

    /// The same without `alloc`, where the library is built from source.
    pub fn cargo_without_alloc(&self, subcommand: &str) -> Command {
        self.cargo_with(subcommand, "core")
    }

    /// The same for Clippy; `None` if the toolchain has none.
    pub fn clippy(&self) -> Option<Command> {
        // Not by way of Cargo, which may find that of another toolchain.
        let program = self.rustc.with_file_name("cargo-clippy");
        let mut command =
            program.is_file().then(|| self.prepare(Command::new(program), "clippy", "core,alloc"))?;
        command.env("CARGO", &self.cargo);
        Some(command)
    }

    fn cargo_with(&self, subcommand: &str, crates: &str) -> Command {
        self.prepare(Command::new(&self.cargo), subcommand, crates)
    }

    fn prepare(&self, mut command: Command, subcommand: &str, crates: &str) -> Command {
        command.arg(subcommand).args(["--target", TARGET]).env("RUSTC", &self.rustc);
        command.env("CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_RUSTFLAGS", FLAGS);
        // Set by the Cargo that runs us, for its own compiler; and by whoever runs it, for the host. The latter would also
        // come before the flags above.
        for host in ["LD_LIBRARY_PATH", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
            command.env_remove(host);
        }
        if let Library::FromSource { linker } = &self.library {
            command.arg(format!("-Zbuild-std={crates}")).env("RUSTC_BOOTSTRAP", "1");
            command.env("CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_LINKER", linker);
        }
        command
    }

    /// Where the standard library comes from, for a person.
    pub fn describe(&self) -> String {
        match self.library {
            Library::Installed => format!("{} with the library of {TARGET}", self.rustc.display()),
            Library::FromSource { .. } => format!("{} with library sources", self.rustc.display()),
        }
    }
}

/// A Cargo and the compiler that came with it.
struct Pair {
    cargo: PathBuf,
    rustc: PathBuf,
    sysroot: PathBuf,
}

impl Pair {
    /// `None` if either is missing or too old.
    fn new(cargo: PathBuf, rustc: PathBuf) -> Option<Self> {
        let version = process::output(Command::new(&rustc).arg("--version")).ok()?;
        if !cargo.is_file() || minor_version(&version)? < OLDEST_MINOR {
            return None;
        }
        let sysroot = process::output(Command::new(&rustc).args(["--print", "sysroot"])).ok()?.into();
        Some(Self { cargo, rustc, sysroot })
    }

    fn toolchain(&self, library: Library) -> Toolchain {
        Toolchain { cargo: self.cargo.clone(), rustc: self.rustc.clone(), library }
    }

    fn has_library(&self) -> bool {
        let folder = self.rustlib().join(TARGET).join("lib");
        let is_core = |name: String| name.starts_with("libcore-") && name.ends_with(".rlib");
        names_in(&folder).any(is_core)
    }

    fn has_sources(&self) -> bool {
        self.rustlib().join("src/rust/library/Cargo.lock").is_file()
    }

    /// The linker of the toolchain, or that of the system.
    fn linker(&self) -> Option<PathBuf> {
        let mut own = names_in(&self.rustlib()).map(|host| self.rustlib().join(host).join("bin/rust-lld"));
        own.find(|path| path.is_file()).or_else(|| process::find("ld.lld"))
    }

    fn rustlib(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib")
    }
}

/// What is used by default, then the packages of Debian, then those of Ubuntu, which carry their version in their path.
fn candidates() -> Vec<Pair> {
    let default = process::find("cargo").zip(process::find("rustc"));
    let debian = ("/usr/bin/cargo".into(), "/usr/bin/rustc".into());
    let ubuntu = names_in(Path::new("/usr/lib")).filter(|name| name.starts_with("rust-1.")).map(|name| {
        let programs = Path::new("/usr/lib").join(name).join("bin");
        (programs.join("cargo"), programs.join("rustc"))
    });
    default
        .into_iter()
        .chain([debian])
        .chain(ubuntu)
        .filter_map(|(cargo, rustc)| Pair::new(cargo, rustc))
        .collect()
}

fn names_in(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// The 96 of `rustc 1.96.0 (…)`.
fn minor_version(version: &str) -> Option<u32> {
    version.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::minor_version;

    #[test]
    fn reads_the_version_of_any_channel() {
        assert_eq!(
            minor_version("rustc 1.96.0 (ac68faa20 2026-07-11) (built from a source tarball)"),
            Some(96)
        );
        assert_eq!(minor_version("rustc 1.98.0-nightly (59807616e 2026-04-14)"), Some(98));
        assert_eq!(minor_version("clang 14"), None);
    }
}
