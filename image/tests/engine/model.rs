// SPDX-License-Identifier: GPL-2.0-only
//! Random operations on an image and on a model of it: both must agree, and fsck must find nothing, whatever happens: closing, power cuts, I/O errors.

use std::rc::Rc;

use crate::common::{formatted, fsck, step, Model, Random};
use image::device::{Fault, FaultDevice, MemDevice, PowerCutDevice};
use image::{Image, Mode};

const BLOCKS: u64 = 8000;

#[test]
fn random_operations_agree_with_the_model_and_fsck_finds_nothing() {
    for seed in 0..8 {
        let mut random = Random::new(seed);
        let device = Rc::new(formatted(BLOCKS));
        let open = || Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadWrite).unwrap();
        let mut image = open();
        let empty = image.space().free_blocks;
        let mut model = Model::default();
        for n in 0..600 {
            step(&mut image, &mut model, &mut Model::default(), &mut random);
            if n % 100 == 99 {
                if let Some(difference) = model.difference(&image) {
                    panic!("seed {seed}, step {n}: {difference}");
                }
                image.close().unwrap();
                fsck(&*device, &format!("seed {seed}, step {n}"));
                image = open();
            }
        }
        // Everything removed: every block comes back, but for what the tables of the system keep.
        let top: Vec<_> = image.list(&image.resolve("/").unwrap()).unwrap();
        for entry in top {
            remove(
                &mut image,
                &format!("/{}", String::from_utf8(entry.name).unwrap()),
            );
        }
        // An index without records keeps a leaf until its tree is tidied.
        for index in image.list_indexes().unwrap() {
            image.tidy_index(index.id).unwrap();
        }
        image.sync().unwrap();
        assert_eq!(image.space().free_blocks, empty, "seed {seed}");
        image.close().unwrap();
        fsck(&*device, &format!("seed {seed}, empty"));
    }
}

fn remove(image: &mut Image, path: &str) {
    let inode = image.resolve_no_follow(path).unwrap();
    if !inode.is_dir() {
        return image.unlink(path).unwrap();
    }
    for entry in image.list(&inode).unwrap() {
        remove(
            image,
            &format!("{path}/{}", String::from_utf8(entry.name).unwrap()),
        );
    }
    image.rmdir(path).unwrap();
}

#[test]
fn every_power_cut_leaves_a_consistent_filesystem_with_everything_that_was_synced() {
    let mut outcomes = 0;
    for seed in 100..104 {
        let mut random = Random::new(seed);
        let device = Rc::new(PowerCutDevice::new(formatted(BLOCKS)));
        let mut image = Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadWrite).unwrap();
        let mut model = Model::default();
        // The states at each sync. The last is the one that file data may be changed under.
        let mut states = vec![model.clone()];
        for sync in 1..25 {
            for _ in 0..random.below(10) {
                let last = states.last_mut().unwrap();
                step(&mut image, &mut model, last, &mut random);
            }
            states.push(model.clone());
            image.sync().unwrap();
            device.mark(sync);
            if random.below(6) == 0 {
                image.checkpoint().unwrap();
            }
        }
        image.close().unwrap();

        device.each_cut(|cut| {
            for chance in [0, 1, 2 + cut.after as u64, 3 + cut.after as u64] {
                let what = format!(
                    "seed {seed}, cut after {} accesses, chance {chance}",
                    cut.after
                );
                let outcome = Rc::new(cut.outcome(chance));
                fsck(&*outcome, &what);
                let image = Image::open_device(Box::new(Rc::clone(&outcome)), Mode::ReadWrite)
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                let acknowledged = cut.mark.unwrap_or(0) as usize;
                let differences: Vec<_> = states[acknowledged..]
                    .iter()
                    .take(2)
                    .map_while(|state| state.difference(&image))
                    .collect();
                let allowed = states[acknowledged..].len().min(2);
                assert!(
                    differences.len() < allowed,
                    "{what}: neither sync {acknowledged} nor the next: {differences:#?}"
                );
                image.close().unwrap();
                fsck(&*outcome, &format!("{what}, after recovery"));
                outcomes += 1;
            }
        });
    }
    println!("{outcomes} outcomes of power cuts, each checked by fsck and against the model");
    assert!(outcomes > 1000);
}

#[test]
fn an_io_error_at_any_access_leaves_a_consistent_filesystem() {
    let base = formatted(BLOCKS);
    let mut met = 0;
    for n in (0..).step_by(3) {
        let mut hit = false;
        for (fault, lasting) in [
            (Fault::Read(n), false),
            (Fault::Write(n), false),
            (Fault::Write(n), true),
            (Fault::Flush(n), true),
        ] {
            let what = format!("{fault:?}, lasting: {lasting}");
            let device = Rc::new(FaultDevice::new(MemDevice::clone(&base)));
            let mut image =
                Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadWrite).unwrap();
            device.set(fault, lasting);
            let error = fill(&mut image).and_then(|()| image.close()).err();
            assert_eq!(error.is_some(), device.was_hit(), "{what}: {error:?}");
            hit |= device.was_hit();
            device.clear();
            fsck(&*device, &what);
            let image = Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadWrite).unwrap();
            image.close().unwrap();
            fsck(&*device, &format!("{what}, after recovery"));
        }
        if !hit {
            break;
        }
        met += 1;
    }
    assert!(met > 10, "{met}");
}

/// Some work with every kind of operation, which stops at the first error.
fn fill(image: &mut Image) -> image::Result<()> {
    for round in 0..6 {
        image.mkdir(format!("d{round}"))?;
        for n in 0..12 {
            let path = format!("d{round}/file {n}");
            let new = engine::inode::NewInode {
                mode: layout::inode::mode::REGULAR | 0o600,
                ..Default::default()
            };
            let ino = image.create(&path, &new)?.ino;
            image.write_at(ino, 0, &vec![n as u8 + 1; 1 << n])?;
            if n % 3 == 0 {
                let index = image.find_index(b"index")?.id;
                let elements = [0; 32];
                let records: Vec<_> = (0..20)
                    .map(|label| image::ops::NewRecord {
                        label,
                        tag: 0,
                        elements: &elements,
                    })
                    .collect();
                image.put_records(ino, index, &records)?;
            }
        }
        image.sync()?;
        for n in (0..12).step_by(2) {
            image.unlink(format!("d{round}/file {n}"))?;
        }
        image.rename(
            format!("d{round}/file 1"),
            format!("d{round}/file 3"),
            Default::default(),
        )?;
        if round % 2 == 1 {
            image.checkpoint()?;
        }
    }
    Ok(())
}
