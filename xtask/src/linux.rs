//! A Linux for guests, from Debian's packages: a kernel that has FF-A, and a RAM disk with a program of ours for a start.

mod cpio;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::debian::{self, Archive, Package};
use crate::image::Images;
use crate::workspace;

use cpio::Cpio;

/// What Linux does in a guest.
const INIT: &str = include_str!("linux/init.sh");

/// Debian's release that has a kernel with FF-A, as modules. Its packages are replaced often.
const SUITE: &str = "forky";
/// Which kernel it is: that for virtual machines, of 64-bit Arm.
const FLAVOUR: &str = "cloud-arm64";
const RELEASE: &str = "7.2.12+deb14-cloud-arm64";
const VERSION: &str = "7.2.12-1";
/// Has the kernel itself.
const KERNEL_SHA256: &str = "6e25265a8f404d8332167e09cfd23728abc34c15523c8742d06d4dc31848b623";
/// Has its modules.
const MODULES_SHA256: &str = "3e91c43b1cac405ce2679f109df698e62eac194d3b5bea6297f7e112311affd7";
const BUSYBOX: &str = "busybox-static";
const BUSYBOX_VERSION: &str = "1:1.38.0-3+b1";
const BUSYBOX_SHA256: &str = "968d1aa8f579fa1ac59c26afa365454369e13cf29848e6400b50028fed0ffda0";

/// Modules of the kernel that a guest needs, in the order in which they are loaded.
const MODULES: [&str; 4] = [
    "kernel/drivers/firmware/arm_ffa/ffa-core.ko.xz",
    "kernel/drivers/firmware/arm_ffa/ffa-module.ko.xz",
    "kernel/drivers/tee/tee.ko.xz",
    "kernel/drivers/tee/optee/optee.ko.xz",
];

/// What the archive has for a guest, unpacked.
pub struct Linux {
    pub image: PathBuf,
    modules: PathBuf,
    busybox: PathBuf,
}

/// Which packages to take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Choice {
    /// Those that are known to work, and no others.
    Pinned,
    /// Whatever the archive has by now, on nobody's word but its own.
    Newest,
}

impl Choice {
    /// What `--newest`, given or not, asks for.
    pub fn from_flag(newest: bool) -> Self {
        if newest { Self::Newest } else { Self::Pinned }
    }
}

/// Gets what is not there yet.
///
/// # Errors
/// If a package cannot be had, or is not the one that it should be.
pub fn fetch(choice: Choice) -> Result<Linux> {
    let mut archive = Archive::new(SUITE);
    let (release, packages) = match choice {
        Choice::Pinned => (RELEASE.to_owned(), pinned()),
        Choice::Newest => newest(&mut archive)?,
    };
    let folder = workspace::target().join("linux").join(&release);
    for package in &packages {
        let file = archive.fetch(package)?;
        debian::unpack(&file, &folder)?;
    }
    let modules = folder.join("usr/lib/modules").join(&release);
    Ok(Linux { image: modules.join("vmlinuz"), modules, busybox: folder.join("usr/bin/busybox") })
}

impl Linux {
    /// Writes a RAM disk with our programs and what they need. `images` has one of them.
    pub fn write_initrd(&self, images: &Images) -> Result<PathBuf> {
        let read = |file: &Path| fs::read(file).with_context(|| format!("cannot read {}", file.display()));
        let mut archive = Cpio::default();
        for folder in ["bin", "dev", "lib", "proc", "sys"] {
            archive.folder(folder);
        }
        archive.console("dev/console");
        archive.program("init", INIT.as_bytes());
        archive.program("bin/busybox", &read(&self.busybox)?);
        archive.program("bin/client", &read(&images.client)?);
        for (position, module) in MODULES.iter().enumerate() {
            let name = module.rsplit('/').next().expect("a path has a last part");
            // Their order is that of their names.
            archive.file(&format!("lib/{position}-{name}"), &read(&self.modules.join(module))?);
        }
        let initrd = images.client.with_file_name("initrd");
        fs::write(&initrd, archive.finish()).with_context(|| format!("cannot write {}", initrd.display()))?;
        Ok(initrd)
    }
}

fn pinned() -> Vec<Package> {
    let package = |name: &str, version: &str, sha256: &str| Package {
        name: name.to_owned(),
        version: version.to_owned(),
        sha256: Some(sha256.to_owned()),
    };
    vec![
        package(&format!("linux-binary-{RELEASE}"), VERSION, KERNEL_SHA256),
        package(&format!("linux-modules-{RELEASE}"), VERSION, MODULES_SHA256),
        package(BUSYBOX, BUSYBOX_VERSION, BUSYBOX_SHA256),
    ]
}

/// The release of the kernel that the archive has, and its packages.
fn newest(archive: &mut Archive) -> Result<(String, Vec<Package>)> {
    let image = archive.dependency(&format!("linux-image-{FLAVOUR}"), "linux-image-")?;
    let release = image.trim_start_matches("linux-image-").to_owned();
    let names = [format!("linux-binary-{release}"), format!("linux-modules-{release}"), BUSYBOX.to_owned()];
    let packages = names.into_iter().map(|name| {
        let version = archive.version(&name)?;
        Ok(Package { name, version, sha256: None })
    });
    Ok((release, packages.collect::<Result<_>>()?))
}
