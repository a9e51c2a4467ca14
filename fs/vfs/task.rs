// SPDX-License-Identifier: GPL-2.0-only
//! The current task: signals, giving way, scopes of memory allocation; and the wall clock.

use super::{attr::Time, bindings};
use core::marker::PhantomData;

/// Gives way to other tasks if one is waiting. May sleep.
pub(crate) fn cond_resched() {
    // SAFETY: Called from process context; callers may sleep.
    unsafe { bindings::rvfs_cond_resched() };
}

/// Whether the task was killed, so that long work should end with `EINTR`.
pub(crate) fn fatal_signal_pending() -> bool {
    // SAFETY: A query of the current task.
    unsafe { bindings::rvfs_fatal_signal_pending() }
}

/// Whether the task is inside a jbd2 handle, of any filesystem.
pub(crate) fn in_transaction() -> bool {
    // SAFETY: A query of the current task.
    unsafe { bindings::rvfs_in_transaction() }
}

/// While this lives, allocations of the current task do not enter filesystems to reclaim memory.
pub(crate) struct NoFs {
    flags: u32,
    _not_send: PhantomData<*mut ()>,
}

/// Opens such a scope. Scopes nest; they must be closed in reverse order, which values on the stack are.
pub(crate) fn nofs() -> NoFs {
    // SAFETY: Changes a flag of the current task, which `drop` restores.
    let flags = unsafe { bindings::rvfs_memalloc_nofs_save() };
    NoFs {
        flags,
        _not_send: PhantomData,
    }
}

impl Drop for NoFs {
    fn drop(&mut self) {
        // SAFETY: The guard does not leave its task.
        unsafe { bindings::rvfs_memalloc_nofs_restore(self.flags) };
    }
}

/// Waits a moment, about 20 ms, for memory to become free.
pub(crate) fn wait_for_memory() {
    // SAFETY: Called from process context; callers may sleep.
    unsafe { bindings::rvfs_memalloc_retry_wait() };
}

/// The wall clock.
pub(crate) fn now() -> Time {
    let mut t = Time::default();
    // SAFETY: Both point to memory of the right size.
    unsafe { bindings::rvfs_ktime_real(&mut t.sec, &mut t.nsec) };
    t
}

/// Whether the task may use what is set aside for the system (CAP_SYS_RESOURCE).
pub(crate) fn is_privileged() -> bool {
    let namespace = core::ptr::addr_of_mut!(bindings::init_user_ns);
    let capability = bindings::CAP_SYS_RESOURCE as kernel::ffi::c_int;
    // SAFETY: A query of the current task; the initial user namespace always exists.
    unsafe { bindings::ns_capable_noaudit(namespace, capability) }
}

/// Fills `out` from the kernel's random number generator.
pub(crate) fn random(out: &mut [u8]) {
    // SAFETY: `out` is valid for writing its length.
    unsafe { bindings::get_random_bytes(out.as_mut_ptr().cast(), out.len()) };
}

/// Stops the machine with `message`, as `errors=panic` asks for.
pub(crate) fn panic_machine(message: &kernel::str::CStr) -> ! {
    // SAFETY: The message ends with a zero byte.
    unsafe { bindings::rvfs_panic(message.as_ptr().cast()) }
}
