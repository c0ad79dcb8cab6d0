//! Runs the images in QEMU.
//!
//! Time is virtual: the machine executes one instruction a nanosecond, and where all CPUs wait, the time until the next
//! timer takes none. So runs repeat to the instruction, and a guest may sleep for hours.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::image::Images;
use crate::{elf, process};

/// A machine that boots the images.
pub struct Machine {
    pub qemu: PathBuf,
    pub images: Images,
    pub cpus: u8,
    /// What the images are told: names below `opt/ffa/`, and values.
    pub told: Vec<(&'static str, String)>,
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
}

impl Machine {
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
        let child = KilledOnDrop(child);

        let deadline = Instant::now() + self.limit;
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(text) => line(&text),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => return Ok(Ended::Hung),
            }
        }
        let status = child.wait()?;
        let complaints: Vec<String> = complaints.iter().collect();
        match status {
            // 1 is also what QEMU says when it does not like its arguments.
            Some(1) if !complaints.is_empty() => bail!("QEMU failed: {}", complaints.join("\n")),
            Some(status) => Ok(Ended::Exited(status)),
            None => bail!("QEMU was killed: {}", complaints.join("\n")),
        }
    }

    /// The command line. It is made here and nowhere else.
    fn command(&self) -> Result<Command> {
        let entry = elf::entry(&self.images.firmware)?;
        let firmware = escape(&self.images.firmware.to_string_lossy());
        let hypervisor = escape(&self.images.hypervisor.to_string_lossy());
        let mut command = Command::new(&self.qemu);
        command
            .args(["-M", "virt,secure=on,virtualization=on,gic-version=3,dtb-randomness=off"])
            // One tick of the counter for each instruction; the vector units only slow the start down.
            .args(["-cpu", "max,sve=off,sme=off,cntfrq=1000000000", "-icount", "shift=0,sleep=off"])
            .args(["-smp", &self.cpus.to_string(), "-m", "1024"])
            .args(["-nic", "none", "-display", "none", "-monitor", "none", "-serial", "stdio"])
            .args(["-semihosting-config", "enable=on,target=native"])
            .args(["-device", &format!("loader,file={firmware},cpu-num=0")])
            .args(["-device", &format!("loader,file={hypervisor}")])
            .args(["-fw_cfg", "name=opt/ffa/semihosting,string=on"]);
        for cpu in 1..self.cpus {
            command.args(["-device", &format!("loader,addr={entry:#x},cpu-num={cpu}")]);
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
    /// Its exit status, when it has ended; `None` if a signal ended it.
    fn wait(mut self) -> Result<Option<i32>> {
        Ok(self.0.wait().context("cannot wait for QEMU")?.code())
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
    let (sender, receiver) = mpsc::channel();
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
