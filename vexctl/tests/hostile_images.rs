// SPDX-License-Identifier: GPL-2.0-only
//! vexctl --img on damaged images: every command ends by itself, in time, without a panic, done or with a reason. And an answer that it gives is right:
//! unless the damage came with valid checksums, what is printed is what is printed without the damage. 100 damages, or as many as
//! `$VEXFS_HOSTILE_TOOLS` says.

#[path = "../../fsck.vexfs/tests/common/mod.rs"]
mod images;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use images::damage::{Hostile, Outcome};

/// What is asked of every image.
const QUESTIONS: [&[&str]; 5] = [
    &["index", "list", "/"],
    &["search", "/", "notes", "--npy", "queries.npy", "-k", "10"],
    &["search", "/", "other", "--npy", "queries.npy", "-k", "1000"],
    &["get", "/dir/file", "other", "--label", "7"],
    &["stat", "/"],
];

/// Asks a question. The image lies in the current folder, so that its name is the same for all.
fn ask(hostile: &Hostile, what: &dyn std::fmt::Debug, image: &Path, question: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vexctl"));
    command.current_dir(image.parent().unwrap());
    command
        .args(["--img", "image", "--json"])
        .args(question.iter().map(|word| match *word {
            "queries.npy" => "../queries.npy",
            word => word,
        }));
    hostile.run(what, &mut command)
}

#[test]
fn damaged_images_give_right_answers_or_reasons() {
    let hostile = Hostile::new();
    let sound = hostile.file("sound");
    let rows = [1, 17].map(images::elements).concat();
    let mut header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': (2, {}), }}",
        images::DIM
    );
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let length = (header.len() as u16).to_le_bytes();
    let npy = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), &rows].concat();
    std::fs::write(sound.parent().unwrap().with_file_name("queries.npy"), npy).unwrap();
    let answers = QUESTIONS.map(|question| {
        let outcome = ask(&hostile, &"sound image", &sound, question);
        assert_eq!(outcome.status, 0, "{question:?}: {outcome:?}");
        outcome.stdout
    });

    let [same, other, refused, unharmed] = [const { AtomicU32::new(0) }; 4];
    let rounds = hostile.rounds(|damage, image| {
        let mut all_same = true;
        for (question, answer) in QUESTIONS.iter().zip(&answers) {
            let outcome = ask(&hostile, damage, image, question);
            let count = match outcome.status {
                0 if outcome.stdout == *answer => &same,
                0 => &other,
                1 => &refused,
                _ => panic!("{damage:?}: {question:?}: {outcome:?}"),
            };
            count.fetch_add(1, Ordering::Relaxed);
            all_same &= outcome.status == 0 && outcome.stdout == *answer;
            if outcome.status == 0 {
                assert_eq!(outcome.stderr, "", "{damage:?}: {question:?}");
                assert!(
                    damage.resealed || outcome.stdout == *answer,
                    "{damage:?}: {question:?}: a wrong answer: {outcome:?}"
                );
            } else {
                assert!(
                    outcome.stderr.starts_with("vexctl: "),
                    "{damage:?}: {question:?}: no reason: {outcome:?}"
                );
            }
        }
        unharmed.fetch_add(u32::from(all_same), Ordering::Relaxed);
    });
    let [same, other, refused, unharmed] =
        [same, other, refused, unharmed].map(AtomicU32::into_inner);
    println!(
        "vexctl --img on {rounds} damaged images, {} commands on each: {same} right answers, {refused} refused with a reason, \
         {other} other answers, all of them to damage with valid checksums; {unharmed} images gave all answers",
        QUESTIONS.len()
    );
    assert_eq!(same + other + refused, rounds * QUESTIONS.len() as u32);
    assert!(refused > rounds / 8 && same > rounds / 8);
}
