//! QEMU's `virt` machine with `secure=on,virtualization=on,gic-version=3`, as far as the images use it.

use core::ops::Range;

/// Most CPUs that either image starts; any more stay where they are.
pub const MAX_CPUS: usize = 4;

/// Registers of the PL011 that both images write to.
pub const UART: usize = 0x0900_0000;
/// Registers of the `fw_cfg` device.
pub const FW_CFG: usize = 0x0902_0000;
/// Registers of the GICv3 distributor.
pub const GIC_DISTRIBUTOR: usize = 0x0800_0000;
/// Registers of the first GICv3 redistributor; those of the other CPUs follow.
pub const GIC_REDISTRIBUTORS: usize = 0x080a_0000;

/// Everything that is not memory lies below the memory.
pub const DEVICES: Range<usize> = 0..0x4000_0000;
/// Memory that the normal world may use; the machine may have less of it than this.
pub const RAM: Range<usize> = 0x4000_0000..0x8000_0000;
/// The part of [`RAM`] that belongs to the firmware image.
pub const FIRMWARE: Range<usize> = 0x4200_0000..0x4220_0000;
/// Where whoever starts the machine puts the files of guests that bring an operating system.
pub const GUEST_FILES: Range<usize> = 0x4800_0000..0x6000_0000;
/// Where the hypervisor image is entered: its first instruction.
pub const HYPERVISOR: usize = 0x6000_0000;
