// SPDX-License-Identifier: GPL-2.0-only
//! mkfs.vexfs: make a VexFS filesystem. It asks what the device holds and who uses it, and leaves the making to
//! [`image::format`]. Exit status as mkfs(8): 0 or 1.
#![forbid(unsafe_code)]

mod args;
mod signature;

use anyhow::{bail, Context, Result};
use args::Args;
use clap::Parser;
use image::device::{Access, Device, FileDevice};
use image::format::{self, Options, Report};
use image::in_use;
use layout::BLOCK_SIZE;
use rand::RngCore as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// How much is discarded at once, so that a signal does not have to wait for the whole device.
const DISCARD_STEP: u64 = 64 << 30;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) => {
            // clap would exit with 2; mkfs(8) knows 0 and 1.
            let _ = e.print();
            return ExitCode::from(u8::from(e.use_stderr()));
        }
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("mkfs.vexfs: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let path = &args.device;
    let shown = path.display();
    if let Some(user) = in_use::find(path).context("/proc/self/mountinfo")?.first() {
        bail!("{shown} {user}; will not make a filesystem there");
    }
    let exists = path.exists();
    if !exists && args.size.is_none() {
        bail!("{shown} does not exist; give a size to create it as a file");
    }
    if args.dry_run {
        let blocks = match (exists, args.size) {
            (false, size) => size.unwrap_or(0),
            (true, size) => {
                let dev = open(path, Access::Read)?;
                check_contents(args, &dev)?;
                let grows = path.is_file();
                fit(size, dev.size(), grows)?
            }
        };
        let report = format::dry_run(&options(args, blocks)?)?;
        return show(args, &report);
    }
    if !exists {
        let blocks = args.size.unwrap_or(0);
        let options = options(args, blocks)?;
        // A file that cannot hold a filesystem is not created in the first place.
        format::plan(&options)?;
        let bytes = blocks.saturating_mul(BLOCK_SIZE as u64);
        let dev = FileDevice::create(path, bytes)
            .with_context(|| format!("cannot create {shown} with {bytes} bytes"))?;
        return show(args, &format::format(&dev, &options)?);
    }
    let mut dev = open(path, Access::Write)?;
    check_contents(args, &dev)?;
    let blocks = fit(args.size, dev.size(), path.is_file())?;
    let options = options(args, blocks)?;
    format::plan(&options)?;
    if blocks > dev.size() / BLOCK_SIZE as u64 {
        drop(dev);
        std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|f| f.set_len(blocks * BLOCK_SIZE as u64))
            .with_context(|| format!("cannot extend {shown}"))?;
        dev = open(path, Access::Write)?;
    }
    if args.discard() && can_discard(path) {
        discard(&dev);
    }
    let report = format::format(&dev, &options).with_context(|| shown.to_string())?;
    show(args, &report)
}

fn open(path: &Path, access: Access) -> Result<FileDevice> {
    FileDevice::open(path, access).with_context(|| format!("cannot open {}", path.display()))
}

/// The size to use, in blocks.
fn fit(wish: Option<u64>, bytes: u64, grows: bool) -> Result<u64> {
    let have = bytes / BLOCK_SIZE as u64;
    match wish {
        Some(n) if n > have && !grows => {
            bail!("the device has {have} blocks of 4 KiB, fewer than the {n} asked for")
        }
        Some(n) => Ok(n),
        None => Ok(have),
    }
}

/// Refuses a device that holds something, unless forced.
fn check_contents(args: &Args, dev: &dyn Device) -> Result<()> {
    let shown = args.device.display();
    let found = signature::find(dev).with_context(|| format!("cannot read {shown}"))?;
    if found.is_empty() {
        return Ok(());
    }
    let found = found.join(", ");
    if args.force {
        if !args.quiet && !args.json {
            say(&format!("{shown} holds: {found}; overwriting it"));
        }
        return Ok(());
    }
    bail!("{shown} holds: {found}; use -F to overwrite it")
}

