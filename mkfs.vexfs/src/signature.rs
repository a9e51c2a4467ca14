// SPDX-License-Identifier: GPL-2.0-only
//! Recognises what a device already holds: filesystems, partition tables, volume managers, encryption. One table of magic numbers, and the
//! few formats that a magic number alone does not tell. It reads and changes nothing.

use image::device::Device;
use std::io;

/// Where a magic number stands.
#[derive(Clone, Copy)]
enum At {
    /// Bytes from the beginning.
    Start(u64),
    /// Bytes before the end.
    End(u64),
}
use At::{End, Start};

/// Name, place and bytes of every signature that is looked for. The places are those of the formats' own documentation.
const TABLE: &[(&str, At, &[u8])] = &[
    ("VexFS", Start(1024), b"VexFS\r\n\x1a"),
    ("ext2, ext3 or ext4", Start(0x438), &[0x53, 0xef]),
    ("XFS", Start(0), b"XFSB"),
    ("XFS journal", Start(0), &[0xfe, 0xed, 0xba, 0xbe]),
    ("btrfs", Start(0x1_0040), b"_BHRfS_M"),
    ("bcachefs", Start(0x1018), BCACHEFS),
    ("bcache", Start(0x1018), BCACHE),
    ("F2FS", Start(0x400), &[0x10, 0x20, 0xf5, 0xf2]),
    ("EROFS", Start(0x400), &[0xe2, 0xe1, 0xf5, 0xe0]),
    ("FAT12", Start(0x36), b"FAT12   "),
    ("FAT16", Start(0x36), b"FAT16   "),
    ("FAT32", Start(0x52), b"FAT32   "),
    ("exFAT", Start(3), b"EXFAT   "),
    ("NTFS", Start(3), b"NTFS    "),
    ("ReFS", Start(3), b"ReFS\0\0\0\0"),
    ("BitLocker", Start(3), b"-FVE-FS-"),
    ("APFS", Start(32), b"NXSB"),
    ("HFS+", Start(0x400), b"H+\0\x04"),
    ("HFSX", Start(0x400), b"HX\0\x05"),
    ("JFS", Start(0x8000), b"JFS1"),
    ("ReiserFS", Start(0x1_0034), b"ReIsEr"),
    ("NILFS2", Start(0x406), &[0x34, 0x34]),
    ("GFS2", Start(0x1_0000), &[0x01, 0x16, 0x19, 0x70]),
    ("OCFS2", Start(0x2000), b"OCFSV2"),
    ("UFS2", Start(0x1_055c), &[0x19, 0x01, 0x54, 0x19]),
    ("Minix", Start(0x410), &[0x7f, 0x13]),
    ("Minix", Start(0x410), &[0x8f, 0x13]),
    ("Minix", Start(0x410), &[0x68, 0x24]),
    ("Minix", Start(0x410), &[0x78, 0x24]),
    ("Minix", Start(0x418), &[0x5a, 0x4d]),
    ("SquashFS", Start(0), b"hsqs"),
    ("cramfs", Start(0), &[0x45, 0x3d, 0xcd, 0x28]),
    ("romfs", Start(0), b"-rom1fs-"),
    ("ISO 9660", Start(0x8001), b"CD001"),
    ("UDF", Start(0x8001), b"BEA01"),
    ("ZFS", Start(0x2_0000), &[0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0]),
    ("ZFS", Start(0x2_1000), &[0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0]),
    ("Ceph BlueStore", Start(0), b"bluestore block device"),
    ("swap space", Start(0xff6), b"SWAPSPACE2"),
    ("swap space", Start(0xff6), b"SWAP-SPACE"),
    ("hibernation image", Start(0xff6), b"S1SUSPEND"),
    ("LUKS encryption", Start(0), b"LUKS\xba\xbe"),
    ("LVM physical volume", Start(0x218), b"LVM2 001"),
    ("LVM physical volume", Start(0x018), b"LVM2 001"),
    ("VDO", Start(0), b"dmvdo001"),
    ("dm-verity", Start(0), b"verity\0\0"),
    ("dm-integrity", Start(0), b"integrt\0"),
    ("Linux RAID", Start(0), MD),
    ("Linux RAID", Start(0x1000), MD),
    ("Linux RAID", End(0x2000), MD),
    ("GUID partition table", Start(512), b"EFI PART"),
    ("GUID partition table", Start(4096), b"EFI PART"),
    ("GUID partition table", End(512), b"EFI PART"),
    ("Mac partition table", Start(512), b"PM\0\0"),
];

