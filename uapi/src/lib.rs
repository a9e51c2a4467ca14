// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! The ioctl ABI of VexFS: one definition for the kernel module and the tools, and
//! the reference for `vexfs.h` (which a test compares field by field).
//!
//! The crate only describes: structures, numbers, and the checks that need nothing
//! but the structure itself. It may not perform an ioctl, allocate, panic, or
//! contain unsafe code.
//!
//! | module | what |
//! |---|---|
//! | [`ioctl`] | how a request number is made |
//! | [`request`] | [`Request`]: number, size and flag rules of a request structure |
//! | [`name`] | index names |
//! | [`index`] | create, list, describe and drop an index, note what searching it takes |
//! | [`record`] | put, get and delete the records of a file |
//! | [`search`] | queries and hits |
//! | [`filter`] | conditions that hits must meet |
//! | [`stats`] | counters |
//! | [`maintenance`] | verify and build the search tree of an index |
//!
//! # Conventions
//! - Every request works on **any** open file descriptor of the mount (not `O_PATH`);
//!   those that act on records act on the file behind the descriptor.
//! - Integers have the machine's byte order; vectors are little-endian elements, as
//!   on disk. Pointers are `u64`, so 32-bit callers see the same structures. There is
//!   no padding (the zerocopy derives prove it); sizes are multiples of 8.
//! - **Versions by size.** The first field, `size`, is the size of the structure that
//!   the caller was compiled with. The number of a request never changes: it encodes
//!   the size that its structure had in version 1 ([`Request::MIN_SIZE`]). A kernel
//!   takes fields that the caller does not have as zero, and refuses with `E2BIG`
//!   fields that it does not know unless they are zero (as `openat2` does).
//! - Fields called `reserved` and unknown flags must be zero, else `EINVAL`.
//! - Fields that the kernel writes are marked *out*; they are written on success, and
//!   where it says so also with an error. What they hold before does not matter.
//!
//! # Errors of every request
//! | errno | why |
//! |---|---|
//! | `ENOTTY` | not a VexFS file, or the kernel does not know the request |
//! | `EINVAL` | bad size, flag, reserved field, name, count or capacity |
//! | `E2BIG` | a field that this kernel does not know is not zero |
//! | `EFAULT` | a pointer does not lead to memory of the caller |
//! | `EROFS` | the request changes something and the mount is read-only |
//! | `ENOMEM`, `EIO` | no memory; the device failed, or the journal was aborted |
//! | `EUCLEAN` | metadata is damaged; the kernel log names the block |
//! | `EINTR` | a signal arrived; what *out* fields say was done, was done |
#![no_std]
#![forbid(unsafe_code)]

pub mod filter;
pub mod index;
pub mod ioctl;
pub mod maintenance;
pub mod name;
pub mod record;
pub mod request;
pub mod search;
pub mod stats;

pub use filter::Filter;
pub use index::{IndexCreate, IndexDrop, IndexEfforts, IndexInfo, IndexList};
pub use maintenance::{IndexBuild, IndexVerify};
pub use name::{parse_name, NAME_SIZE};
pub use record::{Delete, Get, Put, PutMany, PutRecord};
pub use request::{BadRequest, Request};
pub use search::{Hit, Search};
pub use stats::Stats;

/// Greatest dimension of an index.
pub const DIM_MAX: u32 = 4096;

/// Element type: IEEE 754 binary32, little-endian.
pub const ELEMENT_F32: u32 = 1;
/// Element type: IEEE 754 binary16, little-endian.
pub const ELEMENT_F16: u32 = 2;
/// Element type: signed bytes.
pub const ELEMENT_I8: u32 = 3;
/// Element type: bits, the first one lowest in the first byte; zeros fill the last byte.
pub const ELEMENT_BINARY: u32 = 4;

/// Metric: squared Euclidean distance.
pub const METRIC_L2: u32 = 1;
/// Metric: one minus the cosine of the angle, 0 to 2.
pub const METRIC_COSINE: u32 = 2;
/// Metric: the negated inner product.
pub const METRIC_DOT: u32 = 3;
/// Metric: the number of bits that differ; of bits only.
pub const METRIC_HAMMING: u32 = 4;

// The sizes of version 1, which the request numbers encode. A structure that grows
// keeps its MIN_SIZE.
const _: () = {
    use core::mem::size_of;
    assert!(size_of::<IndexCreate>() == IndexCreate::MIN_SIZE);
    assert!(size_of::<IndexInfo>() == IndexInfo::MIN_SIZE);
    assert!(size_of::<IndexList>() == IndexList::MIN_SIZE);
    assert!(size_of::<IndexDrop>() == IndexDrop::MIN_SIZE);
    assert!(size_of::<IndexEfforts>() == IndexEfforts::MIN_SIZE);
    assert!(size_of::<Put>() == Put::MIN_SIZE);
    assert!(size_of::<PutMany>() == PutMany::MIN_SIZE);
    assert!(size_of::<PutRecord>() == 24);
    assert!(size_of::<Get>() == Get::MIN_SIZE);
    assert!(size_of::<Delete>() == Delete::MIN_SIZE);
    assert!(size_of::<Search>() == Search::MIN_SIZE);
    assert!(size_of::<Hit>() == 48);
    assert!(size_of::<Stats>() == Stats::MIN_SIZE);
};
