// SPDX-License-Identifier: GPL-2.0-only
//! Locations: which leaf of the search tree a slot's record has its entry in, and which node of the graph is its, so that both are found when the record goes. It may
//! not know what they look like.

use super::segment::Segment;
use crate::error::{Error, Result};
use crate::io::{ReadBlocks, Transaction};
use layout::block::{read_header, BlockKind};
use layout::segment::{location, put_location};
use layout::segment::{node as node_of, put_node};
use layout::Block;

/// Blocks that setting one location may change.
pub(crate) const LOCATION_CREDITS: u32 = 1;

fn check(segment: &Segment, block: u64, data: &Block) -> Result<()> {
    let owner = read_header(data, BlockKind::Locations)
        .map_err(Error::at(block))?
        .owner;
    if owner != u64::from(segment.index) {
        return Err(Error::corrupt(block, "locations of another index"));
    }
    Ok(())
}

/// The leaf that has the entry of slot `slot`, which is in use; 0 if none has.
pub(crate) fn get<R: ReadBlocks>(io: &R, segment: &Segment, slot: u32) -> Result<u64> {
    let block = segment.location_block(slot);
    let data = io.read(block, BlockKind::Locations)?;
    check(segment, block, &data)?;
    location(&data, slot).ok_or(Error::Internal("location outside its block"))
}

/// Notes the leaf that has the entry of slot `slot`, which is in use.
pub(crate) fn set<T: Transaction>(io: &T, segment: &Segment, slot: u32, leaf: u64) -> Result<()> {
    let block = segment.location_block(slot);
    let mut data = io.modify(block, BlockKind::Locations)?;
    check(segment, block, &data)?;
    put_location(&mut data, slot, leaf).ok_or(Error::Internal("location outside its block"))
}

/// The reference of the node of slot `slot`, which is in use; 0 if it has none.
pub(crate) fn node<R: ReadBlocks>(io: &R, segment: &Segment, slot: u32) -> Result<u64> {
    let block = segment.location_block(slot);
    let data = io.read(block, BlockKind::Locations)?;
    check(segment, block, &data)?;
    node_of(&data, slot).ok_or(Error::Internal("location outside its block"))
}

/// Notes the node of slot `slot`, which is in use.
pub(crate) fn set_node<T: Transaction>(
    io: &T,
    segment: &Segment,
    slot: u32,
    node: u64,
) -> Result<()> {
    let block = segment.location_block(slot);
    let mut data = io.modify(block, BlockKind::Locations)?;
    check(segment, block, &data)?;
    put_node(&mut data, slot, node).ok_or(Error::Internal("location outside its block"))
}
