// SPDX-License-Identifier: GPL-2.0-only
//! The demonstration.

/// Runs it.
///
/// # Errors
/// A step fails.
pub fn run() -> anyhow::Result<()> {
    Ok(())
}
