//! Who answers the normal world's FF-A calls.

use alloc::boxed::Box;
use alloc::vec::Vec;

use arm_sysregs::el1::accessors::read_mpidr_el1;
use ffa_abi::PartitionId;
use ffa_el2::lock::Mutex;
use ffa_el2::{census, fw_cfg, partitions, println};
use ffa_test_utils::Rng;
use ffa_test_utils::scenario::Scenario;
use ffa_test_utils::spmc::{Census, Config, Preset, SpConfig};

use crate::smc::{NOT_SUPPORTED, Registers};
use crate::spmc::Spmc;

/// A secure world behind the SMC instruction.
pub trait SecureWorld: Send {
    /// Answers one FF-A call, made on `cpu` at `now` nanoseconds after reset. Every register comes back as the
    /// specification says: those that carry no result are zero.
    fn call(&mut self, cpu: u16, now: u64, registers: &mut Registers);

    /// How much it has of a VM, or of all VMs.
    fn census(&self, vm: Option<PartitionId>) -> Census;
}

static SECURE_WORLD: Mutex<Option<Box<dyn SecureWorld>>> = Mutex::new(None);

/// Sets up the secure world before the normal world starts: that of the scenario `opt/ffa/scenario`, or else one of well
/// behaved partitions: where guests are hosted, those that they need, or with `many` in `opt/ffa/partitions` those that there are
/// otherwise. `opt/ffa/spmc` names another preset than it has, or `none` for a machine without FF-A.
pub fn start() {
    let (mut scenario, mut spmc) = ([0; 64], [0; 64]);
    let scenario = fw_cfg::text("opt/ffa/scenario", &mut scenario).and_then(Scenario::find);
    let (preset, partitions): (_, Vec<SpConfig>) = match scenario {
        Some(scenario) => (scenario.preset, scenario.partitions().collect()),
        None if fw_cfg::is("opt/ffa/scenario", "hosting") && !fw_cfg::is("opt/ffa/partitions", "many") => {
            (Preset::Strict, partitions::for_hosting().into())
        }
        None => (Preset::Strict, partitions::default().into()),
    };
    let preset = match fw_cfg::text("opt/ffa/spmc", &mut spmc) {
        None => Some(preset),
        Some("none") => None,
        Some(name) => Some(Preset::from_name(name).unwrap_or_else(|| panic!("there is no SPMC {name:?}"))),
    };
    *SECURE_WORLD.lock() = preset.map(|preset| -> Box<dyn SecureWorld> {
        println!("firmware: {} with {} partitions", preset.name(), partitions.len());
        Box::new(Spmc::new(Config { nonce: nonce(), ..preset.config() }, partitions))
    });
}

/// The mark of this run, from `opt/ffa/seed`. Never zero.
fn nonce() -> u32 {
    let mut text = [0; 20];
    let seed = fw_cfg::text("opt/ffa/seed", &mut text);
    let seed =
        seed.map_or(0, |seed| seed.parse().unwrap_or_else(|_| panic!("the seed {seed:?} is no number")));
    Rng::new(seed).next_u64() as u32 | 1
}

/// Answers [`census::FUNCTION`].
pub fn census(registers: &mut Registers) {
    let vm = match registers[1] as u16 {
        0 => None,
        id => Some(PartitionId(id)),
    };
    *registers = [0; 18];
    match SECURE_WORLD.lock().as_ref() {
        Some(world) => registers[..6].copy_from_slice(&census::to_registers(world.census(vm))),
        None => registers[0] = NOT_SUPPORTED,
    }
}

/// Hands an FF-A call to the secure world.
pub fn call(now: u64, registers: &mut Registers) {
    let cpu = read_mpidr_el1().bits() as u8;
    match SECURE_WORLD.lock().as_mut() {
        Some(world) => world.call(cpu.into(), now, registers),
        None => registers[0] = NOT_SUPPORTED,
    }
}
