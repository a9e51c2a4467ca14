// SPDX-License-Identifier: GPL-2.0-only
//! The command line: option letters as users of mke2fs(8) know them, and the reading of sizes, UUIDs and lists of extended options.

use clap::{ArgAction, Parser};
use image::format::default_bytes_per_inode;
use image::format::MIN_MOUNTABLE_JOURNAL;
use layout::superblock::OnError;
use layout::BLOCK_SIZE;
use std::path::PathBuf;
use uuid::Uuid;

/// Make a VexFS filesystem on a device or in a file.
#[derive(Debug, Parser)]
#[command(name = "mkfs.vexfs", version, max_term_width = 100, after_help = AFTER)]
pub struct Args {
    /// Block device or image file; a file is created if SIZE is given
    pub device: PathBuf,

    /// Size of the filesystem: a number of 4 KiB blocks, or bytes with suffix K, M, G, T or P; default: the whole device
    #[arg(value_parser = size)]
    pub size: Option<u64>,

    /// Label, up to 64 bytes of UTF-8
    #[arg(short = 'L', long, default_value = "", hide_default_value = true)]
    pub label: String,

    /// UUID of the filesystem, or "random"
    #[arg(short = 'U', long, value_parser = uuid)]
    pub uuid: Option<Uuid>,

    /// Make one inode for this many bytes
    #[arg(short = 'i', long = "bytes-per-inode", value_name = "BYTES", value_parser = bytes)]
    pub bytes_per_inode: Option<u64>,

    /// Options of the journal: size=MEGABYTES
    #[arg(short = 'J', long = "journal", value_name = "size=MB", value_parser = journal)]
    pub journal_blocks: Option<u32>,

    /// Percentage of blocks reserved for privileged users
    #[arg(short = 'm', long = "reserved", value_name = "PERCENT", default_value = "1", value_parser = percent)]
    pub reserved: u32,

    /// Block size; only 4096 is supported
    #[arg(short = 'b', long = "block-size", value_name = "BYTES", value_parser = block_size)]
    pub block_size: Option<u64>,

    /// What a mount does on errors: remount-ro, continue or panic
    #[arg(short = 'e', long = "errors", value_name = "BEHAVIOUR", default_value = "remount-ro", value_parser = on_error)]
    pub on_error: OnErrorArg,

    /// Extended options, separated by commas: hash_seed=UUID, root_owner=UID:GID, discard, nodiscard
    #[arg(short = 'E', long = "extended", value_name = "OPTIONS", value_delimiter = ',', value_parser = extended, action = ArgAction::Append)]
    pub extended: Vec<Extended>,

    /// Keep: do not discard the device's blocks first
    #[arg(short = 'K', long = "keep")]
    pub keep: bool,

    /// Overwrite a device that holds another filesystem, a partition table or the like (never one that is in use)
    #[arg(short = 'F', long)]
    pub force: bool,

    /// Dry run: show what would be made, write nothing
    #[arg(short = 'n', long = "dry-run")]
    pub dry_run: bool,

    /// Print errors only
    #[arg(short = 'q', long, conflicts_with = "json")]
    pub quiet: bool,

    /// Report as JSON
    #[arg(long)]
    pub json: bool,
}

const AFTER: &str = "\
For images that are the same byte for byte give -U, -E hash_seed= and the time in the environment
variable SOURCE_DATE_EPOCH.

Exit status: 0 if the filesystem was made (or could be, with -n), 1 if not.";

/// [`OnError`] as an argument.
#[derive(Clone, Copy, Debug)]
pub struct OnErrorArg(pub OnError);

/// One of the extended options.
#[derive(Clone, Copy, Debug)]
pub enum Extended {
    /// Key of the name hash.
    HashSeed(Uuid),
    /// Owner of the root directory.
    RootOwner(u32, u32),
    /// Whether to discard first.
    Discard(bool),
}

/// A number with an optional binary suffix: (value, whether there was a suffix).
fn number(text: &str) -> Result<(u64, bool), String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => None,
        "k" | "K" => Some(10),
        "m" | "M" => Some(20),
        "g" | "G" => Some(30),
        "t" | "T" => Some(40),
        "p" | "P" => Some(50),
        other => return Err(format!("unknown suffix '{other}'; K, M, G, T or P")),
    };
    let n: u64 = digits
        .parse()
        .map_err(|_| format!("'{digits}' is not a whole number"))?;
    n.checked_mul(1 << shift.unwrap_or(0))
        .map(|n| (n, shift.is_some()))
        .ok_or_else(|| "too large".to_owned())
}

/// A size in blocks.
fn size(text: &str) -> Result<u64, String> {
    let (n, suffix) = number(text)?;
    Ok(if suffix { n / BLOCK_SIZE as u64 } else { n })
}

fn bytes(text: &str) -> Result<u64, String> {
    Ok(number(text)?.0)
}

fn block_size(text: &str) -> Result<u64, String> {
    match number(text)?.0 {
        4096 => Ok(4096),
        n => Err(format!("{n} is not supported; blocks have 4096 bytes")),
    }
}

fn journal(text: &str) -> Result<u32, String> {
    let value = text
        .strip_prefix("size=")
        .ok_or("expected size=MEGABYTES")?;
    let (n, suffix) = number(value)?;
    let blocks = if suffix {
        n / BLOCK_SIZE as u64
    } else {
        n.saturating_mul((1 << 20) / BLOCK_SIZE as u64)
    };
    if blocks < u64::from(MIN_MOUNTABLE_JOURNAL) {
        return Err("the kernel needs a journal of 16 MB or more".to_owned());
    }
    u32::try_from(blocks).map_err(|_| "too large".to_owned())
}