const MD: &[u8] = &[0xfc, 0x4e, 0x2b, 0xa9];
const BCACHE: &[u8] = &[
    0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81,
];
const BCACHEFS: &[u8] = &[
    0xc6, 0x85, 0x73, 0xf6, 0x66, 0xce, 0x90, 0xa9, 0xd9, 0x6a, 0x60, 0xcf, 0x80, 0x3d, 0xf7, 0xef,
];

/// How much of the beginning holds all of the table's places.
const HEAD: u64 = 256 << 10;
/// And of the end.
const TAIL: u64 = 64 << 10;

/// What the device holds, in words, without repetition. Empty: nothing known.
///
/// # Errors
/// Of reading the device.
pub fn find(dev: &dyn Device) -> io::Result<Vec<&'static str>> {
    let size = dev.size();
    let mut head = vec![0; size.min(HEAD) as usize];
    dev.read_at(0, &mut head)?;
    let mut tail = vec![0; size.min(TAIL) as usize];
    dev.read_at(size - tail.len() as u64, &mut tail)?;

    let mut found = Vec::new();
    let mut add = |name: &'static str| {
        if !found.contains(&name) {
            found.push(name);
        }
    };
    for (name, at, magic) in TABLE {
        let (bytes, offset) = match at {
            Start(n) => (&head, Some(*n as usize)),
            End(n) => (&tail, tail.len().checked_sub(*n as usize)),
        };
        let here = offset.and_then(|o| bytes.get(o..o + magic.len()));
        if here == Some(magic) {
            add(name);
        }
    }
    // RAID metadata 0.90 stands in the last whole 64 KiB before the last 64 KiB.
    let old_md = (size & !0xffff).checked_sub(0x1_0000);
    if let Some(at) = old_md.filter(|at| at + 4 <= size) {
        let mut magic = [0; 4];
        dev.read_at(at, &mut magic)?;
        let reversed = magic.iter().rev().eq(MD);
        if magic == MD || reversed {
            add("Linux RAID");
        }
    }
    if is_mbr(&head) {
        add("DOS partition table");
    }
    Ok(found)
}

/// A DOS partition table: its end mark, boot flags that are 0 or 0x80, and at least one partition with a type and a
/// length. The end mark alone also stands in boot sectors of FAT.
fn is_mbr(head: &[u8]) -> bool {
    let Some(sector) = head.get(..512) else {
        return false;
    };
    let entries = || sector[446..510].chunks_exact(16);
    sector[510..] == [0x55, 0xaa]
        && entries().all(|e| e[0] & 0x7f == 0)
        && entries().any(|e| e[4] != 0 && e[12..16] != [0; 4])
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::device::MemDevice;

    #[test]
    fn every_signature_of_the_table_is_found_by_its_name() {
        for (name, at, magic) in TABLE {
            let size = 8 << 20;
            let dev = MemDevice::new(size);
            let offset = match at {
                Start(n) => *n,
                End(n) => size - n,
            };
            dev.write_at(offset, magic).unwrap();
            assert!(find(&dev).unwrap().contains(name), "{name}");
        }
    }

    #[test]
    fn zeros_and_tiny_devices_hold_nothing() {
        for size in [0, 1, 511, 512, 4096, 65_535, 65_536, 8 << 20] {
            assert!(find(&MemDevice::new(size)).unwrap().is_empty(), "{size}");
        }
    }

    #[test]
    fn a_partition_table_is_told_from_a_boot_sector() {
        let dev = MemDevice::new(1 << 20);
        dev.write_at(510, &[0x55, 0xaa]).unwrap();
        assert!(find(&dev).unwrap().is_empty());
        dev.write_at(446 + 4, &[0x83]).unwrap();
        dev.write_at(446 + 12, &[1]).unwrap();
        assert_eq!(find(&dev).unwrap(), ["DOS partition table"]);
    }

    #[test]
    fn old_raid_metadata_at_the_end() {
        let dev = MemDevice::new((3 << 16) + 5000);
        dev.write_at(2 << 16, MD).unwrap();
        assert_eq!(find(&dev).unwrap(), ["Linux RAID"]);
    }
}
