// SPDX-License-Identifier: GPL-2.0-only
//! Pass 0: the super block and its copies.

use crate::check::{Check, Options};
use crate::problem::{Code, Problem};
use image::checksum::crc32;
use image::device::Device;
use image::superblock::backup_places;
use layout::superblock::{RawSuper, Super, STATE_CLEAN, STATE_ERROR};
use layout::{Block, BLOCK_SIZE};

fn read(dev: &dyn Device, block: u64) -> Result<Super, String> {
    let mut data: Block = [0; BLOCK_SIZE];
    let offset = block.checked_mul(BLOCK_SIZE as u64);
    offset
        .ok_or_else(|| "no such block".to_owned())
        .and_then(|at| dev.read_at(at, &mut data).map_err(|e| e.to_string()))?;
    Super::parse(&data, block, crc32).map_err(|e| e.0.to_owned())
}

/// Finds a super block to work with: the one asked for, else that of block 0, else the first good copy.
pub fn find(dev: &dyn Device, options: &Options, report: &mut dyn FnMut(Problem)) -> Option<Super> {
    let first = options.backup.unwrap_or(0);
    match read(dev, first) {
        Ok(sb) => return Some(sb),
        Err(why) => report(Problem::new(Code::SuperBad).block(first).detail(why)),
    }
    // Copies lie at fixed places, whatever the super block says.
    for block in backup_places(dev) {
        if let Ok(sb) = read(dev, block) {
            return Some(sb);
        }
    }
    if options.backup.is_some() {
        if let Ok(sb) = read(dev, 0) {
            return Some(sb);
        }
    }
    report(Problem::new(Code::SuperNone));
    None
}

/// Checks the super block in use and its copies.
pub fn run(check: &mut Check<'_>, dev: &dyn Device, options: &Options) {
    let sb = check.reader.sb;
    let geo = sb.geometry;
    let is_copy = |block: &u64| geo.backup_block(geo.group_of(*block)) == Some(*block);
    let copies: Vec<u64> = backup_places(dev).filter(is_copy).collect();
    check.begin(0, copies.len() as u64 + 1);
    fields(check, &sb);
    let device = dev.size() / BLOCK_SIZE as u64;
    if device < geo.blocks {
        let what = format!("{device} blocks, not {}", geo.blocks);
        check.report(Problem::new(Code::DeviceTooSmall).detail(what));
        lose_groups(check);
    }
    // Whichever copy is in use, all others are compared with it.
    let others = std::iter::once(0).chain(copies);
    for (done, block) in others.enumerate() {
        check.progress(done as u64);
        if block == sb.raw.block.get() {
            continue;
        }
        match read(dev, block) {
            Ok(copy) if same(&copy.raw, &sb.raw) => {}
            Ok(_) => check.report(Problem::new(Code::SuperBackupDiffers).block(block)),
            // find() has reported it.
            Err(_) if block == options.backup.unwrap_or(0) => {}
            Err(why) if block == 0 => {
                check.report(Problem::new(Code::SuperBad).block(0).detail(why));
            }
            Err(why) => {
                check.report(Problem::new(Code::SuperBackupBad).block(block).detail(why));
            }
        }
    }
}

/// Groups that begin beyond the device are not looked at: a forged super block can name billions of them. What they hold is not known.
fn lose_groups(check: &mut Check<'_>) {
    let geo = check.reader.sb.geometry;
    if check.groups >= geo.groups {
        return;
    }
    check.lost_blocks = true;
    check.lost_names = true;
    let first = geo.ino(check.groups.max(geo.first_group), 0);
    check.unknown_from = first.unwrap_or(u64::MAX);
}

/// Whether two copies describe the same filesystem: everything that never changes after mkfs.
fn same(a: &RawSuper, b: &RawSuper) -> bool {
    let key = |r: &RawSuper| {
        (
            (
                r.version,
                r.feature_compat,
                r.feature_ro_compat,
                r.feature_incompat,
            ),
            (r.uuid, r.hash_seed, r.made_at),
            (r.blocks, r.groups, r.inodes_per_group),
            (
                r.gdt_start,
                r.gdt_blocks,
                r.journal_start,
                r.journal_blocks,
                r.system_end,
            ),
        )
    };
    key(a) == key(b)
}

fn fields(check: &mut Check<'_>, sb: &Super) {
    let raw = &sb.raw;
    if raw.reserved0.get() != 0 || raw.reserved.iter().any(|b| *b != 0) {
        check.report(Problem::new(Code::SuperReserved));
    }
    let (state, on_error) = (raw.state.get(), raw.on_error.get());
    if state & !(STATE_CLEAN | STATE_ERROR) != 0 || !(1..=3).contains(&on_error) {
        let what = format!("state {state:#x}, behaviour {on_error}");
        check.report(Problem::new(Code::SuperState).detail(what));
    }
    let texts: [(&str, &[u8]); 3] = [
        ("label", &raw.label),
        ("last error", &raw.last_error),
        ("last mounted", &raw.last_mounted),
    ];
    for (name, bytes) in texts {
        if text(bytes).is_none() {
            check.report(Problem::new(Code::SuperText).detail(name));
        }
    }
    if state & STATE_ERROR != 0 || raw.errors.get() != 0 {
        let why = text(&raw.last_error).unwrap_or_default();
        let what = format!("{} errors; the last: {why}", raw.errors.get());
        check.report(Problem::new(Code::SuperErrors).detail(what));
    }
    if sb.read_only_features() {
        check.report(Problem::new(Code::SuperReadOnlyFeatures));
    }
}

/// UTF-8 up to the first NUL, if everything after it is zero.
pub fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let (text, rest) = bytes.split_at(end);
    rest.iter().all(|b| *b == 0).then_some(())?;
    std::str::from_utf8(text).ok()
}
