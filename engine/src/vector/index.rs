// SPDX-License-Identifier: GPL-2.0-only
//! The index table: making indexes, finding them by name and number, listing them, changing their permissions, and the first
//! step of dropping one. It may not touch segments or records.
//!
//! Numbers are never given twice: the table keeps the highest one that ever was. So a number kept somewhere (a directory's default,
//! a search that pauses between steps) never leads to another index than it meant.

use super::{table, STORE_SYSTEM_CREDITS};
use crate::budget;
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::inode;
use crate::io::{ReadBlocks, Transaction};
use crate::space;
use crate::tree::{self, Which};
use layout::btree::Key;
use layout::bytes::u32_at;
use layout::dirent::siphash24;
use layout::efforts::Efforts;
use layout::inode::Inode;
use layout::vector::{
    counter_key, index_key, name_key, parse_name, write_name, Element, Index, IndexName, Metric,
    Tree, CLASS_INDEX, MAX_DIM, NAME_COLLISIONS, NAME_VALUE_MAX,
};

const MODE_BITS: u16 = 0o777;

/// What the maker of an index decides.
#[derive(Clone, Copy, Debug)]
pub struct NewIndex<'a> {
    /// Name, as [`IndexName::new`] wants it.
    pub name: &'a [u8],
    /// Elements of a vector, 1 to [`MAX_DIM`].
    pub dim: u32,
    /// Element type.
    pub element: Element,
    /// Metric.
    pub metric: Metric,
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Block to name in errors about entries of the table.
pub(crate) fn table_block<R: ReadBlocks>(io: &R, table: &Inode) -> u64 {
    let root = table.data.root().map(|(block, _)| block);
    let home = io.sb().geometry.inode_place(table.ino).map(|p| p.block);
    root.or(home).unwrap_or(0)
}

/// The index `id` as the table has it, also one that is being dropped.
pub(crate) fn read<R: ReadBlocks>(io: &R, table: &Inode, id: u32) -> Result<Option<Index>> {
    tree::get(io, table, Which::Data, &index_key(id), |v| {
        Index::parse(id, v).map_err(|e| Error::corrupt(table_block(io, table), e.0))
    })
}

/// The index `id`.
///
/// Errors: [`Error::NotFound`] if there is none or it is being dropped; [`Error::Corrupt`], [`Error::Io`].
#[inline(never)]
pub fn load<R: ReadBlocks>(io: &R, id: u32) -> Result<Index> {
    load_any(io, id)?
        .filter(|i| !i.dropping)
        .ok_or(Error::NotFound)
}

/// The index `id`, also one that is being dropped.
pub(crate) fn load_any<R: ReadBlocks>(io: &R, id: u32) -> Result<Option<Index>> {
    read(io, &table(io)?, id)
}

/// Where a name stands, or could.
struct Place {
    /// Key and id of the entry of that name.
    found: Option<(Key, u32)>,
    /// The first key of its hash that is free.
    free: Option<Key>,
}

fn name_place<R: ReadBlocks>(io: &R, table: &Inode, name: &IndexName) -> Result<Place> {
    let first = name_key(&io.sb().raw.hash_seed, name);
    let mut found = None;
    let mut next = 0u64;
    tree::walk(io, table, Which::Data, &first, |k, v| {
        if k.a() != first.a() {
            return Ok(false);
        }
        let (id, n) = parse_name(v).map_err(|e| Error::corrupt(table_block(io, table), e.0))?;
        if n == *name {
            found = Some((*k, id));
            return Ok(false);
        }
        if k.b() == next {
            next = next.saturating_add(1);
        }
        Ok(true)
    })?;
    Ok(Place {
        found,
        free: (next < NAME_COLLISIONS).then_some(Key::two(first.a(), next)),
    })
}

/// The index called `name`.
///
/// Errors: [`Error::NotFound`], also for names that no index can have; [`Error::Corrupt`], [`Error::Io`].
pub fn find<R: ReadBlocks>(io: &R, name: &[u8]) -> Result<Index> {
    let name = IndexName::new(name).map_err(|_| Error::NotFound)?;
    let table = table(io)?;
    let (_, id) = name_place(io, &table, &name)?
        .found
        .ok_or(Error::NotFound)?;
    let bad = Error::corrupt(
        table_block(io, &table),
        "name of an index leads to no index of that name",
    );
    let index = read(io, &table, id)?.ok_or(bad)?;
    if index.dropping || index.name != name {
        return Err(bad);
    }
    Ok(index)
}

