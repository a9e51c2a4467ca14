// SPDX-License-Identifier: GPL-2.0-only
//! The safe interface of the math kernels: what a batch is, that all of it lies
//! within its slices, and who may use the floating-point unit.
//!
//! The unsafe code of the crate outside `math` is in this file, three calls, in `ann::call` and in `crc32`.

use core::marker::PhantomData;

use crate::{validate, Distance, Error, Kind, Metric};

use crate::math::{
    vexfs_math_distances, vexfs_math_norm2, Args, ISA_AVX2, ISA_AVX512, ISA_NEON, ISA_PORTABLE,
};

/// An instruction set of the math kernels. All give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Isa {
    /// Plain Rust, for whatever the compiler's target has (SSE2 on x86_64).
    Portable = ISA_PORTABLE,
    /// AVX, AVX2, FMA, F16C and POPCNT.
    Avx2 = ISA_AVX2,
    /// AVX-512F and AVX-512BW, and all of the former.
    Avx512 = ISA_AVX512,
    /// NEON of 64-bit ARM.
    Neon = ISA_NEON,
}

impl Isa {
    /// Every one of every architecture, on each of them the better ones later.
    pub const ALL: [Isa; 4] = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Neon];

    /// The name that statistics and logs show.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        }
    }

    /// Whether this CPU has it.
    #[cfg(feature = "std")]
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                std::arch::is_x86_feature_detected!("avx2")
                    && std::arch::is_x86_feature_detected!("fma")
                    && std::arch::is_x86_feature_detected!("f16c")
                    && std::arch::is_x86_feature_detected!("popcnt")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_available()
                    && std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
            }
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            _ => false,
        }
    }

    /// The best instruction set of this CPU.
    #[cfg(feature = "std")]
    pub fn detect() -> Isa {
        let mut best_first = Isa::ALL.into_iter().rev();
        best_first
            .find(|isa| isa.is_available())
            .unwrap_or(Isa::Portable)
    }
}

/// The right to use the floating-point unit, with the knowledge of what it can.
///
/// # Invariants
/// While a value exists, the thread that made it may use floating-point and
/// vector registers (in the kernel: it is inside `kernel_fpu_begin`), and the CPU
/// has the features of `isa`. The type is neither `Send` nor `Sync`.
pub struct Fpu {
    isa: Isa,
    not_send: PhantomData<*const ()>,
}

impl Fpu {
    /// Claims the floating-point unit.
    ///
    /// # Safety
    /// The invariants above must hold for the life of the value. The kernel
    /// must hand it out by reference to a closure between `kernel_fpu_begin_mask`
    /// (with `KFPU_MXCSR`) and `kernel_fpu_end`, where nothing may sleep.
    pub const unsafe fn claim(isa: Isa) -> Fpu {
        Fpu {
            isa,
            not_send: PhantomData,
        }
    }

    /// The instruction set in use.
    pub const fn isa(&self) -> Isa {
        self.isa
    }

    /// Writes the distance of every query to every vector of the batch: row `j`
    /// of `batch.count()` values belongs to query `j`.
    ///
    /// A vector that is not acceptable under the metric (an erased slot, say)
    /// gives [`Distance::INVALID`] or a meaningless distance, never a failure:
    /// the caller knows which slots are in use.
    ///
    /// # Errors
    /// [`Error::Length`] if `out` does not have `queries.count() * batch.count()`
    /// entries, [`Error::Kind`] if the two are of different kinds.
    pub fn distances(
        &self,
        queries: &Queries<'_>,
        batch: &Batch<'_>,
        out: &mut [Distance],
    ) -> Result<(), Error> {
        if queries.kind != batch.kind {
            return Err(Error::Kind);
        }
        let expected = queries.count.saturating_mul(batch.count);
        if out.len() != expected {
            return Err(Error::Length {
                expected,
                actual: out.len(),
            });
        }
        let args = Args {
            isa: self.isa as u32,
            metric: queries.kind.metric().code(),
            element: queries.kind.element().code(),
            zero: 0,
            dim: queries.kind.dim() as usize,
            queries: queries.bytes.as_ptr(),
            query_stride: queries.kind.vector_bytes(),
            query_count: queries.count,
            norms: queries.norms.as_ptr(),
            vectors: batch.bytes.as_ptr(),
            vector_stride: batch.stride,
            vector_count: batch.count,
            out: out.as_mut_ptr().cast(),
        };
        // SAFETY: by the invariants of Queries and Batch all elements lie within
        // their slices and every query has its norm; `out` has been measured just
        // now and, being a mutable borrow, overlaps nothing; Distance is a
        // transparent u64. The invariant of Fpu covers registers and features.
        unsafe { vexfs_math_distances(&args) };
        Ok(())
    }

