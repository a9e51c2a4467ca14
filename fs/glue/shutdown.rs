// SPDX-License-Identifier: GPL-2.0-only
//! Stopping a mount on request, `FS_IOC_SHUTDOWN` of linux/fs.h: from then on nothing of metadata reaches the device, as if the power
//! had gone. The next mount replays the journal. Knows nothing of why a mount is stopped otherwise.

use super::error::is_stopped;
use super::VexFs;
use crate::vfs::{
    caller::{self, Capability},
    code, IoctlArg, Result, SuperBlock,
};
use kernel::prelude::*;

/// `FS_IOC_SHUTDOWN`: `_IOR('X', 125, __u32)`. What it points to is one of the numbers below.
pub(super) const NUMBER: u32 = 0x8004_587d;

/// Everything is written first.
const DEFAULT: u32 = 0;
/// The journal is written first, file data is not.
const LOGFLUSH: u32 = 1;
/// Nothing is written first.
const NOLOGFLUSH: u32 = 2;

/// Serves the request.
///
/// Errors: `EPERM` without CAP_SYS_ADMIN, `EFAULT`, `EINVAL` for numbers that are not known, `EBUSY` if the device is frozen by somebody
/// else. A mount that is stopped already stays so.
pub(super) fn serve(sb: &SuperBlock<VexFs>, arg: IoctlArg) -> Result {
    if !caller::is_capable(Capability::Admin) {
        return Err(code::EPERM);
    }
    let mut how = [0u8; 4];
    arg.user(how.len()).reader().read_slice(&mut how)?;
    let how = u32::from_ne_bytes(how);
    if !matches!(how, DEFAULT | LOGFLUSH | NOLOGFLUSH) {
        return Err(code::EINVAL);
    }
    if is_stopped(sb) {
        return Ok(());
    }
    let mount = sb.mount();
    match how {
        // A freeze is what waits for all writers and leaves nothing in memory.
        DEFAULT => mount.device().freeze_and_thaw()?,
        // An error stops the mount as well, and is reported where it is noticed.
        LOGFLUSH => _ = mount.journal().force_commit(),
        _ => {}
    }
    // In this order, so that nobody takes the journal's end for an I/O error.
    mount.set_failed();
    // With this reason jbd2 leaves no mark of an error in the journal.
    mount.journal().abort(code::ESHUTDOWN);
    pr_alert!("(device {}): shut down on request\n", sb.id());
    Ok(())
}
