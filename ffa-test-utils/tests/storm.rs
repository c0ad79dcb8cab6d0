//! Many VMs that die together: the model keeps up, and the truth ends empty.

mod common;

use common::*;
use ffa_abi::{PartitionId, VmAvailability};
use ffa_test_utils::spmc::*;

#[test]
fn a_thousand_vms_of_eight_shares() {
    let config = Config { writes_per_call: 0, ..Preset::Strict.config() };
    let mut world = World::new(config, [SP1, SP2].map(|sp| SpConfig::new(sp, Script::GOOD)));
    let vms: Vec<_> = (2..1002).map(PartitionId).collect();
    let mut handles = Vec::new();
    for (number, &vm) in (0..).zip(&vms) {
        world.tell(VmAvailability::Created, vm, SP1);
        for share in 0..8 {
            let first = 0x1000_0000 + (number * 8 + share) * 2 * PAGE;
            let descriptor = Descriptor { sender: vm.0, ..Descriptor::pages(first, 2) };
            handles.push((world.share(&descriptor), first));
        }
    }
    assert_eq!(world.spmc.live_handles().count(), 8000);
    for &vm in &vms {
        world.tell(VmAvailability::Destroyed, vm, SP1);
    }
    for (handle, first) in handles {
        assert_eq!(world.spmc.can_reach(first + PAGE).map(|reached| reached.handle), Some(handle));
        assert_eq!(status_of(&world.reclaim(handle)), Ok(()));
        assert_eq!(world.spmc.can_reach(first + PAGE), None);
    }
    assert_eq!(world.spmc.reaches().count(), 0);
}
