// SPDX-License-Identifier: GPL-2.0-only
//! The operations of random programs, and how they are drawn.

use proptest::prelude::*;

/// An operation; numbers choose among what is there when it runs.
#[derive(Clone, Debug)]
pub enum Op {
    Create(usize, u8, u8, usize),
    Tmpfile(usize),
    Link(usize, usize, u8),
    Unlink(usize, u8),
    Rmdir(usize, u8),
    Rename(usize, u8, usize, u8, u8),
    SetXattr(usize, u8, u8, usize, u8),
    RemoveXattr(usize, u8, u8),
    /// Maps some blocks, every other one if sparse, and grows the file over them.
    Write(usize, u8, u8, bool),
    Inline(usize, u8),
    SetSize(usize, u64),
    Put(usize, u8),
    SetMode(usize, u16),
    /// Finishes an orphan as the last close would.
    Finish(usize),
}

pub fn op(names: u8) -> impl Strategy<Value = Op> {
    let n = 0..names;
    let any = 0usize..1000;
    let len = prop_oneof![4 => 1usize..200, 1 => 1usize..4096];
    let value = prop_oneof![6 => 0usize..200, 2 => 0usize..3000, 1 => 0usize..=65536];
    prop_oneof![
        8 => (any.clone(), n.clone(), 0u8..10, len).prop_map(|(d, n, k, l)| Op::Create(d, n, k, l)),
        1 => any.clone().prop_map(Op::Tmpfile),
        4 => (any.clone(), any.clone(), n.clone()).prop_map(|(i, d, n)| Op::Link(i, d, n)),
        3 => (any.clone(), n.clone()).prop_map(|(d, n)| Op::Unlink(d, n)),
        2 => (any.clone(), n.clone()).prop_map(|(d, n)| Op::Rmdir(d, n)),
        8 => (any.clone(), n.clone(), any.clone(), n.clone(), 0u8..4)
            .prop_map(|(a, b, c, d, f)| Op::Rename(a, b, c, d, f)),
        4 => (any.clone(), 0u8..4, 0u8..6, value, 0u8..5)
            .prop_map(|(i, s, n, l, f)| Op::SetXattr(i, s, n, l, f)),
        2 => (any.clone(), 0u8..4, 0u8..6).prop_map(|(i, s, n)| Op::RemoveXattr(i, s, n)),
        2 => (any.clone(), 0u8..60, 1u8..40, proptest::bool::ANY)
            .prop_map(|(i, a, n, s)| Op::Write(i, a, n, s)),
        1 => (any.clone(), 0u8..170).prop_map(|(i, n)| Op::Inline(i, n)),
        2 => (any.clone(), prop_oneof![Just(0u64), 0u64..500, 0u64..300_000])
            .prop_map(|(i, s)| Op::SetSize(i, s)),
        2 => (any.clone(), 1u8..30).prop_map(|(i, n)| Op::Put(i, n)),
        1 => (any.clone(), 0u16..0o10000).prop_map(|(i, m)| Op::SetMode(i, m)),
        3 => any.prop_map(Op::Finish),
    ]
}

/// Names short, long, and as long as may be.
pub fn name(n: u8) -> Vec<u8> {
    let text = format!("n{n}");
    match n % 4 {
        0 => text.into_bytes(),
        1 => format!("{text:-<60}").into_bytes(),
        2 => format!("{text:.<130}").into_bytes(),
        _ => format!("{text:x<255}").into_bytes(),
    }
}
