// SPDX-License-Identifier: GPL-2.0-only
//! Opening, walking and reading a forged filesystem through the engine: errors, but no panic and no end without end.
#![no_main]

mod forge;

use engine::dir::parents::{self, Position};
use engine::{extent, vector, xattr};
use forge::{forged, Change};
use image::{Image, Mode};
use layout::inode::FileType;
use std::collections::HashSet;

libfuzzer_sys::fuzz_target!(|changes: Vec<Change>| {
    let dev = forged(&changes);
    let Ok(image) = Image::open_device(Box::new(dev), Mode::ReadOnly) else {
        return;
    };
    let mut todo = vec![layout::ino::ROOT];
    let mut seen = HashSet::new();
    while let Some(ino) = todo.pop() {
        if !seen.insert(ino) {
            continue;
        }
        let Ok(inode) = image.inode(ino) else { continue };
        let _ = image.path_of(ino);
        let _ = image.read(|io| parents::each(io, &inode, Position::default(), |_| Ok(true)));
        let _ = image.read(|io| xattr::list(io, &inode, |_, _, _| Ok(true)));
        let start = vector::RecordPos::START;
        let _ = image.read(|io| vector::for_each(io, &inode, start, |_| Ok(true)));
        match inode.file_type() {
            FileType::Directory => {
                for entry in image.list(&inode).unwrap_or_default() {
                    todo.push(entry.ino);
                }
            }
            FileType::Regular => {
                let _ = image.read(|io| extent::for_each(io, &inode, 0, |_| Ok(true)));
                let _ = image.read_at(&inode, inode.size / 2, &mut [0; 8192]);
            }
            FileType::Symlink => drop(image.read_link(&inode)),
            _ => {}
        }
    }
    let _ = image.read(|io| vector::list(io, 0, |_| Ok(true)));
});
