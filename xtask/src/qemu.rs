//! Runs the images in QEMU.
//!
//! Time is virtual: the machine executes one instruction a nanosecond, and where all CPUs wait, the time until the next
//! timer takes none. So runs repeat to the instruction, and a guest may sleep for hours.

use std::io::{BufRead, BufReader, Read};
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::elf::Elf;
use crate::image::Images;
use crate::process;

/// What the hypervisor prints last if all was well.
const ALL_IS_WELL: &str = "hypervisor: all is well";
/// How often QEMU is asked whether it has ended, once it can print no more.
const POLL: Duration = Duration::from_millis(1);
/// Lines that wait to be looked at. QEMU waits when there are more.
const BACKLOG: usize = 1000;

/// A machine that boots the images.
pub struct Machine {
    pub qemu: PathBuf,
    pub images: Images,
    pub cpus: u8,
    /// What the images are told: names below `opt/ffa/`, and values.
    pub told: Vec<(&'static str, String)>,
    /// Files in the machine's memory when it starts, each with its address.
    pub files: Vec<(PathBuf, u64)>,
    /// What the machine has for firmware instead of ours: a flash image.
    pub flash: Option<PathBuf>,
    /// When a run that has not ended counts as hung.
    pub limit: Duration,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// By itself, with this status; 0 if all was well.
    Exited(i32),
    /// By force, at the limit.
    Hung,
    /// By itself, with status 0, but the hypervisor did not come to its end: QEMU does that when it is told to terminate.
    Unfinished,
}

impl Machine {
    /// One with two CPUs and our firmware, which is told nothing.
    pub fn new(qemu: PathBuf, images: Images, limit: Duration) -> Self {
        Self { qemu, images, cpus: 2, told: Vec::new(), files: Vec::new(), flash: None, limit }
    }

    /// Boots the machine, hands each line of its serial port to `line`, and returns when it has ended.
    ///
    /// # Errors
    /// If QEMU could not be started or was killed by somebody else. That the run went wrong is no error here.
    pub fn run(&self, mut line: impl FnMut(&str)) -> Result<Ended> {
        let mut command = self.command()?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", process::describe(&command)))?;
        let lines = lines_of(child.stdout.take().expect("it was piped just now"));
        let complaints = lines_of(child.stderr.take().expect("it was piped just now"));
        let mut child = KilledOnDrop(child);

        let deadline = Instant::now() + self.limit;
        let mut is_well = false;
        let left = || deadline.saturating_duration_since(Instant::now());
        loop {
            let left = left();
            match lines.recv_timeout(left) {
                // There may be another line at any time: a machine that prints for ever has hung as well.
                Ok(text) if !left.is_zero() => {
                    is_well |= text == ALL_IS_WELL;
                    line(&text);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Ok(_) | Err(RecvTimeoutError::Timeout) => return Ok(Ended::Hung),
            }
        }
        let Some(status) = child.wait_until(deadline)? else { return Ok(Ended::Hung) };
        let complaints: Vec<String> = iter::from_fn(|| complaints.recv_timeout(left()).ok()).collect();
        match status.code() {
            // 1 is also what QEMU says when it does not like its arguments.
            Some(1) if !complaints.is_empty() => bail!("QEMU failed: {}", complaints.join("\n")),
            Some(0) if !is_well => Ok(Ended::Unfinished),
            Some(status) => Ok(Ended::Exited(status)),
            None => bail!("QEMU was killed: {}", complaints.join("\n")),
        }
    }

    /// The command line. It is made here and nowhere else.
    fn command(&self) -> Result<Command> {
        let path = |path: &Path| escape(&path.to_string_lossy());
        let hypervisor = path(&self.images.hypervisor);
        let mut command = Command::new(&self.qemu);
        command
            .args(["-M", "virt,secure=on,virtualization=on,gic-version=3,dtb-randomness=off"])
            // One tick of the counter for each instruction; the vector units only slow the start down.
            .args(["-cpu", "max,sve=off,sme=off,cntfrq=1000000000", "-icount", "shift=0,sleep=off"])
            .args(["-smp", &self.cpus.to_string(), "-m", "1024"])
            .args(["-nic", "none", "-display", "none", "-monitor", "none", "-serial", "stdio"])
            .args(["-semihosting-config", "enable=on,target=native"])
            .args(["-device", &format!("loader,file={hypervisor}")])
            .args(["-fw_cfg", "name=opt/ffa/semihosting,string=on"]);
        if let Some(flash) = &self.flash {
            command.args(["-bios".as_ref(), flash.as_os_str()]);
        } else {
            let firmware = path(&self.images.firmware);
            command.args(["-device", &format!("loader,file={firmware},cpu-num=0")]);
            let entry = Elf::read(&self.images.firmware)?.entry()?;
            for cpu in 1..self.cpus {
                command.args(["-device", &format!("loader,addr={entry:#x},cpu-num={cpu}")]);
            }
        }
        for (file, address) in &self.files {
            command.args(["-device", &format!("loader,file={},addr={address:#x},force-raw=on", path(file))]);
        }
        for (name, value) in &self.told {
            command.args(["-fw_cfg", &format!("name=opt/ffa/{name},string={}", escape(value))]);
        }
        Ok(command)
    }
}

/// `value` as a part of one of QEMU's options, which end at a comma.
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

/// QEMU, which does not outlive whoever waits for it.
struct KilledOnDrop(Child);

impl KilledOnDrop {
    /// How it ended; `None` if it still runs at `deadline`.
    fn wait_until(&mut self, deadline: Instant) -> Result<Option<ExitStatus>> {
        loop {
            let ended = self.0.try_wait().context("cannot wait for QEMU")?;
            if ended.is_some() || Instant::now() >= deadline {
                return Ok(ended);
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// The lines that come out of `stream`, until it is closed.
fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(BACKLOG);
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut bytes = Vec::new();
        while stream.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Runs `script` in place of QEMU.
    fn run(name: &str, script: &str) -> Result<Ended> {
        let folder = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let [qemu, image] = ["qemu", "image"].map(|file| folder.join(file));
        fs::write(&qemu, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&qemu, Permissions::from_mode(0o755)).unwrap();
        fs::write(&image, [&b"\x7fELF\x02\x01"[..], &[0; 26]].concat()).unwrap();
        let image = || image.clone();
        let images = Images { firmware: image(), hypervisor: image(), payload: image(), client: image() };
        let limit = Duration::from_millis(300);
        let ended = Machine::new(qemu, images, limit).run(|_| {});
        fs::remove_dir_all(folder).unwrap();
        ended
    }

    /// One test, since no script may be started while another is being written.
    #[test]
    fn says_how_it_ended_and_nothing_outlasts_the_limit() {
        assert_eq!(run("well", "echo hypervisor: all is well").unwrap(), Ended::Exited(0));
        assert_eq!(run("terminated", "echo hypervisor: started").unwrap(), Ended::Unfinished);
        assert_eq!(run("panicked", "exit 101").unwrap(), Ended::Exited(101));
        assert!(run("refused", "echo no such option >&2; exit 1").is_err());
        assert!(run("killed", "kill -9 $$").is_err());
        for (name, script) in [
            ("silent", "exec sleep 60"),
            ("chatty", "exec yes"),
            ("closed", "exec sleep 60 >&-"),
            ("mute", "exec sleep 60 >&- 2>&-"),
        ] {
            assert_eq!(run(name, script).unwrap(), Ended::Hung, "{name}");
        }
    }
}
