// SPDX-License-Identifier: GPL-2.0-only
//! The argument blocks of the code kernels. The kernel build of the crate `vector`
//! includes this file by itself, so that both sides of the call have one
//! definition; therefore it may not contain an operation, let alone on floats.
//!
//! `isa` is one of the `ISA_*` values of the distance kernels. `padded` is the
//! dimension rounded up to a multiple of 16; buffers of `padded` binary32 values
//! need no alignment beyond four bytes. `blocks` are the blocks of a partition,
//! each `BLOCK_SIZE` bytes, in order; a *unit* of it is 64 bytes, 63 in a block
//! behind the first 64 bytes (layout::partition).

/// One vector into the rotated space.
#[repr(C)]
pub struct RotateArgs {
    /// Instruction set.
    pub isa: u32,
    /// Not zero: divide by the norm first (cosine); not of bits.
    pub normalise: u32,
    /// One of the `ELEMENT_*` values of the distance kernels. A bit counts as 1 or -1.
    pub element: u32,
    /// Unused.
    pub zero: u32,
    /// Elements of `vector`.
    pub dim: usize,
    /// Elements of `out`.
    pub padded: usize,
    /// `dim` elements, without alignment.
    pub vector: *const u8,
    /// `ROUNDS * padded / 16` masks of 16 signs.
    pub signs: *const u16,
    /// Receives `padded` values.
    pub out: *mut f32,
}

/// One vector into its code.
#[repr(C)]
pub struct EncodeArgs {
    /// Instruction set.
    pub isa: u32,
    /// Not zero: the estimates are of negated inner products (dot), otherwise of
    /// squared distances.
    pub dot: u32,
    /// Elements of `vector` and `centroid`.
    pub padded: usize,
    /// The vector, rotated.
    pub vector: *const f32,
    /// The partition's centroid.
    pub centroid: *const f32,
    /// Receives `padded` values of 0 to 31.
    pub code: *mut u8,
    /// Receives `FACTORS` values: see `encode`.
    pub factors: *mut f32,
}

/// A query into its tables.
#[repr(C)]
pub struct PrepareArgs {
    /// Instruction set.
    pub isa: u32,
    /// Unused.
    pub zero: u32,
    /// Elements of `query`.
    pub padded: usize,
    /// The query, rotated.
    pub query: *const f32,
    /// Receives `4 * padded` bytes: for every four dimensions, sixteen entries.
    pub table: *mut u8,
    /// Receives a signed byte for every dimension, zeros up to a multiple of 128.
    pub bytes: *mut i8,
    /// Receives `PARAMETERS` values: see `prepare`.
    pub parameters: *mut f32,
}

/// A query and the entries of a partition: first look.
#[repr(C)]
pub struct EstimateArgs {
    /// Instruction set.
    pub isa: u32,
    /// Key below which the lower bound of an entry must lie.
    pub limit: u32,
    /// Dimensions.
    pub padded: usize,
    /// Blocks of the partition.
    pub blocks: *const *const u8,
    /// Unit where the first pack begins.
    pub packs_at: usize,
    /// Entries.
    pub entries: usize,
    /// From [`PrepareArgs`].
    pub table: *const u8,
    /// From [`PrepareArgs`].
    pub parameters: *const f32,
    /// What [`CentroidArgs`] gave for this partition: two values.
    pub centroid: *const f32,
    /// Blocks of the partition that is looked at next, to be fetched into the cache.
    pub next: *const *const u8,
    /// Units to fetch; they lie in `next`.
    pub next_units: usize,
    /// Receives the numbers of the entries that may lie below the limit.
    pub entry: *mut u16,
    /// Receives the upper bound of each.
    pub upper: *mut f32,
    /// Receives what [`RefineArgs`] needs to know of each.
    pub first: *mut f32,
}

/// A query and some entries of a partition: second look.
#[repr(C)]
pub struct RefineArgs {
    /// Instruction set.
    pub isa: u32,
    /// Unused.
    pub zero: u32,
    /// Dimensions.
    pub padded: usize,
    /// Blocks of the partition.
    pub blocks: *const *const u8,
    /// Unit where the first pack begins.
    pub packs_at: usize,
    /// Unit where the extended codes begin.
    pub extended_at: usize,
    /// From [`PrepareArgs`].
    pub bytes: *const i8,
    /// From [`PrepareArgs`].
    pub parameters: *const f32,
    /// What [`CentroidArgs`] gave for this partition: two values.
    pub centroid: *const f32,
    /// Entries to look at.
    pub count: usize,
    /// Their numbers.
    pub entry: *const u16,
    /// From [`EstimateArgs`].
    pub first: *const f32,
    /// Receives the key of each estimate.
    pub key: *mut u32,
}

