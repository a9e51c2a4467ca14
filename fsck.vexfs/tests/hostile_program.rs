// SPDX-License-Identifier: GPL-2.0-only
//! fsck.vexfs as a program on damaged images: it ends by itself, in time, without a panic and with a status that its manual knows; and damage that a
//! checksum covers is reported. 100 damages, or as many as `$VEXFS_HOSTILE_TOOLS` says.

mod common;

use common::damage::Hostile;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

#[test]
fn damaged_images_are_reported() {
    let hostile = Hostile::new();
    let [clean, damaged, refused, evident] = [const { AtomicU32::new(0) }; 4];
    let rounds = hostile.rounds(|damage, path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fsck-vexfs"));
        let outcome = hostile.run(damage, command.arg("-n").arg(path));
        let text = String::from_utf8_lossy(&outcome.stdout);
        let count = match outcome.status {
            0 => &clean,
            4 => &damaged,
            8 => &refused,
            _ => panic!("{damage:?}: {outcome:?}"),
        };
        count.fetch_add(1, Ordering::Relaxed);
        assert!(!text.is_empty(), "{damage:?}: no result: {outcome:?}");
        if damage.evident {
            evident.fetch_add(1, Ordering::Relaxed);
            // A super block that cannot be used is one error: its copies can.
            assert_eq!(outcome.status, 4, "{damage:?}: {text}");
        }
    });
    let [clean, damaged, refused, evident] =
        [clean, damaged, refused, evident].map(AtomicU32::into_inner);
    println!(
        "fsck.vexfs -n on {rounds} damaged images: errors found in {damaged}, refused {refused}, clean {clean}; \
         {evident} were damages that a checksum shows, and none of them was missed"
    );
    assert_eq!(clean + damaged + refused, rounds);
    assert!(evident > rounds / 8 && damaged > rounds / 4);
}
