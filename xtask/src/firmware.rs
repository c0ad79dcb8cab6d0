//! `cargo xtask firmware`: TF-A at EL3 with OP-TEE as SPMC at S-EL1, from the sources in Debian's archive, as a flash image.
//!
//! The hypervisor is not in it: TF-A goes on at the address where QEMU has put it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};

use crate::debian::{self, Archive, Source};
use crate::{process, setup, workspace};

/// Debian's release that always has the newest sources.
const SUITE: &str = "sid";
const TF_A: Source = Source {
    name: "arm-trusted-firmware",
    version: "2.12.1+dfsg-1",
    tarball: "arm-trusted-firmware_2.12.1+dfsg.orig.tar.xz",
    sha256: "332c08d71867b7f0dce0bce4cb2abd80f19cb3e0a2de6fe07245c111189d6fb7",
};
const OPTEE: Source = Source {
    name: "optee-os",
    version: "4.10.0-2",
    tarball: "optee-os_4.10.0.orig.tar.gz",
    sha256: "18633691cb075ff2249422251f1cd77c30439a95b564b46682dea1fb6580a5af",
};

/// OP-TEE as an SPMC that knows guests, without the trusted applications that come with it.
const OPTEE_OPTIONS: [&str; 15] = [
    // One more than `cargo xtask linux` has; without it, two.
    "CFG_VIRT_GUEST_COUNT=4",
    // Without it, that of the repository around it is taken.
    "TEE_IMPL_VERSION=4.10.0",
    "PLATFORM=vexpress-qemu_armv8a",
    "CROSS_COMPILE64=aarch64-linux-gnu-",
    "CROSS_COMPILE_core=aarch64-linux-gnu-",
    "CROSS_COMPILE_ta_arm64=aarch64-linux-gnu-",
    "supported-ta-targets=ta_arm64",
    "CFG_ARM64_core=y",
    "CFG_ARM_GICV3=y",
    "CFG_CORE_SEL1_SPMC=y",
    "CFG_NS_VIRTUALIZATION=y",
    "CFG_BUILD_IN_TREE_TA=n",
    // Trusted applications for tests, which are part of OP-TEE itself.
    "CFG_ENABLE_EMBEDDED_TESTS=y",
    "CFG_TEE_CORE_LOG_LEVEL=1",
    // It may be a newer compiler than theirs.
    "CFG_WERROR=n",
];
/// TF-A with its SPMD, and no BL33.
const TF_A_OPTIONS: [&str; 13] = [
    // As above.
    "BUILD_STRING=2.12.1",
    "PLAT=qemu",
    "CROSS_COMPILE=aarch64-linux-gnu-",
    "DEBUG=0",
    "LOG_LEVEL=20",
    "E=0",
    "QEMU_USE_GIC_DRIVER=QEMU_GICV3",
    "SPD=spmd",
    "SPMD_SPM_AT_SEL2=0",
    "CTX_INCLUDE_EL2_REGS=0",
    "SPMC_OPTEE=1",
    "BL32_RAM_LOCATION=tdram",
    // Where the hypervisor is linked.
    "PRELOADED_BL33_BASE=0x60000000",
];
/// Options of TF-A for files of OP-TEE.
const OPTEE_IMAGES: [(&str, &str); 3] = [
    ("BL32", "tee-header_v2.bin"),
    ("BL32_EXTRA1", "tee-pager_v2.bin"),
    ("BL32_EXTRA2", "tee-pageable_v2.bin"),
];
const OPTEE_MANIFEST: &str = include_str!("firmware/optee_spmc.dts");
/// Where the `qemu` platform of TF-A has its firmware image package, after BL1 at 0.
const FIP_OFFSET: usize = 0x4_0000;

/// The sources, and what it takes to build them.
pub struct Sources {
    tf_a: PathBuf,
    optee: PathBuf,
}

/// Gets what is not there yet.
///
/// # Errors
/// If the sources cannot be had, or are not those that they should be, or if tools cannot be installed.
pub fn fetch() -> Result<Sources> {
    let mut archive = Archive::of_sources(SUITE);
    let sources = Sources { tf_a: archive.fetch_source(&TF_A)?, optee: archive.fetch_source(&OPTEE)? };
    setup::firmware_tools()?;
    Ok(sources)
}

