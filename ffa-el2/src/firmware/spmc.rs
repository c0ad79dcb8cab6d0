//! A secure world that is the model of `ffa-test-utils`, with real registers and real memory.

use ffa_abi::{PartitionId, Regs};
use ffa_teardown::Time;
use ffa_test_utils::spmc::{Census, Config, SpConfig, SpmcModel};

use crate::interrupts;
use crate::normal_memory::NormalMemory;
use crate::secure_world::SecureWorld;
use crate::smc::Registers;

/// The model, which answers calls; its partitions write to the normal world's memory whenever one comes in, and signal VMs then.
pub struct Spmc {
    model: SpmcModel,
    memory: NormalMemory,
}

impl Spmc {
    /// A secure world with these knobs and partitions.
    pub fn new(config: Config, partitions: impl IntoIterator<Item = SpConfig>) -> Self {
        let config = Config { non_secure: NormalMemory::extents().collect(), ..config };
        Self { model: SpmcModel::new(config, partitions), memory: NormalMemory }
    }
}

impl SecureWorld for Spmc {
    fn call(&mut self, cpu: u16, now: u64, registers: &mut Registers) {
        let answer = self.model.call_on(cpu, &mut self.memory, Time::from_nanos(now), &Regs(*registers));
        *registers = answer.0;
        if let Some(sgi) = self.model.take_sri() {
            interrupts::send_to_normal_world(sgi);
        }
    }

    fn census(&self, vm: Option<PartitionId>) -> Census {
        self.model.census(vm)
    }
}
