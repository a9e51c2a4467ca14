// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Search: vectors in, paths out.

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ioctl::{number, READ_WRITE};
use crate::request::{check_common, require};
use crate::{parse_name, BadRequest, Request, DIM_MAX, NAME_SIZE};

/// Flag of [`Search`]: compare with every record of the index.
///
/// Without it the kernel looks at a part of the index's search tree, which can miss
/// some, unless the index is small. Distances are exact either way.
pub const SEARCH_EXACT: u32 = 1;

/// Most hits of one query.
pub const SEARCH_K_MAX: u32 = 10_000;

/// [`Search::recall`] where it is not given.
pub const SEARCH_RECALL: u32 = 9_500;

/// Greatest [`Search::recall`].
pub const SEARCH_RECALL_MAX: u32 = 10_000;

/// Most queries of one [`Search`].
pub const SEARCH_QUERIES_MAX: u32 = 1_024;

/// Most hits of one [`Search`]: bound of `query_count * k`.
pub const SEARCH_HITS_MAX: u32 = 262_144;

/// The `k` nearest records for each of `query_count` vectors, in one pass.
///
/// Hits of query `j` are written to entries `j * k ..` of the array at `hits`,
/// nearest first, equally distant ones by inode, then by label; their number (at
/// most `k`) to entry `j` of the array at `counts`. A record is a hit only if the
/// caller may read its file and search every directory on one of its paths, and
/// that path is in the hit. Records that he may not see take nobody's place: there
/// are fewer than `k` hits only if there are no more records that he may see.
///
/// Paths are written to the memory at `paths`, without a NUL, relative to the root
/// of the mount (`a/b.txt`); hits of one file may share a path. If they do not fit,
/// the request fails with `ERANGE`, nothing else is *out*, and `paths_used` says
/// how much was needed; a rename in between may need more.
///
/// | errno | why |
/// |---|---|
/// | `ENOENT` | no index has the name |
/// | `EACCES` | the index's permission bits do not allow to read it |
/// | `EINVAL` | `query_bytes` is not the index's; an element is infinite or NaN; under cosine, all are zero; too many queries or hits |
/// | `ERANGE` | `paths_capacity` is too small |
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Search {
    /// Size of this structure.
    pub size: u32,
    /// [`SEARCH_EXACT`].
    pub flags: u32,
    /// Name of the index.
    pub name: [u8; NAME_SIZE],
    /// Address of the queries, end to end.
    pub queries: u64,
    /// Bytes of one query.
    pub query_bytes: u32,
    /// Number of queries, 1 to [`SEARCH_QUERIES_MAX`].
    pub query_count: u32,
    /// Hits wanted for each query, 1 to [`SEARCH_K_MAX`].
    pub k: u32,
    /// Bytes of a [`Hit`] of the caller.
    pub hit_size: u32,
    /// Address of `query_count * k` entries of [`Hit`], *out*.
    pub hits: u64,
    /// Address of `query_count` entries of `u32`, *out*.
    pub counts: u64,
    /// Address of memory for paths, *out*.
    pub paths: u64,
    /// Bytes of that memory.
    pub paths_capacity: u32,
    /// *Out*, also with `ERANGE`: bytes used, or needed.
    pub paths_used: u32,
    /// *Out:* distances computed, for all queries together.
    pub distances: u64,
    /// Leaves of the search tree to look at: more of them miss fewer records and take
    /// longer. 0: as many as `recall` needs.
    pub probes: u32,
    /// The part of the `k` nearest records that is to be found, in ten thousandths: an
    /// aim, not a promise. 0: [`SEARCH_RECALL`].
    pub recall: u32,
    /// Address of a [`crate::Filter`]; 0: none.
    pub filter: u64,
    /// Zero.
    pub reserved: [u64; 6],
}

impl Request for Search {
    const NUMBER: u32 = number(READ_WRITE, 8, Self::MIN_SIZE);
    const MIN_SIZE: usize = 200;
    const FLAGS: u32 = SEARCH_EXACT;

    fn check(&self) -> Result<(), BadRequest> {
        check_common::<Self>(self.size, self.flags, &self.reserved)?;
        require(self.recall <= SEARCH_RECALL_MAX)?;
        parse_name(&self.name)?;
        require((1..=DIM_MAX * 4).contains(&self.query_bytes))?;
        require((1..=SEARCH_QUERIES_MAX).contains(&self.query_count))?;
        require((1..=SEARCH_K_MAX).contains(&self.k))?;
        require(u64::from(self.query_count) * u64::from(self.k) <= SEARCH_HITS_MAX.into())?;
        require(self.hit_size as usize == core::mem::size_of::<Hit>())
    }
}

/// One hit of a [`Search`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Hit {
    /// Inode number of the file.
    pub inode: u64,
    /// The record's label.
    pub label: u64,
    /// The record's tag.
    pub tag: u64,
    /// The exact distance: the bits of a binary64 (`double`). See `METRIC_*`.
    pub distance: u64,
    /// Generation of the inode, as `FS_IOC_GETVERSION` tells it.
    pub generation: u32,
    /// Where the path begins in the memory at [`Search::paths`].
    pub path_offset: u32,
    /// Bytes of the path.
    pub path_len: u32,
    /// Zero.
    pub reserved0: u32,
}
