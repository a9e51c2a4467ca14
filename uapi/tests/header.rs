// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! `vexfs.h` says the same as the crate: the C compiler is made to compare sizes,
//! the offset and size of every field, and every constant.

use std::collections::BTreeSet;
use std::io::Write;
use std::mem::{offset_of, size_of};
use std::process::{Command, Stdio};

use uapi::filter::{
    FILTER_DISTANCE, FILTER_LABEL, FILTER_MTIME, FILTER_SUBTREE, FILTER_TAG, FILTER_UID,
};
use uapi::maintenance::{BUILD_TAKE_DOWN, REASON_SIZE, STEPS_MAX};
use uapi::record::{DELETE_ALL, GET_NEXT, PUT_EXCL, PUT_MANY_MAX, THIS_FILE};
use uapi::search::{
    SEARCH_EXACT, SEARCH_HITS_MAX, SEARCH_K_MAX, SEARCH_QUERIES_MAX, SEARCH_RECALL,
    SEARCH_RECALL_MAX,
};
use uapi::stats::{ISA_AVX2, ISA_AVX512, ISA_NEON, ISA_PORTABLE};
use uapi::*;

const HEADER: &str = include_str!("../vexfs.h");

/// Assertions about one structure. There is no padding, so a field ends where the
/// next one begins; a field missing in the list would make its neighbour too long.
fn structure(tag: &str, size: usize, fields: &[(&str, usize)]) -> String {
    let mut text = format!("_Static_assert(sizeof(struct {tag}) == {size}, \"{tag}\");\n");
    assert_eq!(fields[0].1, 0);
    for (i, (field, offset)) in fields.iter().enumerate() {
        let end = fields.get(i + 1).map_or(size, |next| next.1);
        text += &format!(
            "_Static_assert(offsetof(struct {tag}, {field}) == {offset}, \"{tag}.{field}\");\n\
             _Static_assert(sizeof(((struct {tag} *)0)->{field}) == {}, \"size of {tag}.{field}\");\n",
            end - offset
        );
    }
    text
}

macro_rules! structure {
    ($tag:literal, $type:ty, $($field:ident)*) => {
        structure($tag, size_of::<$type>(), &[$((stringify!($field), offset_of!($type, $field))),*])
    };
}

fn structures() -> String {
    [
        structure!("vexfs_index_create", IndexCreate, size flags name dim element metric mode reserved),
        structure!("vexfs_index_info", IndexInfo, size flags name id dim element metric mode uid gid segments records slots bytes created tree_entries tree_bytes tree_partitions tree_height efforts reserved),
        structure!("vexfs_index_list", IndexList, size flags cursor entries capacity entry_size count reserved0 reserved),
        structure!("vexfs_index_drop", IndexDrop, size flags name reserved),
        structure!("vexfs_index_efforts", IndexEfforts, size flags name efforts reserved0 reserved),
        structure!("vexfs_put", Put, size flags name label tag vector vector_bytes reserved0 reserved),
        structure!("vexfs_put_record", PutRecord, label tag fd reserved0),
        structure!("vexfs_put_many", PutMany, size flags name records vectors count record_size vector_bytes done reserved),
        structure!("vexfs_get", Get, size flags name label tag vector capacity vector_bytes reserved),
        structure!("vexfs_delete", Delete, size flags name label deleted reserved),
        structure!("vexfs_hit", Hit, inode label tag distance generation path_offset path_len reserved0),
        structure!("vexfs_search", Search, size flags name queries query_bytes query_count k hit_size hits counts paths paths_capacity paths_used distances probes recall filter reserved),
        structure!("vexfs_filter", Filter, size conditions label_min label_max tag_mask tag_value uid subtree mtime_min mtime_max distance_max reserved),
        structure!("vexfs_stats", Stats, size flags isa indexes records segments slots bytes queries distances puts deletes reserved),
        structure!("vexfs_index_verify", IndexVerify, size flags name cursor steps done partitions entries records missing state block reason reserved),
        structure!("vexfs_index_build", IndexBuild, size flags name cursor steps done entries records reserved),
    ]
    .concat()
}

