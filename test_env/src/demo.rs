// SPDX-License-Identifier: GPL-2.0-only
//! The demonstration: from mkfs to search in a guest, with a power cut in the
//! middle. Every step is shown as it would be typed, and checked: what is shown
//! to work is what works.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};

use crate::guest::{demo_disk, Config, Disk, Guest, Running, Setup};
use crate::{project, rootfs};

/// Size of the disk.
const DISK_BYTES: u64 = 4 << 30;
/// The index.
const INDEX: &str = "notes";
/// Where the file system is mounted.
const MOUNT: &str = "/mnt/vexfs";
/// Elements of a vector of all-MiniLM-L6-v2.
const DIMENSION: usize = 384;

/// The writer may be silent for so long.
const SILENCE: Duration = Duration::from_secs(120);

/// Questions that are asked, by their line in demo/queries.txt, from 0.
const ASKED: [usize; 3] = [0, 1, 2];
/// A question whose best answers are in the diary.
const PRIVATE: usize = 12;

/// Runs the demonstration.
///
/// # Errors
/// A step fails, or its result is not what it should be.
pub fn run() -> Result<()> {
    let start = Instant::now();
    let folder = project::root().join("demo");
    let questions = fs::read_to_string(folder.join("queries.txt")).context("demo/queries.txt")?;
    let questions: Vec<&str> = questions.lines().collect();

    headline("Preparing kernel, module, tools and guest");
    let setup = Setup::with_products()?;
    let single = tempfile::tempdir()?;
    split_queries(&folder.join("queries.npy"), single.path(), questions.len())?;
    setup.share(&[(&folder, "demo"), (single.path(), "query")])?;

    headline("Booting Debian's stock kernel");
    let disk = demo_disk()?;
    Disk::create(&disk, DISK_BYTES)?;
    let (device, _) = Disk::volatile(&disk)?;
    let guest = Guest::start(&setup, Config::with_disks([device]))?;
    show(&guest, "uname -r")?;
    show(&guest, "insmod /host/vexfs.ko")?;

    headline("A file system with an index of vectors");
    show(&guest, "mkfs.vexfs /dev/vdb")?;
    show(&guest, &format!("mount -t vexfs /dev/vdb {MOUNT}"))?;
    ensure!(
        show(&guest, "lsmod | grep vexfs")?.starts_with("vexfs"),
        "the module is not in use"
    );
    show(&guest, &format!("cp -a /host/demo/notes {MOUNT}/"))?;
    show(
        &guest,
        &format!("vexctl index create {MOUNT} {INDEX} --dim {DIMENSION} --metric cosine"),
    )?;
    show(
        &guest,
        &format!(
            "vexctl import {MOUNT} {INDEX} --npy /host/demo/vectors.npy --jsonl /host/demo/vectors.jsonl"
        ),
    )?;

    headline("Searching by meaning");
    for number in ASKED {
        let question = questions.get(number).context("too few questions")?;
        println!("\n  \"{question}\"");
        let found = show(&guest, &search(number, 3))?;
        ensure!(found.contains("notes/"), "no note was found");
    }
    let everything = "vexctl --json search /mnt/vexfs notes --npy /host/demo/queries.npy -k 10";
    let before = guest.run(everything)?;

    headline("The same answers after unmounting and mounting");
    show(&guest, &format!("umount {MOUNT}"))?;
    show(&guest, &format!("mount -t vexfs /dev/vdb {MOUNT}"))?;
    ensure!(guest.run(everything)? == before, "the answers have changed");
    println!("  all {} questions: identical", questions.len());

    headline("Nobody is shown a file that he could not open");
    let question = questions.get(PRIVATE).context("too few questions")?;
    println!("\n  \"{question}\", asked by root:");
    let root_found = show(&guest, &search(PRIVATE, 4))?;
    ensure!(
        root_found.contains("notes/diary/"),
        "the diary was not found"
    );
    show(&guest, &format!("chmod 700 {MOUNT}/notes/diary"))?;
    println!("\n  \"{question}\", asked by the user {}:", rootfs::USER);
    let user_found = show_as_user(&guest, &search(PRIVATE, 4))?;
    ensure!(
        !user_found.contains("notes/diary/"),
        "the diary was shown to a stranger"
    );
    ensure!(
        user_found.contains("notes/"),
        "nothing was shown in its stead"
    );

    headline("A removed note is gone from the answers");
    let best = best_path(&guest, 0)?;
    show(&guest, &format!("rm '{MOUNT}/{best}'"))?;
    let found = show(&guest, &search(0, 3))?;
    ensure!(!found.contains(&best), "{best} is still found");

    headline("The power is cut while files and vectors are written");
    println!("  $ while :; do cp -a ... ; vexctl import ... ; done &");
    let load = guest.spawn(&load_script())?;
    let rounds = wait_for_rounds(&guest, load)?;
    let losses = guest.power_cut(0x5eed)?;
    for loss in losses {
        println!("  killed in round {rounds}; of the writes not flushed, the disk kept {} sectors and lost {}", loss.kept, loss.lost);
    }
    let (device, _) = Disk::volatile(&disk)?;
    let guest = Guest::start(&setup, Config::with_disks([device]))?;
    let checked = show(&guest, "fsck.vexfs -n /dev/vdb | tail -n 2")?;
    ensure!(
        checked.contains("replayed"),
        "the journal has nothing to replay"
    );
    show(&guest, "insmod /host/vexfs.ko")?;
    show(&guest, &format!("mount -t vexfs /dev/vdb {MOUNT}"))?;
    show(&guest, "dmesg | grep -E 'vexfs|JBD2' | tail -n 3")?;
    let found = show(&guest, &search(1, 3))?;
    ensure!(found.contains("notes/"), "no note was found");
    show(&guest, &format!("ls {MOUNT} | head -4; df -h {MOUNT}"))?;
    show(&guest, &format!("umount {MOUNT}"))?;
    show(&guest, "fsck.vexfs -f -n /dev/vdb")?;
    show(
        &guest,
        "rmmod vexfs && ! grep -q '^vexfs ' /proc/modules && echo unloaded",
    )?;
    guest.shutdown()?;

    headline("Done");
    println!(
        "  in {} seconds. For a shell in such a guest, with this disk as /dev/vdb:\n",
        start.elapsed().as_secs()
    );
    println!("    make shell\n    mount -t vexfs /dev/vdb {MOUNT}\n");
    Ok(())
}