/// Gives the indexes with numbers above `after` that can be used, by number, to `f`, until it returns `Ok(false)`.
pub fn list<R: ReadBlocks>(
    io: &R,
    after: u32,
    mut f: impl FnMut(&Index) -> Result<bool>,
) -> Result<()> {
    walk(io, after, |index| {
        if index.dropping {
            return Ok(true);
        }
        f(index)
    })
}

fn walk<R: ReadBlocks>(
    io: &R,
    after: u32,
    mut f: impl FnMut(&Index) -> Result<bool>,
) -> Result<()> {
    let table = table(io)?;
    let Some(from) = after.checked_add(1) else {
        return Ok(());
    };
    tree::walk(io, &table, Which::Data, &index_key(from), |k, v| {
        if k.a() != CLASS_INDEX {
            return Ok(false);
        }
        let bad = |what| Error::corrupt(table_block(io, &table), what);
        let id = u32::try_from(k.b()).map_err(|_| bad("index number out of range"))?;
        f(&Index::parse(id, v).map_err(|e| bad(e.0))?)
    })
}

/// The first index with a number above `after` that is being dropped: mount asks from 0 and finishes each with
/// [`super::drop_step`].
pub fn next_dropping<R: ReadBlocks>(io: &R, after: u32) -> Result<Option<u32>> {
    let mut found = None;
    walk(io, after, |index| {
        if index.dropping {
            found = Some(index.id);
        }
        Ok(found.is_none())
    })?;
    Ok(found)
}

