// SPDX-License-Identifier: GPL-2.0-only
//! Writes cpio archives of the "newc" kind, which the kernel unpacks as its
//! initial root file system (Documentation/driver-api/early-userspace/
//! buffer-format.rst). Knows nothing of what is in them.

/// An archive in memory.
pub struct Archive {
    bytes: Vec<u8>,
    next_inode: u32,
}

impl Default for Archive {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            next_inode: 1,
        }
    }
}

impl Archive {
    /// Adds a folder.
    pub fn folder(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    /// Adds a file that everybody may read and execute.
    pub fn file(&mut self, name: &str, data: &[u8]) {
        self.entry(name, 0o100_755, data);
    }

    /// Ends the archive and gives its bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) {
        let fields = [
            self.next_inode,
            mode,
            0,                     // uid
            0,                     // gid
            1,                     // nlink
            0,                     // mtime
            data.len() as u32,     // filesize
            0,                     // maj
            0,                     // min
            0,                     // rmaj
            0,                     // rmin
            name.len() as u32 + 1, // namesize, with the NUL
            0,                     // chksum, unused in this kind
        ];
        self.next_inode += 1;
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn header_and_padding_are_as_the_kernel_expects() {
        let mut archive = Archive::default();
        archive.file("init", b"abc");
        let bytes = archive.finish();
        assert_eq!(bytes.get(..6), Some(b"070701".as_slice()));
        // Header of 110 bytes and "init\0" make 115, padded to 116.
        assert_eq!(bytes.get(110..120), Some(b"init\0\0abc\0".as_slice()));
        assert_eq!(bytes.get(120..126), Some(b"070701".as_slice()));
        assert_eq!(bytes.len() % 4, 0);
    }
}
