// SPDX-License-Identifier: GPL-2.0-only
//! For unit tests only: the name hashes, which a test can weaken so that names collide all the time. With the real ones two names that
//! collide take 2^27 tries to find, and three cannot be found.

use layout::attr::Namespace;
use std::cell::Cell;

std::thread_local! {
    static VALUES: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on, in this thread, hashes take only `values` different values; `None` for the real hashes.
pub(crate) fn weaken(values: Option<u64>) {
    VALUES.set(values);
}

/// As [`layout::dirent::first_cookie`].
pub(crate) fn first_cookie(seed: &[u8; 16], name: &[u8]) -> u64 {
    let real = layout::dirent::first_cookie(seed, name);
    match VALUES.get() {
        Some(n) => {
            (((real >> layout::dirent::COLLISION_BITS) % n) + 1) << layout::dirent::COLLISION_BITS
        }
        None => real,
    }
}

/// As [`layout::attr::xattr_hash`].
pub(crate) fn xattr_hash(seed: &[u8; 16], ns: Namespace, name: &[u8]) -> u64 {
    let real = layout::attr::xattr_hash(seed, ns, name);
    match VALUES.get() {
        Some(n) => layout::attr::CLASS_XATTR | ((real ^ layout::attr::CLASS_XATTR) % n),
        None => real,
    }
}
