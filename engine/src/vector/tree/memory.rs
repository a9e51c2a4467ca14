// SPDX-License-Identifier: GPL-2.0-only
//! Memory of operations on the search tree. The engine has none of its own; here is said how much its caller brings.

use crate::error::{Error, Result};
use crate::vector::tree::{kind, metric, with_fpu};
use ::vector::ann::{Noted, Query, QueryMemory, Rotation};
use ::vector::Compute;
use layout::partition::{Shape, FACTORS};
use layout::vector::Index;

/// How long the slices of a [`Workspace`] must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// [`Workspace::signs`].
    pub signs: usize,
    /// [`Workspace::rotated`].
    pub rotated: usize,
    /// [`Workspace::table`].
    pub table: usize,
    /// [`Workspace::bytes`].
    pub bytes: usize,
    /// [`Workspace::rows`]: by far the largest, up to 1 MiB.
    pub rows: usize,
    /// [`Workspace::centres`].
    pub centres: usize,
    /// [`Workspace::keys`], [`Workspace::side`], [`Workspace::references`] and [`Workspace::factors`].
    pub members: usize,
    /// [`Workspace::code`].
    pub code: usize,
    /// [`Workspace::codes`].
    pub codes: usize,
    /// [`Workspace::raw`].
    pub raw: usize,
}

impl Lengths {
    /// For an index.
    ///
    /// Errors: [`Error::Internal`] for a dimension that no index has.
    pub fn of(index: &Index) -> Result<Lengths> {
        let shape = super::shape(index)?;
        let padded = shape.padded();
        let [rotated, table, bytes] = QueryMemory::lengths(&shape);
        Ok(Lengths {
            signs: Rotation::memory(&shape),
            rotated,
            table,
            bytes,
            rows: shape.capacity().saturating_mul(padded),
            centres: padded.saturating_mul(3),
            members: shape.capacity(),
            code: padded,
            codes: shape.capacity().saturating_mul(padded),
            raw: index.vector_bytes(),
        })
    }
}

/// Memory of one operation that changes a tree, of the lengths of [`Lengths`] or longer. What it holds between operations means nothing.
#[derive(Debug)]
pub struct Workspace<'w> {
    /// Signs of the rotation.
    pub signs: &'w mut [u16],
    /// A vector in rotated space.
    pub rotated: &'w mut [u32],
    /// Tables of a query.
    pub table: &'w mut [u8],
    /// Bytes of a query.
    pub bytes: &'w mut [u8],
    /// The vectors of a partition's members, in rotated space.
    pub rows: &'w mut [u32],
    /// Three centroids.
    pub centres: &'w mut [u32],
    /// A key of each member.
    pub keys: &'w mut [u32],
    /// The side of each member.
    pub side: &'w mut [u8],
    /// The reference of each member.
    pub references: &'w mut [u64],
    /// A code.
    pub code: &'w mut [u8],
    /// The code of each member.
    pub codes: &'w mut [u8],
    /// The factors of each member.
    pub factors: &'w mut [[u32; FACTORS]],
    /// A vector as a slot has it.
    pub raw: &'w mut [u8],
    /// Entries that a query took an interest in.
    pub noted: &'w mut Noted,
}

/// What is needed to change search trees: time on the floating-point unit, and memory.
pub struct Builder<'c, 'w> {
    pub(crate) compute: &'c dyn Compute,
    pub(crate) memory: Workspace<'w>,
}

impl<'c, 'w> Builder<'c, 'w> {
    /// From both. The memory may be longer than an index needs.
    pub fn new(compute: &'c dyn Compute, memory: Workspace<'w>) -> Builder<'c, 'w> {
        Builder { compute, memory }
    }
}

/// The first `len` entries.
pub(crate) fn part<X>(slice: &mut [X], len: usize) -> Result<&mut [X]> {
    slice
        .get_mut(..len)
        .ok_or(Error::Internal("workspace too small for its index"))
}

/// Row `n` of rows of `padded` values.
pub(crate) fn row(rows: &[u32], padded: usize, n: usize) -> Result<&[u32]> {
    let at = n.saturating_mul(padded);
    rows.get(at..at.saturating_add(padded))
        .ok_or(Error::Internal("workspace too small for its index"))
}

/// Row `n` of rows of `padded` values, to change.
pub(crate) fn row_mut(rows: &mut [u32], padded: usize, n: usize) -> Result<&mut [u32]> {
    let at = n.saturating_mul(padded);
    rows.get_mut(at..at.saturating_add(padded))
        .ok_or(Error::Internal("workspace too small for its index"))
}

/// The rotation of an index.
pub(crate) fn rotation<'s>(
    index: &Index,
    shape: &Shape,
    signs: &'s mut [u16],
) -> Result<Rotation<'s>> {
    let signs = part(signs, Rotation::memory(shape))?;
    Rotation::derive(shape, index.tree.rotation, signs)
        .map_err(|_| Error::Internal("wrong lengths for a computation"))
}

/// Rotates a vector of an index.
pub(crate) fn rotate(
    compute: &dyn Compute,
    index: &Index,
    shape: &Shape,
    signs: &mut [u16],
    vector: &[u8],
    out: &mut [u32],
) -> Result<()> {
    let rotation = rotation(index, shape, signs)?;
    let kind = kind(index)?;
    with_fpu(compute, |fpu| fpu.rotate(&rotation, &kind, vector, out))
}

/// Makes a query of the vector that is in `rotated` already.
pub(crate) fn prepare<'q>(
    compute: &dyn Compute,
    index: &Index,
    shape: &Shape,
    rotated: &'q mut [u32],
    table: &'q mut [u8],
    bytes: &'q mut [u8],
) -> Result<Query<'q>> {
    let [r, t, b] = QueryMemory::lengths(shape);
    let memory = QueryMemory {
        rotated: part(rotated, r)?,
        table: part(table, t)?,
        bytes: part(bytes, b)?,
    };
    with_fpu(compute, |fpu| fpu.prepare(shape, metric(index), memory))
}
