// SPDX-License-Identifier: GPL-2.0-only
//! `get`: a record of a file.

use anyhow::{Context as _, Result};
use half::f16;
use vector::{Element, Kind};

use super::{find_index, shown, with_backend};
use crate::backend::Access;
use crate::cli::{Cli, Record};
use crate::{model, output};

/// Runs the command.
///
/// # Errors
/// What could not be done, and why.
pub fn run(cli: &Cli, args: &Record) -> Result<()> {
    let (elements, tag) = with_backend(cli, &args.file, Access::Read, |backend| {
        let index = find_index(backend, &args.name)?;
        let (vector, tag) = backend
            .get(&index, args.label)
            .with_context(|| shown(&args.file))?;
        Ok((values(&index.kind, &vector), tag))
    })?;
    let report = model::Record {
        path: args.file.to_string_lossy().into_owned(),
        index: args.name.clone(),
        label: args.label,
        tag,
        elements,
    };
    output::print(cli.json, &report)
}

/// The values of a vector's elements; bits are 0 and 1.
fn values(kind: &Kind, vector: &[u8]) -> Vec<f32> {
    fn each<const N: usize>(vector: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        let elements = vector.chunks_exact(N).filter_map(|e| e.try_into().ok());
        elements.map(value).collect()
    }
    match kind.element() {
        Element::F32 => each(vector, f32::from_le_bytes),
        Element::F16 => each(vector, |e| f16::from_le_bytes(e).to_f32()),
        Element::I8 => each(vector, |e| f32::from(i8::from_le_bytes(e))),
        Element::Binary => (vector.iter())
            .flat_map(|byte| (0..8).map(move |bit| f32::from(byte >> bit & 1)))
            .take(kind.dim() as usize)
            .collect(),
    }
}
