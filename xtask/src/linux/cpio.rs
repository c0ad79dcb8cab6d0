//! An archive that Linux unpacks into its first root: cpio in its "new ASCII" format, without checksums. Linux,
//! `Documentation/driver-api/early-userspace/buffer-format.rst`.

/// What kind of file it is, and who may do what with it.
const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Numbers of the console device.
const CONSOLE: [u32; 2] = [5, 1];
const NO_DEVICE: [u32; 2] = [0, 0];

/// The name of what ends the archive.
const END: &str = "TRAILER!!!";
const ALIGNMENT: usize = 4;

/// An archive that grows.
#[derive(Default)]
pub struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

impl Cpio {
    /// Adds a folder. It comes before what is in it.
    pub fn folder(&mut self, path: &str) {
        self.add(path, FOLDER, NO_DEVICE, &[]);
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.add(path, FILE, NO_DEVICE, content);
    }

    /// Adds a file that can be executed.
    pub fn program(&mut self, path: &str, content: &[u8]) {
        self.add(path, PROGRAM, NO_DEVICE, content);
    }

    /// Adds the console.
    pub fn console(&mut self, path: &str) {
        self.add(path, CHARACTER_DEVICE, CONSOLE, &[]);
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.add(END, 0, NO_DEVICE, &[]);
        self.bytes
    }

    fn add(&mut self, path: &str, mode: u32, [major, minor]: [u32; 2], content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).expect("a file is smaller than 4 GiB");
        let name_size = u32::try_from(path.len() + 1).expect("a path is shorter than that");
        let (links, checksum) = (1, 0);
        let (owner, group, time) = (0, 0, 0);
        let (host_major, host_minor) = (0, 0);
        self.bytes.extend(b"070701");
        for number in [
            self.entries,
            mode,
            owner,
            group,
            links,
            time,
            size,
            host_major,
            host_minor,
            major,
            minor,
            name_size,
            checksum,
        ] {
            self.bytes.extend(format!("{number:08x}").bytes());
        }
        self.bytes.extend(path.bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_headers_names_and_contents_where_they_belong() {
        let mut archive = Cpio::default();
        archive.program("init", b"hello");
        let bytes = archive.finish();
        let header = "070701".to_owned()
            + "00000001"
            + "000081ed"
            + "00000000"
            + "00000000"
            + "00000001"
            + "00000000"
            + "00000005"
            + "00000000"
            + "00000000"
            + "00000000"
            + "00000000"
            + "00000005"
            + "00000000";
        assert_eq!(&bytes[..110], header.as_bytes());
        assert_eq!(&bytes[110..124], b"init\0\0hello\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
        assert_eq!(&bytes[124 + 110..], b"TRAILER!!!\0\0\0\0");
        assert_eq!(bytes.len() % ALIGNMENT, 0);
    }
}
