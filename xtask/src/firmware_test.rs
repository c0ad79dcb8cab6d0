//! Runs the hypervisor on TF-A and OP-TEE, where it surveys what it finds.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use ffa_test_utils::timeline::Parsed;

use crate::image::{self, Profile};
use crate::qemu::{Ended, Machine};
use crate::setup;

const LIMIT: Duration = Duration::from_secs(60);
/// How many shares the guest of a survey makes with a partition that takes them.
const SHARES: u64 = 3;
/// The line about OP-TEE in the list of partitions begins with it.
const OPTEE: &str = "  SP 8001: ";

/// Boots the flash image.
///
/// # Errors
/// If OP-TEE is not found, or if any page that was shared with it does not come back. What was printed is printed then.
pub fn run(flash: &Path) -> Result<()> {
    let images = image::build(Profile::Release)?;
    let machine = Machine { flash: Some(flash.to_owned()), ..Machine::new(setup::qemu()?, images, LIMIT) };
    let mut lines = Vec::new();
    let ended = machine.run(|line| lines.push(line.to_owned()))?;
    let checked = check(ended, &lines);
    match &checked {
        Ok(()) => println!("survey: OP-TEE was found, and gave all of {SHARES} shares back"),
        Err(_) => lines.iter().for_each(|line| println!("{line}")),
    }
    checked
}

fn check(ended: Ended, lines: &[String]) -> Result<()> {
    ensure!(ended == Ended::Exited(0), "the survey did not end well: {ended:?}");
    ensure!(lines.iter().any(|line| line.starts_with(OPTEE)), "OP-TEE was not found");
    let well = lines.iter().any(|line| match Parsed::from_line(line) {
        Ok(Some(Parsed::Summary(summary))) => summary.shares == SHARES && summary.all_came_back(),
        _ => false,
    });
    ensure!(well, "the guest's {SHARES} shares did not all come back");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: &str = "  SP 8001: 4 contexts";
    const SUMMARY: &str = "summary scenario=survey shares=3 reclaimed=3 gone=0 quarantined=0 pages_held=0 zombies=0 smcs=108 \
                           violations=0";

    #[test]
    fn every_way_to_fail_fails() {
        let check = |ended, lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
            check(ended, &lines).map_err(|error| error.to_string())
        };
        let good = Ended::Exited(0);
        assert_eq!(check(good, &[FOUND, SUMMARY]), Ok(()));
        let missing = Err("the guest's 3 shares did not all come back".to_owned());
        assert_eq!(check(good, &[FOUND]), missing);
        for (from, to) in
            [("shares=3", "shares=2"), ("reclaimed=3", "reclaimed=2"), ("violations=0", "violations=1")]
        {
            assert_eq!(check(good, &[FOUND, &SUMMARY.replace(from, to)]), missing, "{to}");
        }
        assert_eq!(check(good, &[SUMMARY]), Err("OP-TEE was not found".to_owned()));
        assert_eq!(
            check(Ended::Hung, &[FOUND, SUMMARY]),
            Err("the survey did not end well: Hung".to_owned())
        );
    }
}
