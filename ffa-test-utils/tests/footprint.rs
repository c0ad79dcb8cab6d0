//! What state costs, and that nothing but that has to be lent.

use ffa_test_utils::hypervisor::{Footprint, Load, Room};

#[test]
fn no_state_is_larger_than_it_may_be() {
    let Footprint { vm, vcpu, draft, sp, share, range } = Footprint::MEASURED;
    let limit = Footprint::LIMIT;
    assert!(vm <= limit.vm && vcpu <= limit.vcpu && draft <= limit.draft, "{:?}", Footprint::MEASURED);
    assert!(sp <= limit.sp && share <= limit.share && range <= limit.range, "{:?}", Footprint::MEASURED);
}

/// 64 MiB of pages of which no two touch: one slot for the share, one for each range, and nothing on the way there.
#[test]
fn a_share_costs_its_ranges_and_one_slot() {
    let idle = Room::least(&Load::IDLE).expect("there is room enough");
    for load in Load::ALL {
        let room = Room::least(load).unwrap_or_else(|| panic!("{} does not work", load.what));
        assert_eq!(room.duties - idle.duties, 1, "{}", load.what);
        assert_eq!(room.ranges - idle.ranges, load.ranges as usize, "{}", load.what);
        let Footprint { share, range, .. } = Footprint::LIMIT;
        assert!(room.bytes() - idle.bytes() <= share + range * load.ranges as usize, "{}", load.what);
    }
}
