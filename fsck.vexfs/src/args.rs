// SPDX-License-Identifier: GPL-2.0-only
//! The command line: option letters as fsck(8) passes them and users of e2fsck(8) know them.

use clap::Parser;
use std::ffi::OsString;
use std::path::PathBuf;

/// Check a VexFS filesystem. Nothing is ever changed: this version cannot repair.
#[derive(Debug, Parser)]
#[command(name = "fsck.vexfs", version, max_term_width = 100, after_help = AFTER)]
pub struct Args {
    /// Block device or image file
    #[arg(required_unless_present = "list_problems")]
    pub device: Option<PathBuf>,

    /// Check only; works on a mounted device too, with a warning
    #[arg(short = 'n')]
    pub no: bool,

    /// Repair everything (not implemented: checks, and says so if something is to be repaired)
    #[arg(short = 'y', conflicts_with_all = ["no", "preen"])]
    pub yes: bool,

    /// Repair what is safe, without asking, as at boot (not implemented, see -y); skips a filesystem that was unmounted cleanly
    #[arg(short = 'p', short_alias = 'a', conflicts_with = "no")]
    pub preen: bool,

    /// With -p: check even if the filesystem was unmounted cleanly
    #[arg(short = 'f', long)]
    pub force: bool,

    /// Print more
    #[arg(short = 'v', long)]
    pub verbose: bool,

    /// Use the copy of the super block in this block
    #[arg(short = 'b', value_name = "BLOCK")]
    pub backup: Option<u64>,

    /// Show progress; with a file descriptor, write "pass done total" lines to it. On a terminal it is shown anyway
    #[arg(short = 'C', value_name = "FD")]
    pub progress: Option<u32>,

    /// Show at most this many problems of one kind; all are counted. 0: no limit
    #[arg(long, default_value_t = 100)]
    pub limit: u64,

    /// Report as one JSON object
    #[arg(long)]
    pub json: bool,

    /// Print all problems that can be found, with number, name, severity and meaning
    #[arg(long)]
    pub list_problems: bool,
}

const AFTER: &str = "\
Exit status: 0 no errors, 4 errors left uncorrected, 8 operational error, 16 usage error.";

impl Args {
    /// Parses a command line, its first word the program's name. `-C` may stand without a value, as with e2fsck: clap would take the device for it.
    pub fn from_words(words: impl Iterator<Item = OsString>) -> Result<Args, clap::Error> {
        let mut words = words.peekable();
        let mut joined = Vec::new();
        while let Some(mut word) = words.next() {
            if word == "-C" {
                let number = |w: &OsString| w.to_str().is_some_and(|w| w.parse::<u32>().is_ok());
                let value = words.next_if(number);
                word.push(value.unwrap_or_else(|| "0".into()));
            }
            joined.push(word);
        }
        Args::try_parse_from(joined)
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
        let page = include_str!("../../docs/man/fsck.vexfs.8").replace('\\', "");
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
    fn contradicting_modes_are_refused() {
        for pair in [["-n", "-y"], ["-n", "-p"], ["-y", "-a"]] {
            let args = ["fsck.vexfs", pair[0], pair[1], "x"];
            assert!(Args::try_parse_from(args).is_err(), "{pair:?}");
        }
    }

    #[test]
    fn progress_with_and_without_a_descriptor() {
        let parse = |args: &[&str]| Args::from_words(args.iter().map(OsString::from)).unwrap();
        assert_eq!(parse(&["fsck.vexfs", "-C", "x"]).progress, Some(0));
        assert_eq!(parse(&["fsck.vexfs", "-C", "4", "x"]).progress, Some(4));
        assert_eq!(parse(&["fsck.vexfs", "-C0", "x"]).progress, Some(0));
        assert_eq!(parse(&["fsck.vexfs", "-C3", "x"]).progress, Some(3));
        assert_eq!(parse(&["fsck.vexfs", "x"]).progress, None);
    }
}
