//! Packages of Debian for 64-bit Arm, whatever this machine is, and the sources of packages.
//!
//! The host's own apt gets them, from the mirror that the host uses, but with a configuration and lists of our own: nothing is
//! installed, and the host's apt does not learn of it. apt believes only what Debian signed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{process, workspace};

const ARCHITECTURE: &str = "arm64";
/// Keys of Debian's archive, from the package `debian-archive-keyring`.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A package, as it is in the archive.
pub struct Package {
    pub name: String,
    pub version: String,
    /// Digest of the file, in hexadecimal, if one is known.
    pub sha256: Option<String>,
}

/// The sources of a package, as who wrote them published them: without what Debian changes.
pub struct Source {
    pub name: &'static str,
    /// Debian's.
    pub version: &'static str,
    pub tarball: &'static str,
    /// Digest of the tarball, in hexadecimal.
    pub sha256: &'static str,
}

/// Debian's archive, of which the lists are got when they are needed first.
pub struct Archive {
    suite: &'static str,
    /// What its lists tell of, as a list of sources has it.
    kind: &'static str,
    folder: PathBuf,
    is_updated: bool,
}

impl Archive {
    /// The packages of one of Debian's releases.
    pub fn new(suite: &'static str) -> Self {
        Self { suite, kind: "deb", folder: workspace::target().join("apt"), is_updated: false }
    }

    /// The sources of one of Debian's releases.
    pub fn of_sources(suite: &'static str) -> Self {
        Self { suite, kind: "deb-src", folder: workspace::target().join("apt-sources"), is_updated: false }
    }

    /// The file of `package`, which is got unless it is there already.
    ///
    /// # Errors
    /// If the archive does not have it, or has another one by that name.
    pub fn fetch(&mut self, package: &Package) -> Result<PathBuf> {
        let Package { name, version, sha256 } = package;
        let file = self.folder.join("packages").join(format!("{name}_{version}.deb"));
        if !file.exists() {
            self.download(name, version, &["download"], ".deb", &file).with_context(|| {
                format!("the package {name} {version} cannot be had; --newest takes whatever there is")
            })?;
        }
        if let Some(expected) = sha256 {
            check(&file, expected)?;
        }
        Ok(file)
    }

    /// The tarball of `source`, which is got unless it is there already.
    ///
    /// # Errors
    /// If the archive does not have it, or has another one by that name.
    pub fn fetch_source(&mut self, source: &Source) -> Result<PathBuf> {
        let Source { name, version, tarball, sha256 } = source;
        let file = self.folder.join("packages").join(tarball);
        if !file.exists() {
            self.download(name, version, &["source", "--download-only"], tarball, &file)
                .with_context(|| format!("the sources {name} {version} cannot be had"))?;
        }
        check(&file, sha256)?;
        Ok(file)
    }

    /// The version of the package `name` that the archive has.
    pub fn version(&mut self, name: &str) -> Result<String> {
        let versions = self.versions(name)?;
        versions.into_iter().next().with_context(|| format!("{} has no package {name}", self.suite))
    }

    /// The first package that `name` depends on whose own name begins with `prefix`.
    pub fn dependency(&mut self, name: &str, prefix: &str) -> Result<String> {
        let depends = process::output(self.apt("apt-cache")?.args(["depends", name]))?;
        let names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let found = names.into_iter().find(|name| name.starts_with(prefix)).map(str::to_owned);
        found.with_context(|| format!("{name} depends on no {prefix}…"))
    }

    fn versions(&mut self, name: &str) -> Result<Vec<String>> {
        let lines = process::output(self.apt("apt-cache")?.args(["madison", name]))?;
        Ok(lines.lines().filter_map(|line| Some(line.split('|').nth(1)?.trim().to_owned())).collect())
    }

    /// Has `apt-get` do `what` for a package, and moves the file that it got, whose name ends in `suffix`, to `target`.
    fn download(
        &mut self,
        name: &str,
        version: &str,
        what: &[&str],
        suffix: &str,
        target: &Path,
    ) -> Result<()> {
        let versions = self.versions(name)?;
        if !versions.iter().any(|has| has == version) {
            let has = if versions.is_empty() { "none by that name".to_owned() } else { versions.join(", ") };
            bail!("{} has {has} by now", self.suite);
        }
        let folder = self.folder.join("incoming");
        _ = fs::remove_dir_all(&folder);
        create(&folder)?;
        eprintln!("getting {name} {version}");
        let wanted = format!("{name}={version}");
        process::output(self.apt("apt-get")?.args(what).arg(&wanted).current_dir(&folder))?;
        // apt chooses the name of the file.
        let files = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let files = files.collect::<Result<Vec<_>, _>>()?;
        let file = files.iter().find(|file| file.file_name().to_string_lossy().ends_with(suffix));
        let file = file.with_context(|| format!("apt-get got no {suffix}"))?.path();
        create(target.parent().expect("it was given one"))?;
        fs::rename(&file, target).with_context(|| format!("cannot write {}", target.display()))
    }