fn headline(text: &str) {
    println!("\n== {text}");
}

/// Runs a command in the guest and prints it with its output.
fn show(guest: &Guest, script: &str) -> Result<String> {
    println!("  # {script}");
    let output = guest.run(script)?;
    indent(&output);
    Ok(output)
}

fn show_as_user(guest: &Guest, script: &str) -> Result<String> {
    println!("  $ {script}");
    let output = guest.run_as_user(script)?;
    indent(&output);
    Ok(output)
}

fn indent(text: &str) {
    for line in text.lines() {
        println!("    {line}");
    }
}

fn search(question: usize, count: usize) -> String {
    format!("vexctl search {MOUNT} {INDEX} --npy /host/query/{question}.npy -k {count}")
}

/// The path of the best answer to a question.
fn best_path(guest: &Guest, question: usize) -> Result<String> {
    let text = guest.run(&format!(
        "vexctl --json search {MOUNT} {INDEX} --npy /host/query/{question}.npy -k 1"
    ))?;
    let value: serde_json::Value = serde_json::from_str(&text).context("vexctl's JSON")?;
    find_path(&value).with_context(|| format!("no path in {text}"))
}

/// The first value named `path`, however deep. The root of the mount may or may
/// not be in front; it is taken off.
fn find_path(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::Object(map) => match map.get("path") {
            Some(serde_json::Value::String(path)) => {
                let path = path.strip_prefix(MOUNT).unwrap_or(path);
                Some(path.trim_start_matches('/').to_owned())
            }
            _ => map.values().find_map(find_path),
        },
        serde_json::Value::Array(list) => list.iter().find_map(find_path),
        _ => None,
    }
}

/// Writes without end, and tells after every round that it is on the disk.
fn load_script() -> String {
    format!(
        "set -e; n=0; while :; do \
           mkdir {MOUNT}/copy$n; cp -a /host/demo/notes {MOUNT}/copy$n/; \
           sed \"s,notes/,copy$n/notes/,\" /host/demo/vectors.jsonl > /tmp/lines; \
           vexctl import {MOUNT} {INDEX} --npy /host/demo/vectors.npy --jsonl /tmp/lines > /dev/null; \
           [ $((n % 3)) -ne 0 ] || rm -r {MOUNT}/copy$n; \
           sync -f {MOUNT}; n=$((n + 1)); echo $n; \
         done"
    )
}

/// Lets a few rounds pass, and a little of the next one.
fn wait_for_rounds(guest: &Guest, mut load: Running) -> Result<usize> {
    let mut text = Vec::new();
    let mut rounds = 0;
    while rounds < 4 {
        if !guest.wait_output(&mut load, SILENCE)? {
            bail!("the writer ended: {}", load.into_output().errors());
        }
        text.extend(load.take_stdout());
        rounds = text.iter().filter(|byte| **byte == b'\n').count();
    }
    std::thread::sleep(Duration::from_millis(300));
    Ok(rounds + 1)
}

/// Writes each row of an array of float32 as an array of its own.
fn split_queries(file: &Path, to: &Path, rows: usize) -> Result<()> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let row = DIMENSION * 4;
    let data = bytes
        .len()
        .checked_sub(rows * row)
        .context("queries.npy is too short")?;
    for (number, row) in bytes[data..].chunks_exact(row).enumerate() {
        let mut header =
            format!("{{'descr': '<f4', 'fortran_order': False, 'shape': (1, {DIMENSION}), }}");
        // Magic, version and length are 10 bytes; all of it a multiple of 64, ended by a newline.
        let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
        while header.len() + 1 < padded {
            header.push(' ');
        }
        header.push('\n');
        let mut npy = b"\x93NUMPY\x01\x00".to_vec();
        npy.extend(u16::try_from(header.len())?.to_le_bytes());
        npy.extend(header.as_bytes());
        npy.extend(row);
        fs::write(to.join(format!("{number}.npy")), npy)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::find_path;

    #[test]
    fn a_path_is_found_in_json() {
        let value =
            serde_json::json!([{"query": 0, "hits": [{"distance": 0.5, "path": "/notes/a"}]}]);
        assert_eq!(find_path(&value).as_deref(), Some("notes/a"));
        assert_eq!(find_path(&serde_json::json!({"hits": []})), None);
    }
}
