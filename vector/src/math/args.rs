// SPDX-License-Identifier: GPL-2.0-only
//! The argument block of the math kernels, and its codes. The kernel build of the
//! crate `vector` includes this file by itself, so that both sides of the call have
//! one definition; therefore it may not contain an operation, let alone on floats.

/// `Args::isa`: plain Rust, for any CPU.
pub const ISA_PORTABLE: u32 = 0;
/// `Args::isa`: needs the CPU features AVX, AVX2, FMA, F16C and POPCNT.
pub const ISA_AVX2: u32 = 1;
/// `Args::isa`: needs the CPU features AVX-512F and AVX-512BW beside those of [`ISA_AVX2`].
/// A build without AVX-512 support takes the AVX2 path; the bits are the same.
pub const ISA_AVX512: u32 = 2;

/// `Args::isa`: NEON, which every 64-bit ARM CPU with vector registers has.
pub const ISA_NEON: u32 = 3;

/// `vexfs_math_crc32`: takes bytes by so many, of which there must be some.
#[cfg(target_arch = "x86_64")]
pub const CRC32_UNIT: usize = 16;

/// `Args::metric`: squared Euclidean distance.
pub const METRIC_L2: u32 = 1;
/// `Args::metric`: one minus the cosine of the angle.
pub const METRIC_COSINE: u32 = 2;
/// `Args::metric`: the negated inner product.
pub const METRIC_DOT: u32 = 3;

/// `Args::metric`: the number of bits that differ; of bits only.
pub const METRIC_HAMMING: u32 = 4;

/// `Args::element`: IEEE 754 binary32, little-endian.
pub const ELEMENT_F32: u32 = 1;
/// `Args::element`: IEEE 754 binary16, little-endian.
pub const ELEMENT_F16: u32 = 2;
/// `Args::element`: signed bytes.
pub const ELEMENT_I8: u32 = 3;
/// `Args::element`: bits, the first one lowest in the first byte; zeros fill the last byte.
pub const ELEMENT_BINARY: u32 = 4;

/// One batch: every query against every vector of a strided array.
///
/// All pointers are to bytes without alignment, except `norms` and `out`.
#[repr(C)]
pub struct Args {
    /// One of the `ISA_*` values; an unknown one means portable.
    pub isa: u32,
    /// One of the `METRIC_*` values; an unknown one means [`METRIC_DOT`].
    pub metric: u32,
    /// One of the `ELEMENT_*` values, [`ELEMENT_BINARY`] with [`METRIC_HAMMING`] and with
    /// nothing else; an unknown one means [`ELEMENT_F32`].
    pub element: u32,
    /// Unused.
    pub zero: u32,
    /// Elements of each vector.
    pub dim: usize,
    /// `query_count` vectors of `dim` elements, `query_stride` bytes apart.
    pub queries: *const u8,
    /// Bytes from a query to the next.
    pub query_stride: usize,
    /// Number of queries.
    pub query_count: usize,
    /// `query_count` squared norms as `vexfs_math_norm2` gives them. Read for
    /// cosine only, may be dangling for the other metrics.
    pub norms: *const u64,
    /// First element of the first stored vector.
    pub vectors: *const u8,
    /// Bytes from a stored vector to the next.
    pub vector_stride: usize,
    /// Number of stored vectors.
    pub vector_count: usize,
    /// Receives `query_count` rows of `vector_count` ordered distances.
    pub out: *mut u64,
}