    /// The squared norm of a vector as opaque bits.
    ///
    /// # Errors
    /// [`Error::Length`] if `vector` is not one of `kind`; [`Error::NoDirection`] of bits, which have no norm.
    pub fn norm2(&self, kind: &Kind, vector: &[u8]) -> Result<u64, Error> {
        if kind.metric() == Metric::Hamming {
            return Err(Error::NoDirection);
        }
        if vector.len() != kind.vector_bytes() {
            return Err(Error::Length {
                expected: kind.vector_bytes(),
                actual: vector.len(),
            });
        }
        let element = kind.element().code();
        // SAFETY: the slice has that many elements, which are not bits; Fpu covers the registers.
        Ok(unsafe { vexfs_math_norm2(vector.as_ptr(), kind.dim() as usize, element) })
    }
}

/// One or several query vectors, checked and ready.
///
/// # Invariants
/// `bytes` holds `count` vectors of `kind`, end to end, each accepted by
/// [`validate()`]; `norms` has `count` entries.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a> {
    kind: Kind,
    count: usize,
    bytes: &'a [u8],
    norms: &'a [u64],
}

impl<'a> Queries<'a> {
    /// Checks the queries in `bytes`, which lie end to end, and computes what
    /// the metric needs to know of them into `norms`, one entry a query.
    ///
    /// # Errors
    /// [`Error::Length`] if `bytes` is not a whole number of vectors or `norms` not
    /// of that number; whatever [`validate()`] finds in a query.
    pub fn prepare<C: Compute + ?Sized>(
        compute: &C,
        kind: &Kind,
        bytes: &'a [u8],
        norms: &'a mut [u64],
    ) -> Result<Queries<'a>, Error> {
        let stride = kind.vector_bytes();
        let count = norms.len();
        let expected = stride.saturating_mul(count);
        if bytes.len() != expected {
            return Err(Error::Length {
                expected,
                actual: bytes.len(),
            });
        }
        for (query, norm) in bytes.chunks_exact(stride.max(1)).zip(norms.iter_mut()) {
            validate(kind, query)?;
            *norm = 0;
            if kind.metric() == Metric::Cosine {
                let mut result = Ok(0);
                compute.with_fpu(&mut |fpu| result = fpu.norm2(kind, query));
                *norm = result?;
            }
        }
        Ok(Queries {
            kind: *kind,
            count,
            bytes,
            norms,
        })
    }

    /// The queries from number `first` on, `count` of them or as many as there are.
    pub fn part(&self, first: usize, count: usize) -> Queries<'a> {
        let first = first.min(self.count);
        let count = count.min(self.count.saturating_sub(first));
        let size = self.kind.vector_bytes();
        Queries {
            count,
            bytes: self
                .bytes
                .get(first.saturating_mul(size)..)
                .and_then(|bytes| bytes.get(..count.saturating_mul(size)))
                .unwrap_or(&[]),
            norms: self
                .norms
                .get(first..)
                .and_then(|norms| norms.get(..count))
                .unwrap_or(&[]),
            ..*self
        }
    }

    /// Their elements, end to end.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Number of queries.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// What they are.
    pub const fn kind(&self) -> &Kind {
        &self.kind
    }
}

/// Stored vectors in memory, at regular distances.
///
/// # Invariants
/// Vector `i < count` is the `kind.vector_bytes()` bytes at `i * stride` of `bytes`,
/// and all lie within it.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    kind: Kind,
    stride: usize,
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// `count` vectors, the first at `offset` of `bytes`, `stride` bytes apart.
    /// The last one need not be followed by padding to a whole stride.
    ///
    /// # Errors
    /// [`Error::Length`] if `bytes` is too short, or the stride for a vector.
    pub fn new(
        kind: &Kind,
        bytes: &'a [u8],
        offset: usize,
        stride: usize,
        count: usize,
    ) -> Result<Batch<'a>, Error> {
        let vector = kind.vector_bytes();
        if stride < vector {
            return Err(Error::Length {
                expected: vector,
                actual: stride,
            });
        }
        let expected = match count.checked_sub(1) {
            None => offset,
            Some(last) => last
                .saturating_mul(stride)
                .saturating_add(vector)
                .saturating_add(offset),
        };
        match bytes.get(offset..) {
            Some(rest) if expected <= bytes.len() => Ok(Batch {
                kind: *kind,
                stride,
                count,
                bytes: rest,
            }),
            _ => Err(Error::Length {
                expected,
                actual: bytes.len(),
            }),
        }
    }

    /// A single vector.
    ///
    /// # Errors
    /// [`Error::Length`] if `bytes` is not one vector.
    pub fn one(kind: &Kind, bytes: &'a [u8]) -> Result<Batch<'a>, Error> {
        let stride = kind.vector_bytes();
        if bytes.len() != stride {
            return Err(Error::Length {
                expected: stride,
                actual: bytes.len(),
            });
        }
        Self::new(kind, bytes, 0, stride, 1)
    }

    /// Number of vectors.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// What they are.
    pub const fn kind(&self) -> &Kind {
        &self.kind
    }
}