    /// A program of apt with our configuration; arguments are still to be added.
    fn apt(&mut self, program: &str) -> Result<Command> {
        if !self.is_updated {
            self.write_configuration()?;
            eprintln!("asking Debian's archive what {} has", self.suite);
            process::output(self.command("apt-get").arg("update"))
                .context("Debian's archive cannot be reached")?;
            self.is_updated = true;
        }
        Ok(self.command(program))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.folder.join("apt.conf")).env("LC_ALL", "C.UTF-8");
        command
    }

    fn write_configuration(&self) -> Result<()> {
        ensure!(process::find("apt-get").is_some(), "this machine has no apt to ask Debian's archive with");
        ensure!(Path::new(KEYS).exists(), "the package debian-archive-keyring is not installed");
        for folder in ["lists/partial", "none/partial", "cache/archives/partial", "state"] {
            create(&self.folder.join(folder))?;
        }
        let mirror = mirror(&self.folder.join("none"))?;
        let folder = self.folder.display();
        let Self { suite, kind, .. } = self;
        let write = |name: &str, text: String| {
            let file = self.folder.join(name);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
        };
        write("state/status", String::new())?;
        write(
            "sources.list",
            format!("{kind} [arch={ARCHITECTURE} signed-by={KEYS}] {mirror} {suite} main\n"),
        )?;
        write(
            "apt.conf",
            format!(
                "Dir::Etc::sourcelist \"{folder}/sources.list\";\n\
                 Dir::Etc::sourceparts \"-\";\n\
                 Dir::State \"{folder}/state\";\n\
                 Dir::State::Lists \"{folder}/lists\";\n\
                 Dir::State::status \"{folder}/state/status\";\n\
                 Dir::Cache \"{folder}/cache\";\n\
                 APT::Architecture \"{ARCHITECTURE}\";\n\
                 APT::Architectures {{ \"{ARCHITECTURE}\"; }};\n\
                 APT::Sandbox::User \"\";\n\
                 Acquire::Languages \"none\";\n\
                 Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
            ),
        )
    }
}

/// Unpacks the files of a package into `folder`.
pub fn unpack(package: &Path, folder: &Path) -> Result<()> {
    create(folder)?;
    process::output(Command::new("dpkg-deb").arg("--extract").args([package, folder])).map(drop)
}

/// Unpacks a tarball, which has everything in one folder, into `folder`.
pub fn unpack_source(tarball: &Path, folder: &Path) -> Result<()> {
    create(folder)?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--strip-components=1", "--file"]).arg(tarball).arg("--directory").arg(folder);
    process::output(&mut tar).map(drop)
}

/// Where this machine gets the packages of its own release from: there are those of the others as well.
fn mirror(lists: &Path) -> Result<String> {
    let system = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let value = |name: &str| {
        let lines = system.lines().filter_map(|line| line.split_once('='));
        lines.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"').to_owned())
    };
    ensure!(value("ID").as_deref() == Some("debian"), "this machine is no Debian, and knows no mirror of it");
    let release = value("VERSION_CODENAME").context("/etc/os-release does not say which Debian this is")?;
    // With lists of its own it tells what it would get, whether or not it has been got.
    let mut update = Command::new("apt-get");
    update.arg("-o").arg(format!("Dir::State::Lists={}", lists.display())).args(["--print-uris", "update"]);
    let addresses = process::output(&mut update)?;
    let end = format!("/dists/{release}/InRelease");
    let mut addresses = addresses.lines().filter_map(|line| line.strip_prefix('\'')?.split('\'').next());
    addresses
        .find_map(|address| address.strip_suffix(&end).map(str::to_owned))
        .with_context(|| format!("apt on this machine knows no mirror of Debian {release}"))
}

/// Sees that `file` has the digest `expected`. One that has not is deleted, so that the next try gets it again.
fn check(file: &Path, expected: &str) -> Result<()> {
    let found = digest(file)?;
    if found != expected {
        _ = fs::remove_file(file);
        bail!("{} has the SHA-256 digest {found}, not {expected}", file.display());
    }
    Ok(())
}

fn digest(file: &Path) -> Result<String> {
    let line = process::output(Command::new("sha256sum").arg("--binary").arg(file))?;
    Ok(line.split([' ', '*']).next().unwrap_or_default().trim_start_matches('\\').to_owned())
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}