fn constants() -> Vec<(&'static str, i64)> {
    vec![
        ("VEXFS_IOC_TYPE", ioctl::TYPE.into()),
        ("VEXFS_NAME_SIZE", NAME_SIZE as i64),
        ("VEXFS_DIM_MAX", DIM_MAX.into()),
        ("VEXFS_ELEMENT_F32", ELEMENT_F32.into()),
        ("VEXFS_ELEMENT_F16", ELEMENT_F16.into()),
        ("VEXFS_ELEMENT_I8", ELEMENT_I8.into()),
        ("VEXFS_ELEMENT_BINARY", ELEMENT_BINARY.into()),
        ("VEXFS_METRIC_L2", METRIC_L2.into()),
        ("VEXFS_METRIC_COSINE", METRIC_COSINE.into()),
        ("VEXFS_METRIC_DOT", METRIC_DOT.into()),
        ("VEXFS_METRIC_HAMMING", METRIC_HAMMING.into()),
        ("VEXFS_PUT_EXCL", PUT_EXCL.into()),
        ("VEXFS_PUT_MANY_MAX", PUT_MANY_MAX.into()),
        ("VEXFS_THIS_FILE", THIS_FILE.into()),
        ("VEXFS_GET_NEXT", GET_NEXT.into()),
        ("VEXFS_DELETE_ALL", DELETE_ALL.into()),
        ("VEXFS_FILTER_LABEL", FILTER_LABEL.into()),
        ("VEXFS_FILTER_TAG", FILTER_TAG.into()),
        ("VEXFS_FILTER_UID", FILTER_UID.into()),
        ("VEXFS_FILTER_MTIME", FILTER_MTIME.into()),
        ("VEXFS_FILTER_SUBTREE", FILTER_SUBTREE.into()),
        ("VEXFS_FILTER_DISTANCE", FILTER_DISTANCE.into()),
        ("VEXFS_SEARCH_EXACT", SEARCH_EXACT.into()),
        ("VEXFS_SEARCH_K_MAX", SEARCH_K_MAX.into()),
        ("VEXFS_SEARCH_QUERIES_MAX", SEARCH_QUERIES_MAX.into()),
        ("VEXFS_SEARCH_HITS_MAX", SEARCH_HITS_MAX.into()),
        ("VEXFS_SEARCH_RECALL", SEARCH_RECALL.into()),
        ("VEXFS_SEARCH_RECALL_MAX", SEARCH_RECALL_MAX.into()),
        ("VEXFS_STEPS_MAX", STEPS_MAX.into()),
        ("VEXFS_REASON_SIZE", REASON_SIZE as i64),
        ("VEXFS_BUILD_TAKE_DOWN", BUILD_TAKE_DOWN.into()),
        ("VEXFS_ISA_PORTABLE", ISA_PORTABLE.into()),
        ("VEXFS_ISA_AVX2", ISA_AVX2.into()),
        ("VEXFS_ISA_AVX512", ISA_AVX512.into()),
        ("VEXFS_ISA_NEON", ISA_NEON.into()),
        ("VEXFS_IOC_INDEX_CREATE", IndexCreate::NUMBER.into()),
        ("VEXFS_IOC_INDEX_INFO", IndexInfo::NUMBER.into()),
        ("VEXFS_IOC_INDEX_LIST", IndexList::NUMBER.into()),
        ("VEXFS_IOC_INDEX_DROP", IndexDrop::NUMBER.into()),
        ("VEXFS_IOC_PUT", Put::NUMBER.into()),
        ("VEXFS_IOC_PUT_MANY", PutMany::NUMBER.into()),
        ("VEXFS_IOC_GET", Get::NUMBER.into()),
        ("VEXFS_IOC_DELETE", Delete::NUMBER.into()),
        ("VEXFS_IOC_SEARCH", Search::NUMBER.into()),
        ("VEXFS_IOC_STATS", Stats::NUMBER.into()),
        ("VEXFS_IOC_INDEX_VERIFY", IndexVerify::NUMBER.into()),
        ("VEXFS_IOC_INDEX_BUILD", IndexBuild::NUMBER.into()),
        ("VEXFS_IOC_INDEX_EFFORTS", IndexEfforts::NUMBER.into()),
        ("VEXFS_EFFORT_MAX", index::EFFORT_MAX.into()),
    ]
}

/// Whether the C compiler accepts the header followed by `text`; if not, what it says.
fn compile(text: &str) -> Result<(), String> {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let mut child = Command::new(&compiler)
        .args([
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-fsyntax-only",
            "-x",
            "c",
            "-",
        ])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("this test needs a C compiler; {compiler}: {error}"));
    let source = format!("#include <stddef.h>\n{HEADER}\n{text}");
    child
        .stdin
        .take()
        .expect("stdin was piped")
        .write_all(source.as_bytes())
        .expect("the compiler reads its input");
    let output = child.wait_with_output().expect("the compiler ends");
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn structures_match() {
    compile(&structures()).unwrap_or_else(|messages| panic!("{messages}"));
}

#[test]
fn constants_match() {
    let text: String = constants()
        .iter()
        .map(|(name, value)| {
            format!("_Static_assert((long long){name} == {value}LL, \"{name}\");\n")
        })
        .collect();
    compile(&text).unwrap_or_else(|messages| panic!("{messages}"));
}

#[test]
fn nothing_in_the_header_is_left_out() {
    let defined: BTreeSet<&str> = HEADER
        .lines()
        .filter_map(|line| line.strip_prefix("#define "))
        .filter_map(|rest| rest.split([' ', '(']).next())
        .filter(|name| *name != "VEXFS_H")
        .collect();
    let compared: BTreeSet<&str> = constants().iter().map(|(name, _)| *name).collect();
    assert_eq!(defined, compared);
    let structures = structures();
    for line in HEADER.lines() {
        if let Some(tag) = line
            .strip_prefix("struct ")
            .and_then(|rest| rest.strip_suffix(" {"))
        {
            assert!(
                structures.contains(&format!("sizeof(struct {tag})")),
                "{tag}"
            );
        }
    }
}

#[test]
fn a_difference_is_found() {
    // The comparison itself can fail.
    let wrong = structure(
        "vexfs_hit",
        48,
        &[("inode", 0), ("label", 8), ("distance", 16)],
    );
    assert!(compile(&wrong).is_err());
}
