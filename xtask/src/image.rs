//! Builds the images for the bare machine.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::elf::Elf;
use crate::progress::Progress;
use crate::toolchain::TARGET;
use crate::{process, setup, workspace};

/// How the images are compiled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Profile {
    Debug,
    Release,
}

impl Profile {
    /// The profile that `--release`, given or not, asks for.
    pub fn from_flag(release: bool) -> Self {
        if release { Self::Release } else { Self::Debug }
    }

    /// The profile of Cargo, and the name of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "image-debug",
            Self::Release => "image",
        }
    }
}

/// Paths of the images, which are ELF files.
#[derive(Clone, Debug)]
pub struct Images {
    /// Runs at EL3.
    pub firmware: PathBuf,
    /// Runs at EL2.
    pub hypervisor: PathBuf,
    /// Runs at EL1, as a guest that checks what it finds.
    pub payload: PathBuf,
    /// Runs in Linux in a guest.
    pub client: PathBuf,
}

impl Images {
    /// The payload as guests boot it, which is written beside it.
    pub fn flat_payload(&self) -> Result<PathBuf> {
        let file = self.payload.with_extension("img");
        fs::write(&file, Elf::read(&self.payload)?.flatten()?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}

/// Builds all images.
pub fn build(profile: Profile) -> Result<Images> {
    build_with(profile, None)
}

/// Builds all images with a feature of their package.
pub fn build_with(profile: Profile, feature: Option<&str>) -> Result<Images> {
    let toolchain = setup::toolchain()?;
    // A folder of their own: another compiler may build them than builds the rest.
    let target = workspace::target().join("images");
    let mut cargo = toolchain.cargo("build");
    cargo.args(["--package", "ffa-el2"]).arg("--target-dir").arg(&target).current_dir(workspace::root());
    cargo.args(["--profile", profile.name()]);
    if let Some(feature) = feature {
        cargo.args(["--features", feature]);
    }
    let progress = Progress::start("building the images");
    let mut child = cargo
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", process::describe(&cargo)))?;
    let messages = BufReader::new(child.stderr.take().expect("it was piped just now"));
    let mut log = String::new();
    for line in messages.lines() {
        let line = line.context("cannot read what Cargo prints")?;
        progress.at(line.trim());
        log += &line;
        log.push('\n');
    }
    let status = child.wait().context("cannot wait for Cargo")?;
    drop(progress);
    if !status.success() {
        bail!("{log}{} failed ({status})", process::describe(&cargo));
    }
    let folder = target.join(TARGET).join(profile.name());
    let names = ["firmware", "hypervisor", "payload", "client"];
    let [firmware, hypervisor, payload, client] = names.map(|name| folder.join(name));
    Ok(Images { firmware, hypervisor, payload, client })
}
