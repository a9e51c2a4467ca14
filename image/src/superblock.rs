// SPDX-License-Identifier: GPL-2.0-only
//! Finding, reading and writing the super block on a device. What is in it is `layout`'s business; the backups are written by mkfs and fsck, and only read here.

use layout::geometry::{is_backup_group, GROUP_BLOCKS};
use layout::superblock::{RawSuper, Super, SUPER_OFFSET};
use layout::BLOCK_SIZE;

use crate::checksum::crc32;
use crate::device::{offset_of, read_block, Device};
use crate::error::{Error, Result};

/// Reads and validates the super block in `block`: block 0, or one of the backups.
///
/// # Errors
/// [`Error::Super`] if there is none, or it is damaged; [`Error::DeviceTooSmall`]; I/O errors.
pub fn read(device: &dyn Device, block: u64) -> Result<Super> {
    let data = read_block(device, block).map_err(Error::io(format!(
        "reading the super block at block {block}"
    )))?;
    let sb = Super::parse(data.as_slice(), block, crc32)
        .map_err(|reason| Error::Super { block, reason })?;
    let there = device.size() / BLOCK_SIZE as u64;
    if sb.geometry.blocks > there {
        return Err(Error::DeviceTooSmall {
            blocks: sb.geometry.blocks,
            device: there,
        });
    }
    Ok(sb)
}

/// Blocks where a device of this size may have backups, in ascending order, whatever its super block says.
pub fn backup_places(device: &dyn Device) -> impl Iterator<Item = u64> {
    let groups = (device.size() / BLOCK_SIZE as u64).div_ceil(GROUP_BLOCKS);
    // Of the powers of 3, 5 and 7, few are below 2^32: try each number's chance, not each number.
    let mut places: Vec<u64> = [3u64, 5, 7]
        .iter()
        .flat_map(|&base| {
            std::iter::successors(Some(1), move |power: &u64| power.checked_mul(base))
        })
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .filter(|&group| group < groups && u32::try_from(group).is_ok_and(is_backup_group))
        .collect();
    places.iter_mut().for_each(|group| *group *= GROUP_BLOCKS);
    places.into_iter()
}

/// The super block, from its place or, if that is damaged, from the first backup that is good. Returns the block it was found in.
///
/// # Errors
/// What is wrong at block 0, if no backup is good either.
pub fn find(device: &dyn Device) -> Result<(Super, u64)> {
    let error = match read(device, 0) {
        Ok(sb) => return Ok((sb, 0)),
        Err(error) => error,
    };
    let mut places = backup_places(device);
    places
        .find_map(|block| read(device, block).ok().map(|sb| (sb, block)))
        .ok_or(error)
}

/// Writes the super block to `block`, sealed for it. Not flushed.
///
/// # Errors
/// I/O errors.
pub fn write(device: &dyn Device, block: u64, raw: &RawSuper) -> Result<()> {
    device
        .write_at(
            offset_of(block) + SUPER_OFFSET as u64,
            &raw.sealed(block, crc32),
        )
        .map_err(Error::io(format!(
            "writing the super block at block {block}"
        )))
}