impl Sources {
    /// Builds the flash image, unless there is one that was built from the same sources with the same options.
    pub fn build(&self) -> Result<PathBuf> {
        let folder = workspace::target().join("firmware");
        let [flash, stamp] = ["optee.flash", "optee.stamp"].map(|file| folder.join(file));
        let built = stamp_text();
        if flash.exists() && fs::read_to_string(&stamp).is_ok_and(|text| text == built) {
            return Ok(flash);
        }
        _ = fs::remove_file(&stamp);
        let work = folder.join("build");
        _ = fs::remove_dir_all(&work);

        let optee = self.build_optee(&work)?;
        let tf_a = self.build_tf_a(&work, &optee)?;
        write(&flash, &flash_image(&read(&tf_a.join("bl1.bin"))?, &read(&tf_a.join("fip.bin"))?)?)?;
        write(&stamp, built.as_bytes())?;
        Ok(flash)
    }

    /// The folder with OP-TEE's images.
    fn build_optee(&self, work: &Path) -> Result<PathBuf> {
        let [source, out] = ["optee", "optee-out"].map(|folder| work.join(folder));
        debian::unpack_source(&self.optee, &source)?;
        eprintln!("building OP-TEE, which takes a minute or two");
        process::output(make(&source).args(OPTEE_OPTIONS).arg(option("O", &out)))?;
        Ok(out.join("core"))
    }

    /// The folder with TF-A's images, which have those of OP-TEE inside.
    fn build_tf_a(&self, work: &Path, optee: &Path) -> Result<PathBuf> {
        let [source, out] = ["tf-a", "tf-a-out"].map(|folder| work.join(folder));
        debian::unpack_source(&self.tf_a, &source)?;
        let manifest = work.join("optee_spmc.dts");
        write(&manifest, OPTEE_MANIFEST.as_bytes())?;
        eprintln!("building TF-A");
        let mut make = make(&source);
        make.args(TF_A_OPTIONS).args(OPTEE_IMAGES.map(|(name, file)| option(name, &optee.join(file))));
        make.arg(option("QEMU_TOS_FW_CONFIG_DTS", &manifest)).arg(option("BUILD_BASE", &out));
        process::output(make.args(["all", "fip"]))?;
        Ok(out.join("qemu/release"))
    }
}

/// A `make` in `source` that nothing of our environment reaches: both makefiles take options from there.
fn make(source: &Path) -> Command {
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let mut make = Command::new("/usr/bin/make");
    // The Python that has Debian's modules is Debian's.
    make.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
    // The images name the time when they were built, which is no part of what they are.
    make.env("SOURCE_DATE_EPOCH", "0");
    make.arg(format!("--jobs={jobs}")).arg("--directory").arg(source);
    make
}

fn option(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

/// All that the flash image depends on.
fn stamp_text() -> String {
    let sources = [TF_A, OPTEE].map(|source| format!("{} {}", source.tarball, source.sha256));
    [&sources.join("\n"), &OPTEE_OPTIONS.join("\n"), &TF_A_OPTIONS.join("\n"), OPTEE_MANIFEST].join("\n")
}

/// The content of the flash.
fn flash_image(bl1: &[u8], fip: &[u8]) -> Result<Vec<u8>> {
    ensure!(bl1.len() <= FIP_OFFSET, "BL1 has {} bytes, of which {FIP_OFFSET} fit", bl1.len());
    let mut flash = bl1.to_vec();
    flash.resize(FIP_OFFSET, 0);
    flash.extend_from_slice(fip);
    Ok(flash)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_begins_where_bl1_looks_for_it() {
        let flash = flash_image(&[1; 5], &[2; 7]).unwrap();
        assert_eq!(flash.len(), 0x4_0007);
        assert_eq!(flash[..6], [1, 1, 1, 1, 1, 0]);
        assert_eq!(flash[0x3_ffff..], [0, 2, 2, 2, 2, 2, 2, 2]);
    }

    #[test]
    fn bl1_does_not_reach_into_the_package() {
        assert_eq!(flash_image(&[1; FIP_OFFSET], &[2]).unwrap()[FIP_OFFSET - 1..], [1, 2]);
        let error = flash_image(&[1; FIP_OFFSET + 1], &[2]).unwrap_err();
        assert_eq!(error.to_string(), "BL1 has 262145 bytes, of which 262144 fit");
    }
}