/// Pairs of elements that [`Compute::distances`] handles in one bracket: between
/// 20 microseconds (AVX-512) and 200 (portable) on a core of 2025.
const BRACKET: usize = 1 << 19;

/// A provider of floating-point time.
///
/// Userspace has [`Userspace`]. The kernel implements it by bracketing `run` with
/// `kernel_fpu_begin` and `kernel_fpu_end`. Preemption is off in between, so `run`
/// must be short and may not sleep.
pub trait Compute {
    /// Runs `run`, once, where the floating-point unit may be used.
    fn with_fpu(&self, run: &mut dyn FnMut(&Fpu));

    /// [`Fpu::distances`] in brackets of bounded length: the queries are divided
    /// among several if they are many. The batch is not; keep it near 64 KiB.
    ///
    /// # Errors
    /// As there.
    fn distances(
        &self,
        queries: &Queries<'_>,
        batch: &Batch<'_>,
        out: &mut [Distance],
    ) -> Result<(), Error> {
        let expected = queries.count.saturating_mul(batch.count);
        if out.len() != expected {
            return Err(Error::Length {
                expected,
                actual: out.len(),
            });
        }
        let pairs = batch.count.saturating_mul(batch.kind.dim() as usize).max(1);
        let step = (BRACKET / pairs).max(1);
        let mut first = 0usize;
        let mut rest = out;
        while first < queries.count {
            let part = queries.part(first, step);
            let rows = part.count.saturating_mul(batch.count);
            let Some((here, behind)) = rest.split_at_mut_checked(rows) else {
                break; // `out` has been measured
            };
            let mut result = Ok(());
            self.with_fpu(&mut |fpu| result = fpu.distances(&part, batch, here));
            result?;
            rest = behind;
            first = first.saturating_add(step);
        }
        Ok(())
    }

    /// The distance of one pair of vectors.
    ///
    /// # Errors
    /// Whatever is wrong with the query; [`Error::Length`] if `vector` is not one of
    /// `kind`.
    fn distance(&self, kind: &Kind, query: &[u8], vector: &[u8]) -> Result<Distance, Error> {
        let mut norms = [0];
        let mut out = [Distance::INVALID];
        let queries = Queries::prepare(self, kind, query, &mut norms)?;
        self.distances(&queries, &Batch::one(kind, vector)?, &mut out)?;
        let [distance] = out;
        Ok(distance)
    }
}

/// Floating point as every process has it.
#[cfg(not(vector_math_external))]
#[derive(Clone, Copy, Debug)]
pub struct Userspace {
    /// # Invariants: the CPU has its features.
    isa: Isa,
}

#[cfg(not(vector_math_external))]
impl Userspace {
    /// With the path that needs no feature.
    pub const fn portable() -> Userspace {
        Userspace { isa: Isa::Portable }
    }

    /// With the best path of this CPU.
    #[cfg(feature = "std")]
    pub fn detect() -> Userspace {
        Userspace { isa: Isa::detect() }
    }

    /// With the given path, if this CPU can take it.
    #[cfg(feature = "std")]
    pub fn with_isa(isa: Isa) -> Option<Userspace> {
        isa.is_available().then_some(Userspace { isa })
    }

    /// The path in use.
    pub const fn isa(&self) -> Isa {
        self.isa
    }
}

#[cfg(not(vector_math_external))]
impl Compute for Userspace {
    fn with_fpu(&self, run: &mut dyn FnMut(&Fpu)) {
        // SAFETY: a process may use its registers at any time, and the CPU has
        // the features of `isa` by the invariant of Userspace.
        run(&unsafe { Fpu::claim(self.isa) });
    }
}
