// SPDX-License-Identifier: GPL-2.0-only
//! mkfs.vexfs as a program: exit status, refusals, files created or left alone, reproducible images.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn mkfs(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mkfs-vexfs"))
        .args(args)
        .env_remove("SOURCE_DATE_EPOCH")
        .output()
        .unwrap()
}

fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn path(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).to_str().unwrap().to_owned()
}

#[test]
fn creates_a_file_when_a_size_is_given_and_refuses_to_do_it_twice() {
    let dir = TempDir::new().unwrap();
    let image = path(&dir, "a.img");
    let out = mkfs(&["-L", "first", &image, "64M"]);
    assert!(out.status.success(), "{}", stderr(&out));
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(
        text.contains("16384 blocks") && text.contains("Label: first"),
        "{text}"
    );
    assert_eq!(fs::metadata(&image).unwrap().len(), 64 << 20);

    let again = mkfs(&[&image]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        stderr(&again).contains("VexFS; use -F"),
        "{}",
        stderr(&again)
    );
    assert!(mkfs(&["-F", "-q", &image]).status.success());
}

#[test]
fn without_a_size_a_missing_file_is_an_error_and_stays_missing() {
    let dir = TempDir::new().unwrap();
    let image = path(&dir, "none.img");
    let out = mkfs(&[&image]);
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("give a size"), "{}", stderr(&out));
    assert!(!Path::new(&image).exists());
    let out = mkfs(&[&image, "100"]);
    assert!(stderr(&out).contains("too few"), "{}", stderr(&out));
    assert!(!Path::new(&image).exists());
}

#[test]
fn foreign_contents_are_named_and_kept() {
    let dir = TempDir::new().unwrap();
    let image = path(&dir, "ext.img");
    let mut bytes = vec![0; 32 << 20];
    bytes[0x438] = 0x53;
    bytes[0x439] = 0xef;
    fs::write(&image, &bytes).unwrap();
    let out = mkfs(&[&image]);
    assert_eq!(out.status.code(), Some(1));
    assert!(
        stderr(&out).contains("ext2, ext3 or ext4"),
        "{}",
        stderr(&out)
    );
    assert!(fs::read(&image).unwrap() == bytes);
}

#[test]
fn a_dry_run_reports_the_same_and_writes_nothing() {
    let dir = TempDir::new().unwrap();
    let image = path(&dir, "dry.img");
    fs::write(&image, vec![0xaa; 32 << 20]).unwrap();
    let fixed = ["-U", "00000000-0000-4000-8000-000000000001", "--json"];
    let args = |extra: &[&'static str]| {
        let mut v: Vec<String> = fixed.iter().chain(extra).map(|s| s.to_string()).collect();
        v.push(image.clone());
        v
    };
    let run = |extra: &[&'static str]| {
        let v = args(extra);
        let out = mkfs(&v.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(out.status.success(), "{}", stderr(&out));
        serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap()
    };
    let mut dry = run(&["-n"]);
    assert!(fs::read(&image).unwrap().iter().all(|b| *b == 0xaa));
    let real = run(&[]);
    assert_eq!(dry["dry_run"], true);
    dry["dry_run"] = false.into();
    assert_eq!(dry, real);
}

#[test]
fn reproducible_images_are_equal() {
    let dir = TempDir::new().unwrap();
    let make = |name: &str| {
        let image = path(&dir, name);
        let status = Command::new(env!("CARGO_BIN_EXE_mkfs-vexfs"))
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .args(["-q", "-U", "00000000-0000-4000-8000-000000000001"])
            .args([
                "-E",
                "hash_seed=00000000-0000-4000-8000-000000000002",
                &image,
                "32M",
            ])
            .status()
            .unwrap();
        assert!(status.success());
        fs::read(&image).unwrap()
    };
    assert!(make("a") == make("b"));
}

#[test]
fn sixteen_tebibytes_take_a_few_megabytes() {
    use std::os::unix::fs::MetadataExt;
    let dir = TempDir::new().unwrap();
    let image = path(&dir, "big.img");
    // Not every filesystem has files of that size; a smaller one shows the same.
    let size = ["16T", "8T", "1T"]
        .into_iter()
        .find(|size| {
            let out = mkfs(&["-q", &image, size]);
            let limit = stderr(&out).contains("File too large");
            assert!(out.status.success() || limit, "{}", stderr(&out));
            out.status.success()
        })
        .unwrap();
    let meta = fs::metadata(&image).unwrap();
    println!("{size}: {} KiB on disk", meta.blocks() / 2);
    assert!(meta.blocks() * 512 < 16 << 20);
}

#[test]
fn usage_errors_exit_with_1_and_help_with_0() {
    assert_eq!(mkfs(&[]).status.code(), Some(1));
    assert_eq!(mkfs(&["--what", "x"]).status.code(), Some(1));
    assert_eq!(mkfs(&["-b", "1024", "x", "1G"]).status.code(), Some(1));
    assert_eq!(mkfs(&["--help"]).status.code(), Some(0));
    assert_eq!(mkfs(&["--version"]).status.code(), Some(0));
}

#[test]
fn directories_and_character_devices_are_refused() {
    let dir = TempDir::new().unwrap();
    for target in [dir.path().to_str().unwrap(), "/dev/null"] {
        let out = mkfs(&["-F", target]);
        assert_eq!(out.status.code(), Some(1));
        assert!(stderr(&out).contains("neither"), "{}", stderr(&out));
    }
}

#[test]
fn a_file_is_extended_to_the_size_asked_for() {
    let dir = TempDir::new().unwrap();
    let image = path(&dir, "grow.img");
    fs::write(&image, b"").unwrap();
    let out = mkfs(&["-q", &image, "64M"]);
    assert!(out.status.success(), "{}", stderr(&out));
    assert_eq!(fs::metadata(&image).unwrap().len(), 64 << 20);
}
