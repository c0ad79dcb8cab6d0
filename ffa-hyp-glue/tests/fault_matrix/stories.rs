//! What VM 1 does with its memory. A call that comes along is one row more.

use ffa_abi::{NotificationBitmap, Status};
use ffa_teardown::Span;
use ffa_test_utils::hypervisor::Region;
use ffa_test_utils::spmc::{Control, Preset, Reaction, Release, Script, Turn};

use crate::common::sends::{DONATE, LEND, SHARE, Send};
use crate::common::*;
use crate::life::Life;

pub struct Story {
    pub name: &'static str,
    /// What SP 1 does.
    pub script: Script,
    pub memory: &'static [Region],
    /// By whom the calls are served.
    pub served_by: &'static [Preset],
    pub play: fn(&mut Life),
    /// Pages of each transaction.
    pub pages: u64,
    /// The guest sends in fragments, so that no pages are held before it has sent the last.
    pub in_fragments: bool,
    /// What it sends are donations.
    pub donates: bool,
    /// The SP takes them.
    pub takes: bool,
    /// VM 2 is a borrower as well.
    pub with_vm: bool,
    /// What a guest is refused with, if all goes well.
    pub refused: &'static [Status],
}

const MEMORY: &[Region] = &[Region::block(TX, 24)];
const LARGE: &[Region] = &[Region::block(TX, 4), Region::loose(LOOSE, 300)];

/// Pages of most transactions, of which no two touch.
const THREE: [(u64, u32); 3] = [(PAGES, 1), (PAGES + 2 * PAGE, 1), (PAGES + 4 * PAGE, 1)];

/// Is preempted whenever it is told something, and lets go of memory only later.
const SLOW: Script = Script {
    release: Release::After(Span::from_millis(2500)),
    on_created: Reaction::always(Turn::ACCEPT.preempted(2)),
    on_destroyed: Reaction::always(Turn::ACCEPT.preempted(2)),
    ..Script::GOOD
};

/// Gives back and sends again, which is open when the VM dies.
fn back_and_again(life: &mut Life, send: Send) {
    if let Some(handle) = life.send(send, &THREE) {
        life.reclaim(handle);
    }
    life.send(send, &THREE);
}

/// The same in fragments; of the second one the last is missing when the VM dies.
fn in_fragments(life: &mut Life, send: Send) {
    if let Some(handle) = life.send_in_fragments(send, &THREE, 0) {
        life.reclaim(handle);
    }
    life.send_in_fragments(send, &THREE, 1);
}

/// VM 2 has it as well, and gives it back; and then it has it when the VM dies.
fn with_another(life: &mut Life, send: Send) {
    if let Some(handle) = life.send_to(send, &[SP1, VM2], &THREE) {
        life.retrieve(send, handle);
        life.relinquish(handle);
        life.reclaim(handle);
    }
    if let Some(handle) = life.send_to(send, &[SP1, VM2], &THREE) {
        life.retrieve(send, handle);
    }
}

pub const BOOT: Story = Story {
    name: "boot",
    script: Script::GOOD,
    memory: MEMORY,
    served_by: &Preset::ALL,
    play: |life| {
        life.send(SHARE, &THREE);
    },
    pages: 3,
    in_fragments: false,
    donates: false,
    takes: false,
    with_vm: false,
    refused: &[],
};

const SHARED: Story =
    Story { name: "share", script: Script::LAZY, play: |life| back_and_again(life, SHARE), ..BOOT };
const IN_FRAGMENTS: Story = Story { play: |life| in_fragments(life, SHARE), in_fragments: true, ..SHARED };

pub const STORIES: [Story; 15] = [
    BOOT,
    SHARED,
    Story { name: "lend", play: |life| back_and_again(life, LEND), served_by: LEND.served_by, ..SHARED },
    Story {
        name: "donate",
        play: |life| back_and_again(life, DONATE),
        served_by: DONATE.served_by,
        donates: true,
        ..SHARED
    },
    Story { name: "share in fragments", ..IN_FRAGMENTS },
    Story {
        name: "lend in fragments",
        play: |life| in_fragments(life, LEND),
        served_by: LEND.served_by,
        ..IN_FRAGMENTS
    },
    Story {
        name: "donate in fragments",
        play: |life| in_fragments(life, DONATE),
        served_by: DONATE.served_by,
        donates: true,
        ..IN_FRAGMENTS
    },
    Story {
        name: "share with an SP and a VM",
        play: |life| with_another(life, SHARE),
        with_vm: true,
        ..SHARED
    },
    Story {
        name: "lend to an SP and a VM",
        play: |life| with_another(life, LEND),
        served_by: LEND.served_by,
        with_vm: true,
        ..SHARED
    },
    Story {
        name: "share of scattered pages",
        memory: LARGE,
        play: |life| {
            if let Some(handle) = life.send(SHARE, &[(LOOSE, 300)]) {
                life.reclaim(handle);
            }
            life.send(SHARE, &[(LOOSE, 300)]);
        },
        pages: 300,
        ..SHARED
    },
    Story {
        name: "share with an SP that is slow",
        script: SLOW,
        refused: &[Status::Denied],
        play: |life| {
            if let Some(handle) = life.send(SHARE, &THREE) {
                life.reclaim(handle);
            }
        },
        ..BOOT
    },
    Story {
        name: "lend to an SP that has it",
        play: |life| {
            life.send(LEND, &THREE);
        },
        served_by: LEND.served_by,
        ..BOOT
    },
    Story {
        name: "donate to an SP that takes it",
        play: |life| {
            if let Some(handle) = life.send(DONATE, &THREE) {
                life.ask_sp(Control::Retrieve(handle));
                life.reclaim(handle);
            }
        },
        served_by: DONATE.served_by,
        donates: true,
        takes: true,
        refused: &[Status::InvalidParameters],
        ..SHARED
    },
    Story {
        name: "buffers",
        play: |life| {
            life.call(VM1, [0x8400_0068]);
            life.call(VM1, [0x8400_0065]);
            life.call(VM1, [0x8400_0067]);
            life.call(VM1, [0xc400_0066, TX, RX, 1]);
            life.send(SHARE, &THREE);
            life.call(VM1, [0x8400_0068]);
        },
        ..BOOT
    },
    Story {
        name: "share with an SP that signals",
        served_by: &[Preset::Hafnium, Preset::Optee, Preset::Strict],
        play: |life| {
            life.call(VM1, [0x8400_007f, 0x8001_0001, 0, 1, 0]);
            life.send(SHARE, &THREE);
            let signal = NotificationBitmap(1);
            let _bound = life.world.hypervisor.spmc_mut().set_notification(SP1, VM1, signal, None);
            life.world.hypervisor.advance(Span::from_millis(1));
        },
        ..BOOT
    },
];
