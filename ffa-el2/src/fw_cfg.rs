//! Named values that were given to QEMU with `-fw_cfg name=…,string=…`.
//!
//! Only the traditional interface is used: a selector register, and a data register that yields the chosen item byte by
//! byte. QEMU `docs/specs/fw_cfg`.

use core::str;

use crate::lock::Mutex;

use crate::machine::FW_CFG;

const DATA: usize = 0;
const SELECTOR: usize = 8;

const SIGNATURE: u16 = 0x0000;
const DIRECTORY: u16 = 0x0019;

/// One item of the directory: its name and where its bytes are.
struct Item {
    size: usize,
    selector: u16,
    name: [u8; 56],
}

/// The position in the chosen item is state of the device.
static DEVICE: Mutex<Device> = Mutex::new(Device);

struct Device;

/// The text of the item `name`, put into `buffer`. `None` if there is no such item.
///
/// # Panics
/// If it is longer than `buffer` or not text: whoever gave it meant something that is not known.
pub fn text<'a>(name: &str, buffer: &'a mut [u8]) -> Option<&'a str> {
    let most = buffer.len();
    let mut device = DEVICE.lock();
    let item = device.find(name)?;
    let mut bytes = buffer.get_mut(..item.size);
    if let Some(bytes) = &mut bytes {
        device.select(item.selector);
        bytes.fill_with(|| device.byte());
    }
    // A panic asks the device how to end.
    drop(device);
    let text = bytes.and_then(|bytes| str::from_utf8(bytes).ok());
    Some(text.unwrap_or_else(|| panic!("{name} is not a text of at most {most} bytes")))
}

/// Whether there is an item `name` with this value.
pub fn is(name: &str, value: &str) -> bool {
    let mut device = DEVICE.lock();
    let Some(item) = device.find(name).filter(|item| item.size == value.len()) else { return false };
    device.select(item.selector);
    value.bytes().all(|byte| device.byte() == byte)
}

impl Device {
    fn find(&mut self, name: &str) -> Option<Item> {
        self.select(SIGNATURE);
        if &self.bytes() != b"QEMU" {
            return None;
        }
        self.select(DIRECTORY);
        let count = u32::from_be_bytes(self.bytes());
        (0..count).map(|_| self.item()).find(|item| item.is_named(name))
    }

    fn item(&mut self) -> Item {
        let size = u32::from_be_bytes(self.bytes()) as usize;
        let selector = u16::from_be_bytes(self.bytes());
        let _reserved: [u8; 2] = self.bytes();
        Item { size, selector, name: self.bytes() }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        core::array::from_fn(|_| self.byte())
    }

    fn byte(&mut self) -> u8 {
        // SAFETY: Every map of both images has this machine's `fw_cfg` there, as device memory; `DEVICE` is locked.
        unsafe { ((FW_CFG + DATA) as *const u8).read_volatile() }
    }

    fn select(&mut self, item: u16) {
        // SAFETY: As for `byte`. Selecting an item that does not exist makes it empty.
        unsafe { ((FW_CFG + SELECTOR) as *mut u16).write_volatile(item.to_be()) }
    }
}

impl Item {
    fn is_named(&self, name: &str) -> bool {
        self.name.split(|&byte| byte == 0).next() == Some(name.as_bytes())
    }
}
