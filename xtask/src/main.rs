//! `cargo xtask`: everything that is more than `cargo build` and `cargo test`.

#[macro_use]
mod print;

mod abi;
mod bench;
mod debian;
mod demo;
mod el2_bench;
mod elf;
mod firmware;
mod firmware_test;
mod gate;
mod guests;
mod image;
mod images_test;
mod linux;
mod linux_check;
mod linux_run;
mod memory;
mod output;
mod process;
mod progress;
mod qemu;
mod run;
mod setup;
mod soak;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::image::Profile;
use crate::linux::Choice;

/// Set-up, builds, QEMU runs, checks and demonstrations.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the other commands need. They call this themselves.
    Setup {
        /// Also install what only developers need: what TF-A and OP-TEE are built with, and cargo-deny, which takes five
        /// minutes to build.
        #[arg(long)]
        dev: bool,
    },
    /// Show guests die, and every page that they shared come back.
    Demo(demo::Options),
    /// Check everything: what must pass before a change lands.
    Test,
    /// Count the instructions of what is called often, beside those of arm-ffa.
    Bench {
        /// Count what the mediator costs a guest at EL2 instead, beside Xen's.
        #[arg(long)]
        el2: bool,
        /// Find how much memory shares need instead.
        #[arg(long, conflicts_with = "el2")]
        memory: bool,
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Print the functions of FF-A and those that guests have, as docs/abi.md.
    Abi,
    /// Build the firmware and the hypervisor for the bare machine.
    Build {
        /// Build as it is measured, optimised.
        #[arg(long)]
        release: bool,
    },
    /// Build TF-A and OP-TEE, from Debian's archive, as a flash image for `run --bios`. Prints where it is.
    Firmware,
    /// Get a Linux for guests from Debian's packages: a kernel and a RAM disk. Prints where they are.
    Fetch {
        /// Take what the archive has by now, not what is known to work.
        #[arg(long)]
        newest: bool,
    },
    /// Boot Linux in guests that share memory with a trusted OS, die, and are born again.
    Linux(linux_run::Options),
    /// Kill a guest over and over, and see that nothing of it is left each time.
    Soak(soak::Options),
    /// Boot the images in QEMU and show what they print.
    Run(run::Options),
}

fn main() -> ExitCode {
    match obey(Arguments::parse().command) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn obey(command: Command) -> Result<ExitCode> {
    match command {
        Command::Setup { dev } => setup::everything(dev)?,
        Command::Demo(options) => return demo::run(&options),
        Command::Test => return gate::run(),
        Command::Bench { el2: true, json, .. } => return el2_bench::run(json),
        Command::Bench { memory: true, json, .. } => return memory::run(json),
        Command::Bench { json, .. } => return bench::run(json),
        Command::Abi => print!("{}", abi::Document),
        Command::Build { release } => {
            let images = image::build(Profile::from_flag(release))?;
            println!("{}\n{}", images.firmware.display(), images.hypervisor.display());
        }
        Command::Firmware => println!("{}", firmware::fetch()?.build()?.display()),
        Command::Fetch { newest } => {
            let linux = linux::fetch(Choice::from_flag(newest))?;
            let initrd = linux.write_initrd(&image::build(Profile::Release)?)?;
            println!("{}\n{}", linux.image.display(), initrd.display());
        }
        Command::Linux(options) => return linux_run::run(&options),
        Command::Soak(options) => return soak::run(&options),
        Command::Run(options) => return run::run(options),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn no_two_arguments_have_one_name() {
        Arguments::command().debug_assert();
    }
}