/// The index that files of directory `dir` belong to by default, if it has one and that still exists.
pub fn inherited<R: ReadBlocks>(io: &R, dir: &Inode) -> Result<Option<Index>> {
    if dir.default_index == 0 {
        return Ok(None);
    }
    match load(io, dir.default_index) {
        Ok(index) => Ok(Some(index)),
        Err(Error::NotFound) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Writes an index to the table in memory of `table`.
pub(crate) fn write<T: Transaction>(
    cx: &mut Cx<'_, T>,
    table: &mut Inode,
    index: &Index,
) -> Result<()> {
    tree::replace(
        cx,
        table,
        Which::Data,
        &index_key(index.id),
        &index.to_bytes(),
    )
}

/// Blocks that [`create`] may change.
pub fn create_credits<R: ReadBlocks>(io: &R) -> Result<u32> {
    let table = table(io)?;
    Ok(budget::credits(&table, Which::Data, 3).saturating_add(STORE_SYSTEM_CREDITS))
}

/// Makes an empty index.
///
/// Errors, clean: [`Error::Range`] for a name, dimension or mode that cannot be, [`Error::Exists`], [`Error::NoSpace`],
/// [`Error::HashFull`], [`Error::TooBig`] if all numbers were given. The dirty ones.
pub fn create<T: Transaction>(cx: &mut Cx<'_, T>, new: &NewIndex<'_>) -> Result<Index> {
    let name = IndexName::new(new.name).map_err(|e| Error::Range(e.0))?;
    if new.dim == 0 || new.dim > MAX_DIM {
        return Err(Error::Range("dimension out of range"));
    }
    if new.mode & !MODE_BITS != 0 {
        return Err(Error::Range("mode of an index out of range"));
    }
    let mut table = table(cx.io)?;
    let place = name_place(cx.io, &table, &name)?;
    if place.found.is_some() {
        return Err(Error::Exists);
    }
    let key = place.free.ok_or(Error::HashFull)?;
    let block = table_block(cx.io, &table);
    let last = tree::get(cx.io, &table, Which::Data, &counter_key(), |v| {
        u32_at(v, 0)
            .filter(|_| v.len() == 4)
            .ok_or(Error::corrupt(block, "counter of index numbers damaged"))
    })?;
    let id = last.unwrap_or(0).checked_add(1).ok_or(Error::TooBig)?;
    space::require(cx, budget::new_blocks(&table, Which::Data, 3))?;
    let index = Index {
        id,
        dim: new.dim,
        element: new.element,
        metric: new.metric,
        mode: new.mode,
        uid: new.uid,
        gid: new.gid,
        dropping: false,
        records: 0,
        segments: 0,
        next_segment: 0,
        free_slots: 0,
        hint: 0,
        made_at: cx.now.sec,
        name,
        tree: Tree {
            rotation: siphash24(&cx.io.sb().raw.hash_seed, &id.to_le_bytes()),
            ..Tree::default()
        },
        efforts: Efforts::default(),
        graph: 0,
    };
    let mut value = [0; NAME_VALUE_MAX];
    let value = write_name(id, &name, &mut value).map_err(|e| Error::Range(e.0))?;
    let w = Which::Data;
    let t = &mut table;
    let counter = id.to_le_bytes();
    if last.is_some() {
        tree::replace(cx, t, w, &counter_key(), &counter).map_err(Error::late)?;
    } else {
        tree::insert(cx, t, w, &counter_key(), &counter).map_err(Error::late)?;
    }
    tree::insert(cx, t, w, &index_key(id), &index.to_bytes()).map_err(Error::late)?;
    tree::insert(cx, t, w, &key, value).map_err(Error::late)?;
    inode::store(cx, &table).map_err(Error::late)?;
    Ok(index)
}

/// Blocks that [`set_permissions`] and [`set_efforts`] change.
pub const SET_CREDITS: u32 = 1 + STORE_SYSTEM_CREDITS;

/// Changes owner, group and permission bits of an index.
///
/// Errors: clean [`Error::NotFound`], [`Error::Range`]; the dirty ones.
pub fn set_permissions<T: Transaction>(
    cx: &mut Cx<'_, T>,
    id: u32,
    mode: u16,
    uid: u32,
    gid: u32,
) -> Result<Index> {
    if mode & !MODE_BITS != 0 {
        return Err(Error::Range("mode of an index out of range"));
    }
    let mut index = load(cx.io, id)?;
    index.mode = mode;
    index.uid = uid;
    index.gid = gid;
    let mut table = table(cx.io)?;
    write(cx, &mut table, &index)?;
    inode::store(cx, &table).map_err(Error::late)?;
    Ok(index)
}

/// Notes what searching an index was found to take.
///
/// Errors: clean [`Error::NotFound`]; the dirty ones.
pub fn set_efforts<T: Transaction>(cx: &mut Cx<'_, T>, id: u32, efforts: Efforts) -> Result<()> {
    let mut index = load(cx.io, id)?;
    index.efforts = efforts;
    let mut table = table(cx.io)?;
    write(cx, &mut table, &index)?;
    inode::store(cx, &table).map_err(Error::late)
}

/// Blocks that [`drop_begin`] may change.
pub fn drop_begin_credits<R: ReadBlocks>(io: &R) -> Result<u32> {
    let table = table(io)?;
    Ok(tree::credits(&table, Which::Data)
        .saturating_add(1)
        .saturating_add(STORE_SYSTEM_CREDITS))
}

/// Begins to drop an index: from this transaction on it cannot be found or used, and its name is free. What it holds is freed by
/// [`super::drop_step`], after a crash too.
///
/// Errors: clean [`Error::NotFound`]; the dirty ones. Needs no space.
pub fn drop_begin<T: Transaction>(cx: &mut Cx<'_, T>, id: u32) -> Result<()> {
    let mut table = table(cx.io)?;
    let mut index = read(cx.io, &table, id)?
        .filter(|i| !i.dropping)
        .ok_or(Error::NotFound)?;
    let bad = Error::corrupt(table_block(cx.io, &table), "an index has no name entry");
    let (key, named) = name_place(cx.io, &table, &index.name)?.found.ok_or(bad)?;
    if named != id {
        return Err(bad);
    }
    index.dropping = true;
    write(cx, &mut table, &index)?;
    tree::remove(cx, &mut table, Which::Data, &key).map_err(Error::late)?;
    inode::store(cx, &table).map_err(Error::late)
}
