// SPDX-License-Identifier: GPL-2.0-only
//! fsck.vexfs as a program: exit status, text, JSON, progress, and that it writes nothing.

mod common;

use common::*;
use image::device::{Device, FileDevice, MemDevice};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn fsck_program(args: &[&str], path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fsck-vexfs"))
        .args(args)
        .arg(path)
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Stores a device in a file.
fn store(dev: &MemDevice, path: &Path) {
    let file = FileDevice::create(path, dev.size()).unwrap();
    for number in dev.written_blocks() {
        write_block(&file, number, &read_block(dev, number));
    }
    file.flush().unwrap();
}

/// A file with the populated filesystem, damaged or not.
fn image(dir: &TempDir, damage: impl FnOnce(&MemDevice)) -> std::path::PathBuf {
    let dev = populated();
    damage(&dev);
    let path = dir.path().join("image");
    store(&dev, &path);
    path
}

/// Makes the link count of one file wrong.
fn wrong_links(dev: &MemDevice) {
    forge_inode(dev, ino_of(dev, "dir/inline"), |inode| inode.links = 7);
}

#[test]
fn clean_is_0_and_says_what_there_is() {
    let dir = TempDir::new().unwrap();
    let path = image(&dir, |_| {});
    let output = fsck_program(&["-n"], &path);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let text = out(&output);
    for part in [
        "Pass 0: super block",
        "Pass 7:",
        "clean",
        "2 vector indexes with 37 records",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(err(&output), "");
}

#[test]
fn errors_are_4_and_nothing_is_written_whatever_is_asked() {
    let dir = TempDir::new().unwrap();
    let path = image(&dir, wrong_links);
    let before = fs::read(&path).unwrap();
    for mode in [&["-n"][..], &["-y"], &["-p", "-f"], &["-a", "-f"], &[]] {
        let output = fsck_program(mode, &path);
        assert_eq!(output.status.code(), Some(4), "{mode:?}");
        assert!(
            out(&output).contains("[320] error: inode"),
            "{}",
            out(&output)
        );
        let says = err(&output).contains("cannot repair");
        assert_eq!(says, mode != ["-n"], "{mode:?}: {}", err(&output));
    }
    assert!(fs::read(&path).unwrap() == before);
}

#[test]
fn preen_skips_what_was_closed_cleanly_unless_forced() {
    let dir = TempDir::new().unwrap();
    let path = image(&dir, wrong_links);
    let output = fsck_program(&["-p"], &path);
    assert_eq!(output.status.code(), Some(0));
    assert!(out(&output).contains("not checked"), "{}", out(&output));
}

#[test]
fn an_open_journal_is_replayed_in_memory_and_checked_by_preen() {
    let dir = TempDir::new().unwrap();
    let dev = std::rc::Rc::new(fresh(40_000));
    let mut open_image = open(&dev);
    open_image.create("file", &FILE).unwrap();
    open_image.sync().unwrap();
    drop(open_image);
    let path = dir.path().join("image");
    store(&dev, &path);
    let output = fsck_program(&["-p"], &path);
    assert_eq!(output.status.code(), Some(0), "{}", out(&output));
    assert!(
        out(&output).contains("replayed in memory"),
        "{}",
        out(&output)
    );
}

#[test]
fn no_filesystem_is_8_and_usage_is_16() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("zeros");
    fs::write(&path, vec![0; 1 << 20]).unwrap();
    let output = fsck_program(&[], &path);
    assert_eq!(output.status.code(), Some(8));
    assert!(
        err(&output).contains("is this a VexFS filesystem"),
        "{}",
        err(&output)
    );
    assert_eq!(
        fsck_program(&[], &dir.path().join("missing")).status.code(),
        Some(8)
    );
    assert_eq!(fsck_program(&["-n", "-y"], &path).status.code(), Some(16));
    assert_eq!(fsck_program(&["--what"], &path).status.code(), Some(16));
    assert_eq!(fsck_program(&["--help"], &path).status.code(), Some(0));
}

#[test]
fn json_has_every_problem_with_number_name_and_place() {
    let dir = TempDir::new().unwrap();
    let path = image(&dir, wrong_links);
    let output = fsck_program(&["-n", "--json"], &path);
    assert_eq!(output.status.code(), Some(4));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["status"], "errors");
    assert_eq!((&json["errors"], &json["warnings"]), (&1.into(), &0.into()));
    assert_eq!(json["records"], 37);
    let problem = &json["problems"][0];
    assert_eq!(problem["code"], 320);
    assert_eq!(problem["name"], "LinkCount");
    assert_eq!(problem["severity"], "error");
    assert_eq!(problem["pass"], 3);
    assert!(problem["inode"].as_u64().is_some_and(|n| n >= 16));
    assert_eq!(json["counts"][0]["count"], 1);
}

#[test]
fn more_problems_of_a_kind_than_the_limit_are_counted() {
    let dir = TempDir::new().unwrap();
    let path = image(&dir, |dev| {
        for n in 0..30 {
            let name = format!("many/a file with quite a long name, number {n:05}");
            forge_inode(dev, ino_of(dev, &name), |inode| inode.links = 9);
        }
    });
    let output = fsck_program(&["-n", "--limit", "5"], &path);
    assert_eq!(out(&output).matches("[320]").count(), 5);
    assert!(out(&output).contains("30 errors"), "{}", out(&output));
    assert!(out(&output).contains("counted, not shown"));
    let output = fsck_program(&["-n", "--limit", "0"], &path);
    assert_eq!(out(&output).matches("[320]").count(), 30);
}

#[test]
fn progress_goes_to_the_descriptor_given() {
    let dir = TempDir::new().unwrap();
    let path = image(&dir, |_| {});
    let lines = dir.path().join("progress");
    let program = env!("CARGO_BIN_EXE_fsck-vexfs");
    let status = Command::new("sh")
        .args([
            "-c",
            "exec \"$0\" -n -C5 \"$1\" 5>\"$2\" >/dev/null",
            program,
        ])
        .args([&path, &lines])
        .status()
        .unwrap();
    assert!(status.success());
    let text = fs::read_to_string(lines).unwrap();
    let passes: Vec<_> = text.lines().filter_map(|l| l.split(' ').next()).collect();
    for pass in 0..8 {
        assert!(passes.contains(&pass.to_string().as_str()), "{text}");
    }
}

#[test]
fn the_catalogue_is_printed() {
    let output = Command::new(env!("CARGO_BIN_EXE_fsck-vexfs"))
        .arg("--list-problems")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = out(&output);
    assert_eq!(text.lines().count(), fsck_vexfs::Code::ALL.len());
    assert!(text.contains("320\tLinkCount\terror\t"), "{text}");
}