fn options(args: &Args, blocks: u64) -> Result<Options> {
    let mut random = [0; 16];
    rand::rngs::OsRng
        .try_fill_bytes(&mut random)
        .context("no random numbers")?;
    Ok(Options {
        uuid: *args.uuid.unwrap_or_else(Uuid::new_v4).as_bytes(),
        hash_seed: args.hash_seed().unwrap_or(random),
        label: args.label.clone(),
        bytes_per_inode: Some(args.ratio(blocks)),
        journal_blocks: args.journal_blocks,
        reserved: args.reserved,
        on_error: args.on_error.0,
        root_owner: args.root_owner(),
        now: now()?,
        ..Options::new(blocks)
    })
}

/// The time, or the one that reproducible builds ask for.
fn now() -> Result<i64> {
    if let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH") {
        return text
            .to_str()
            .and_then(|t| t.parse().ok())
            .context("SOURCE_DATE_EPOCH is not a number of seconds");
    }
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?;
    Ok(since.as_secs() as i64)
}

/// Files can always be discarded. For block devices the kernel may turn it into writing zeros to a whole disk: only devices that
/// unmap blocks and have no heads to move are asked.
fn can_discard(path: &Path) -> bool {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let Ok(meta) = std::fs::metadata(path) else {
        return false;
    };
    if !meta.file_type().is_block_device() {
        return true;
    }
    let number = meta.rdev();
    let sys = format!(
        "/sys/dev/block/{}:{}",
        nix::sys::stat::major(number),
        nix::sys::stat::minor(number)
    );
    // The queue of a partition is that of its disk.
    let queue = |name: &str| {
        ["queue", "../queue"].iter().find_map(|dir| {
            let text = std::fs::read_to_string(format!("{sys}/{dir}/{name}")).ok()?;
            text.trim().parse::<u64>().ok()
        })
    };
    queue("discard_max_bytes").is_some_and(|n| n > 0) && queue("rotational") == Some(0)
}

/// Discards everything. It is an optimisation: what fails is left to be overwritten.
fn discard(dev: &dyn Device) {
    let size = dev.size();
    let mut at = 0;
    while at < size {
        let n = DISCARD_STEP.min(size - at);
        if !matches!(dev.discard(at, n), Ok(true)) {
            return;
        }
        at += n;
    }
}

/// Prints a line. That nobody reads it (a closed pipe) is no reason to stop half-way.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn show(args: &Args, report: &Report) -> Result<()> {
    let raw = &report.sb.raw;
    let geo = &report.sb.geometry;
    let uuid = Uuid::from_bytes(raw.uuid);
    if args.json {
        let value = serde_json::json!({
            "device": args.device.to_string_lossy(),
            "dry_run": args.dry_run,
            "uuid": uuid.to_string(),
            "label": args.label,
            "format_version": raw.version.get(),
            "block_size": BLOCK_SIZE,
            "blocks": geo.blocks,
            "free_blocks": report.free_blocks,
            "reserved_blocks": raw.reserved_blocks.get(),
            "groups": geo.groups,
            "inodes": report.inodes,
            "free_inodes": report.free_inodes,
            "inodes_per_group": geo.inodes_per_group,
            "journal_start": geo.journal_start,
            "journal_blocks": geo.journal_blocks,
            "backups": report.backups,
        });
        say(&value.to_string());
    } else if !args.quiet {
        let verb = if args.dry_run { "Would make" } else { "Made" };
        say(&format!(
            "{verb} a filesystem of {} blocks of 4 KiB and {} inodes on {}",
            geo.blocks,
            report.inodes,
            args.device.display()
        ));
        say(&format!("UUID: {uuid}"));
        if !args.label.is_empty() {
            say(&format!("Label: {}", args.label));
        }
        say(&format!(
            "Journal: {} blocks; free: {} blocks, {} of them reserved; groups: {}",
            geo.journal_blocks,
            report.free_blocks,
            raw.reserved_blocks.get(),
            geo.groups
        ));
        if !report.backups.is_empty() {
            let list: Vec<_> = report.backups.iter().map(u64::to_string).collect();
            say(&format!("Super block copies: {}", list.join(", ")));
        }
    }
    Ok(())
}