/// A query and the centroid of a partition.
#[repr(C)]
pub struct CentroidArgs {
    /// Instruction set.
    pub isa: u32,
    /// Not zero: inner products (dot).
    pub dot: u32,
    /// Dimensions.
    pub padded: usize,
    /// The query, rotated.
    pub query: *const f32,
    /// Blocks of the partition.
    pub blocks: *const *const u8,
    /// Receives two values: what the estimates of all entries have in common, and
    /// the distance that scales their errors.
    pub out: *mut f32,
    /// Receives the key of the distance.
    pub key: *mut u32,
}

/// Rows of rotated vectors against two others, for a split.
#[repr(C)]
pub struct SidesArgs {
    /// Instruction set.
    pub isa: u32,
    /// Unused.
    pub zero: u32,
    /// Dimensions.
    pub padded: usize,
    /// Rows.
    pub count: usize,
    /// `count` rows of `padded` values.
    pub rows: *const f32,
    /// Two rows.
    pub centres: *const f32,
    /// Receives for every row the key of its squared distance to the first centre
    /// less that to the second.
    pub key: *mut u32,
}

/// Rows of rotated vectors against many others: k-means.
#[repr(C)]
pub struct NearestArgs {
    /// Instruction set.
    pub isa: u32,
    /// Unused.
    pub zero: u32,
    /// Dimensions.
    pub padded: usize,
    /// Rows.
    pub count: usize,
    /// `count` rows of `padded` values.
    pub rows: *const f32,
    /// Centres, from 1 to 256.
    pub centre_count: usize,
    /// As many rows.
    pub centres: *const f32,
    /// Receives for every row the number of the centre that is nearest to it, the first of equally near ones.
    pub nearest: *mut u8,
}

/// The mean of some rows.
#[repr(C)]
pub struct MeanArgs {
    /// Instruction set.
    pub isa: u32,
    /// Rows whose byte in `side` is this count.
    pub which: u32,
    /// Dimensions.
    pub padded: usize,
    /// Rows.
    pub count: usize,
    /// `count` rows of `padded` values.
    pub rows: *const f32,
    /// A byte for every row.
    pub side: *const u8,
    /// Receives `padded` values; unchanged if no row counts.
    pub out: *mut f32,
}

/// A query and a node of a graph.
#[repr(C)]
pub struct NodeArgs {
    /// Instruction set.
    pub isa: u32,
    /// Unused.
    pub zero: u32,
    /// Dimensions.
    pub padded: usize,
    /// The query, rotated.
    pub query: *const f32,
    /// Blocks of the node.
    pub blocks: *const *const u8,
    /// The unit where it begins.
    pub at: usize,
    /// From [`PrepareArgs`].
    pub table: *const u8,
    /// From [`PrepareArgs`].
    pub parameters: *const f32,
    /// Receives the key of the distance of the node's vector.
    pub key: *mut u32,
    /// Receives 32 keys: the estimates of the neighbours' distances.
    pub keys: *mut u32,
}

/// Rows of rotated vectors against another one.
#[repr(C)]
pub struct ApartArgs {
    /// Instruction set.
    pub isa: u32,
    /// Not zero: `out` becomes the smaller of itself and the key of the distance as a part of what `own` says.
    pub relative: u32,
    /// Dimensions.
    pub padded: usize,
    /// Rows.
    pub count: usize,
    /// `count` rows of `padded` values.
    pub rows: *const f32,
    /// A row.
    pub centre: *const f32,
    /// Keys of `count` squared distances; not used unless `relative`.
    pub own: *const u32,
    /// Receives `count` keys of squared distances, or parts.
    pub out: *mut u32,
}

/// Rounds of the rotation.
pub const ROUNDS: usize = 4;
/// Values of [`EncodeArgs::factors`].
pub const FACTORS: usize = 5;
/// Values of [`PrepareArgs::parameters`].
pub const PARAMETERS: usize = 4;
