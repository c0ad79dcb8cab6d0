//! The device tree of a guest: the devices that the hypervisor has for it, with the names of Linux's bindings.

use std::ops::Range;

use anyhow::Result;
use vm_fdt::FdtWriter;

/// What is not the same for all guests.
pub struct DeviceTree<'a> {
    pub memory: Range<u64>,
    pub initrd: Option<Range<u64>>,
    /// Kernel arguments.
    pub arguments: &'a str,
    pub conduit: Conduit,
}

/// How a guest calls PSCI, and with it FF-A.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Conduit {
    Hvc,
    Smc,
}

const DISTRIBUTOR: Range<u64> = 0x0800_0000..0x0801_0000;
const REDISTRIBUTOR: Range<u64> = 0x080a_0000..0x080c_0000;
const SERIAL: Range<u64> = 0x0900_0000..0x0900_1000;

/// Names of nodes for each other.
const GIC: u32 = 1;
const CLOCK: u32 = 2;

/// Interrupts as the GIC's binding has them: kind, number among its kind, trigger.
const SHARED: u32 = 0;
const PRIVATE: u32 = 1;
const LEVEL_HIGH: u32 = 4;

/// Nobody looks at the baud rate that comes of it.
const CLOCK_HERTZ: u32 = 24_000_000;

impl DeviceTree<'_> {
    /// The tree as a blob.
    pub fn write(&self) -> Result<Vec<u8>> {
        let mut tree = FdtWriter::new()?;
        let root = tree.begin_node("")?;
        tree.property_string("compatible", "linux,dummy-virt")?;
        tree.property_u32("#address-cells", 2)?;
        tree.property_u32("#size-cells", 2)?;
        tree.property_u32("interrupt-parent", GIC)?;
        self.chosen(&mut tree)?;
        self.memory(&mut tree)?;
        cpus(&mut tree)?;
        self.psci(&mut tree)?;
        timer(&mut tree)?;
        interrupt_controller(&mut tree)?;
        clock(&mut tree)?;
        serial(&mut tree)?;
        tree.end_node(root)?;
        Ok(tree.finish()?)
    }

    fn chosen(&self, tree: &mut FdtWriter) -> Result<()> {
        let node = tree.begin_node("chosen")?;
        tree.property_string("bootargs", self.arguments)?;
        tree.property_string("stdout-path", &serial_path())?;
        if let Some(initrd) = &self.initrd {
            tree.property_u64("linux,initrd-start", initrd.start)?;
            tree.property_u64("linux,initrd-end", initrd.end)?;
        }
        Ok(tree.end_node(node)?)
    }

    fn memory(&self, tree: &mut FdtWriter) -> Result<()> {
        let node = tree.begin_node(&format!("memory@{:x}", self.memory.start))?;
        tree.property_string("device_type", "memory")?;
        tree.property_array_u64("reg", &region(&self.memory))?;
        Ok(tree.end_node(node)?)
    }

    fn psci(&self, tree: &mut FdtWriter) -> Result<()> {
        let node = tree.begin_node("psci")?;
        tree.property_string_list("compatible", vec!["arm,psci-1.0".into(), "arm,psci-0.2".into()])?;
        let method = match self.conduit {
            Conduit::Hvc => "hvc",
            Conduit::Smc => "smc",
        };
        tree.property_string("method", method)?;
        Ok(tree.end_node(node)?)
    }
}

fn cpus(tree: &mut FdtWriter) -> Result<()> {
    let cpus = tree.begin_node("cpus")?;
    tree.property_u32("#address-cells", 1)?;
    tree.property_u32("#size-cells", 0)?;
    let cpu = tree.begin_node("cpu@0")?;
    tree.property_string("device_type", "cpu")?;
    tree.property_string("compatible", "arm,armv8")?;
    tree.property_u32("reg", 0)?;
    tree.property_string("enable-method", "psci")?;
    tree.end_node(cpu)?;
    Ok(tree.end_node(cpus)?)
}

fn timer(tree: &mut FdtWriter) -> Result<()> {
    /// Secure, non-secure, virtual and hypervisor timers.
    const INTERRUPTS: [u32; 4] = [13, 14, 11, 10];
    let node = tree.begin_node("timer")?;
    tree.property_string("compatible", "arm,armv8-timer")?;
    tree.property_array_u32("interrupts", &INTERRUPTS.map(|number| [PRIVATE, number, LEVEL_HIGH]).concat())?;
    tree.property_null("always-on")?;
    Ok(tree.end_node(node)?)
}

fn interrupt_controller(tree: &mut FdtWriter) -> Result<()> {
    let node = tree.begin_node(&format!("interrupt-controller@{:x}", DISTRIBUTOR.start))?;
    tree.property_string("compatible", "arm,gic-v3")?;
    tree.property_array_u64("reg", &[region(&DISTRIBUTOR), region(&REDISTRIBUTOR)].concat())?;
    tree.property_null("interrupt-controller")?;
    tree.property_u32("#interrupt-cells", 3)?;
    tree.property_phandle(GIC)?;
    Ok(tree.end_node(node)?)
}

fn clock(tree: &mut FdtWriter) -> Result<()> {
    let node = tree.begin_node("clock")?;
    tree.property_string("compatible", "fixed-clock")?;
    tree.property_u32("#clock-cells", 0)?;
    tree.property_u32("clock-frequency", CLOCK_HERTZ)?;
    tree.property_phandle(CLOCK)?;
    Ok(tree.end_node(node)?)
}

fn serial(tree: &mut FdtWriter) -> Result<()> {
    let path = serial_path();
    let node = tree.begin_node(path.trim_start_matches('/'))?;
    tree.property_string_list("compatible", vec!["arm,pl011".into(), "arm,primecell".into()])?;
    tree.property_array_u64("reg", &region(&SERIAL))?;
    tree.property_array_u32("interrupts", &[SHARED, 1, LEVEL_HIGH])?;
    tree.property_array_u32("clocks", &[CLOCK, CLOCK])?;
    tree.property_string_list("clock-names", vec!["uartclk".into(), "apb_pclk".into()])?;
    Ok(tree.end_node(node)?)
}

fn serial_path() -> String {
    format!("/serial@{:x}", SERIAL.start)
}

/// Base and size.
fn region(range: &Range<u64>) -> [u64; 2] {
    [range.start, range.end - range.start]
}
