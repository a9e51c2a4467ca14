// SPDX-License-Identifier: GPL-2.0-only
//! What the kernel says about this process: its processor time and its memory.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::ClockId;

/// How long the processor has worked for this process.
///
/// # Errors
/// The kernel has no such clock.
pub fn processor() -> Result<Duration> {
    Ok(ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?.into())
}

/// Resident bytes: all, and those of mapped files among them.
///
/// # Errors
/// /proc cannot be read.
pub fn resident() -> Result<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| -> Result<u64> {
        let kib: u64 = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok())
            .with_context(|| format!("/proc/self/status has no {name}"))?;
        Ok(kib * 1024)
    };
    Ok((field("VmRSS")?, field("RssFile")?))
}