/// A percentage in hundredths of a percent.
fn percent(text: &str) -> Result<u32, String> {
    let bad = || format!("'{text}' is not a percentage between 0 and 50 with up to two decimals");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 2 || !part.bytes().all(|c| c.is_ascii_digit()) {
        return Err(bad());
    }
    let whole: u32 = whole.parse().map_err(|_| bad())?;
    let part: u32 = format!("{part:0<2}").parse().map_err(|_| bad())?;
    match whole.checked_mul(100).and_then(|w| w.checked_add(part)) {
        Some(n) if n <= 5000 => Ok(n),
        _ => Err(bad()),
    }
}

fn uuid(text: &str) -> Result<Uuid, String> {
    if text == "random" {
        return Ok(Uuid::new_v4());
    }
    Uuid::parse_str(text).map_err(|e| e.to_string())
}

fn on_error(text: &str) -> Result<OnErrorArg, String> {
    Ok(OnErrorArg(match text {
        "remount-ro" => OnError::RemountRo,
        "continue" => OnError::Continue,
        "panic" => OnError::Panic,
        _ => return Err("one of remount-ro, continue, panic".to_owned()),
    }))
}

fn extended(text: &str) -> Result<Extended, String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    match (key, value) {
        ("hash_seed", v) => Uuid::parse_str(v)
            .map(Extended::HashSeed)
            .map_err(|e| e.to_string()),
        ("root_owner", v) => {
            let (uid, gid) = v.split_once(':').ok_or("expected root_owner=UID:GID")?;
            match (uid.parse(), gid.parse()) {
                (Ok(uid), Ok(gid)) => Ok(Extended::RootOwner(uid, gid)),
                _ => Err("expected root_owner=UID:GID with numbers".to_owned()),
            }
        }
        ("discard", "") => Ok(Extended::Discard(true)),
        ("nodiscard", "") => Ok(Extended::Discard(false)),
        _ => Err(format!("unknown extended option '{key}'")),
    }
}

impl Args {
    /// Whether to discard the device first.
    pub fn discard(&self) -> bool {
        let wish = self.extended.iter().rev().find_map(|e| match e {
            Extended::Discard(d) => Some(*d),
            _ => None,
        });
        wish.unwrap_or(!self.keep)
    }

    /// The hash seed asked for.
    pub fn hash_seed(&self) -> Option<[u8; 16]> {
        self.extended.iter().rev().find_map(|e| match e {
            Extended::HashSeed(u) => Some(*u.as_bytes()),
            _ => None,
        })
    }

    /// The root directory's owner.
    pub fn root_owner(&self) -> (u32, u32) {
        let wish = self.extended.iter().rev().find_map(|e| match e {
            Extended::RootOwner(u, g) => Some((*u, *g)),
            _ => None,
        });
        wish.unwrap_or((0, 0))
    }

    /// Bytes per inode, by size if not asked for.
    pub fn ratio(&self, blocks: u64) -> u64 {
        self.bytes_per_inode
            .unwrap_or_else(|| default_bytes_per_inode(blocks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    /// The manual page must name every option.
    #[test]
    fn the_manual_has_every_option() {
        let page = include_str!("../../docs/man/mkfs.vexfs.8").replace('\\', "");
        let mut command = Args::command();
        command.build();
        for arg in command.get_arguments().filter(|a| !a.is_positional()) {
            let short = arg.get_short().map(|c| format!("-{c}"));
            let long = arg.get_long().map(|l| format!("--{l}"));
            for option in [short, long].into_iter().flatten() {
                assert!(page.contains(&option), "{option} is not in the manual");
            }
        }
    }

    #[test]
    fn sizes_in_blocks_and_with_suffix() {
        assert_eq!(size("100"), Ok(100));
        assert_eq!(size("4K"), Ok(1));
        assert_eq!(size("16T"), Ok(1 << 32));
        assert_eq!(size("1g"), Ok(1 << 18));
        for bad in ["", "K", "-1", "1.5G", "1Q", "99999999P", "1KK"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn percentages_with_two_decimals() {
        assert_eq!(percent("0"), Ok(0));
        assert_eq!(percent("5"), Ok(500));
        assert_eq!(percent("0.5"), Ok(50));
        assert_eq!(percent("12.34"), Ok(1234));
        for bad in ["", "51", "-1", "1.234", "x", "50.01", "99999999999"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn journal_sizes_are_megabytes() {
        assert_eq!(journal("size=16"), Ok(4096));
        assert!(journal("size=15").is_err());
        assert_eq!(journal("size=64M"), Ok(16_384));
        assert!(journal("4").is_err() && journal("size=x").is_err());
        assert!(journal("size=99999999999").is_err());
    }

    #[test]
    fn extended_options_the_last_of_a_kind_wins() {
        let args = Args::parse_from([
            "mkfs.vexfs",
            "-E",
            "root_owner=1:2,nodiscard",
            "-E",
            "root_owner=3:4",
            "x",
        ]);
        assert_eq!((args.root_owner(), args.discard()), ((3, 4), false));
        assert!(Args::try_parse_from(["mkfs.vexfs", "-E", "what=1", "x"]).is_err());
    }
}
