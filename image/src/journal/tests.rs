// SPDX-License-Identifier: GPL-2.0-only
//! The journal against a model: whatever is acknowledged survives any power cut, nothing else shows, and damage is an error. What other
//! implementations make of it is tested in `tests/jbd2_interop.rs`.

use std::collections::BTreeMap;
use std::rc::Rc;

use layout::{Block, BLOCK_SIZE};
use proptest::prelude::*;

use super::*;
use crate::device::{Fault, FaultDevice, MemDevice, PowerCutDevice};

const REGION: Region = Region {
    start: 5,
    len: 1024,
    fs_blocks: 4096,
};
/// The blocks that the tests write, few so that they meet often.
const HOMES: std::ops::Range<u64> = 2000..2040;

/// One transaction of a workload.
#[derive(Clone, Debug)]
struct Script {
    writes: Vec<u64>,
    /// Freed: then overwritten as file data, not through the journal, once the transaction is committed.
    frees: Vec<u64>,
    /// Blocks beside `HOMES`, to fill the log.
    ballast: u64,
    checkpoint: bool,
}

fn script() -> impl Strategy<Value = Script> {
    (
        prop::collection::vec(HOMES, 1..12),
        prop::collection::vec(HOMES, 0..4),
        prop_oneof![3 => 0..4u64, 1 => 150..240u64],
        prop::bool::weighted(0.05),
    )
        .prop_map(|(writes, frees, ballast, checkpoint)| Script {
            writes,
            frees,
            ballast,
            checkpoint,
        })
}

/// Contents that differ for every transaction; one in three begins with the journal's magic.
fn contents(transaction: u64, block: u64) -> Rc<Contents> {
    let mut data = [0; BLOCK_SIZE];
    for (i, word) in data.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&((transaction << 32) | (block << 10) | i as u64).to_le_bytes());
    }
    if (transaction + block) % 3 == 0 {
        data[..4].copy_from_slice(&jbd2::MAGIC.to_be_bytes());
    }
    Rc::new(Contents::from(data))
}

/// What must be in a block; `None`: file data in flight, anything.
type State = BTreeMap<u64, Option<Rc<Contents>>>;

fn formatted(sequence: u32) -> MemDevice {
    let device = MemDevice::new(REGION.fs_blocks * BLOCK_SIZE as u64);
    REGION.format(&device, [0xa5; 16], sequence).unwrap();
    device
}

fn read(device: &dyn Device, block: u64) -> Box<Block> {
    read_block(device, block).unwrap()
}

/// Runs the workload; `acknowledge(n)` is called when n transactions are committed. Returns the states after 0, 1, 2... transactions.
fn run(
    device: &dyn Device,
    journal: &mut Journal,
    scripts: &[Script],
    acknowledge: impl Fn(u64),
) -> Result<Vec<State>> {
    let zero = Rc::new(Contents::zero());
    let mut state: State = HOMES.map(|block| (block, Some(Rc::clone(&zero)))).collect();
    let mut states = vec![state.clone()];
    let mut in_flight: Vec<(u64, Rc<Contents>)> = Vec::new();
    for (n, script) in (1u64..).zip(scripts) {
        let mut set = CommitSet::default();
        for &block in &script.writes {
            set.blocks.insert(block, contents(n, block));
        }
        for i in 0..script.ballast {
            set.blocks.insert(3000 + i, contents(n, i));
        }
        for &block in &script.frees {
            set.blocks.remove(&block);
            set.revoked.push(block);
        }
        // The commit makes the data durable that was written before it.
        for (block, data) in in_flight.drain(..) {
            state.insert(block, Some(data));
        }
        for &block in &script.writes {
            state.insert(block, Some(contents(n, block)));
        }
        for &block in &script.frees {
            state.insert(block, None);
        }
        // Recorded before the commit: a cut may leave either the state before or this one.
        states.push(state.clone());
        journal.commit(device, set)?;
        acknowledge(n);
        for &block in &script.frees {
            let data = contents(n + 1_000_000, block);
            device
                .write_at(block * BLOCK_SIZE as u64, data.as_slice())
                .map_err(Error::io("writing file data"))?;
            in_flight.push((block, data));
        }
        if script.checkpoint {
            journal.checkpoint(device)?;
        }
    }
    Ok(states)
}

/// Which of `states` the device holds; panics if none of the two that `acknowledged` allows.
fn check(device: &dyn Device, states: &[State], acknowledged: u64, what: &str) {
    let differs = |state: &State| {
        let mut known = state
            .iter()
            .filter_map(|(&block, expected)| Some((block, expected.as_ref()?)));
        known
            .find(|(block, expected)| *read(device, *block) != ****expected)
            .map(|(block, _)| block)
    };
    let first = acknowledged as usize;
    let Some(bad) = differs(&states[first]) else {
        return;
    };
    if let Some(next) = states.get(first + 1) {
        if differs(next).is_none() {
            return;
        }
    }
    panic!("{what}: block {bad} is neither that of transaction {first} nor of the next",);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn every_power_cut_leaves_the_acknowledged_transactions_and_at_most_the_next(
        scripts in prop::collection::vec(script(), 12..24),
        sequence in prop_oneof![Just(u32::MAX - 7), any::<u32>()],
    ) {
        let device = PowerCutDevice::new(formatted(sequence));
        let (mut journal, _) = Journal::open(&device, REGION).unwrap();
        let states = run(&device, &mut journal, &scripts, |n| device.mark(n)).unwrap();
        journal.close(&device).unwrap();
        device.each_cut(|cut| {
            for seed in 0..6 {
                let outcome = cut.outcome(seed);
                let what = format!("cut after {} accesses, seed {seed}", cut.after);
                let (mut journal, _) = Journal::open(&outcome, REGION).unwrap_or_else(|error| panic!("{what}: {error}"));
                check(&outcome, &states, cut.mark.unwrap_or(0), &what);
                // It can be used at once, and the new transaction is not mixed with left-overs.
                let mut set = CommitSet::default();
                set.blocks.insert(1999, contents(99, 1999));
                journal.commit(&outcome, set).unwrap();
                let (_, replay) = Journal::open(&outcome, REGION).unwrap();
                assert_eq!((replay.transactions, replay.blocks()), (1, 1), "{what}");
                assert_eq!(*read(&outcome, 1999), **contents(99, 1999));
            }
        });
    }

    #[test]
    fn a_power_cut_during_replay_changes_nothing_about_the_result(
        scripts in prop::collection::vec(script(), 3..8),
        seeds in prop::collection::vec(any::<u64>(), 4),
    ) {
        let device = formatted(1);
        let (mut journal, _) = Journal::open(&device, REGION).unwrap();
        let states = run(&device, &mut journal, &scripts, |_| ()).unwrap();
        // No close: the log is full.
        let replaying = PowerCutDevice::new(device);
        Journal::open(&replaying, REGION).unwrap();
        replaying.each_cut(|cut| {
            for &seed in &seeds {
                let outcome = cut.outcome(seed);
                Journal::open(&outcome, REGION).unwrap();
                check(&outcome, &states, scripts.len() as u64, "after the second replay");
            }
        });
    }

    #[test]
    fn an_io_error_at_any_access_stops_the_journal_and_loses_nothing_acknowledged(
        scripts in prop::collection::vec(script(), 4..10),
        lasting in any::<bool>(),
    ) {
        for n in 0.. {
            let mut hit = false;
            for fault in [Fault::Write(n), Fault::Flush(n), Fault::Read(n)] {
                let device = FaultDevice::new(formatted(1));
                let (mut journal, _) = Journal::open(&device, REGION).unwrap();
                device.set(fault, lasting);
                let acknowledged = std::cell::Cell::new(0);
                let result = run(&device, &mut journal, &scripts, |n| acknowledged.set(n));
                device.clear();
                hit |= device.was_hit();
                prop_assert_eq!(result.is_err(), device.was_hit(), "{:?}", fault);
                if result.is_err() && journal.is_aborted() {
                    prop_assert!(matches!(journal.commit(&device, CommitSet::default()), Err(Error::Aborted)));
                    prop_assert!(matches!(journal.close(&device), Err(Error::Aborted)));
                }
                Journal::open(device.base(), REGION).unwrap();
                let states = run(&formatted(1), &mut Journal::open(&formatted(1), REGION).unwrap().0, &scripts, |_| ()).unwrap();
                if result.is_ok() || journal.is_aborted() {
                    check(device.base(), &states, acknowledged.get(), &format!("{fault:?}"));
                }
            }
            if !hit {
                break;
            }
        }
    }

    #[test]
    fn damage_in_the_journal_is_an_error_or_ends_the_log_and_never_writes_garbage(
        scripts in prop::collection::vec(script(), 3..8),
        damage in prop::collection::vec((0..REGION.len, 0..BLOCK_SIZE, any::<u8>()), 1..4),
    ) {
        // Without files over freed blocks: where the log ends early, they would rightly differ from the states before.
        let scripts: Vec<_> = scripts.into_iter().map(|script| Script { frees: Vec::new(), ..script }).collect();
        let device = formatted(1);
        let (mut journal, _) = Journal::open(&device, REGION).unwrap();
        let states = run(&device, &mut journal, &scripts, |_| ()).unwrap();
        for (log_block, at, value) in damage {
            let offset = REGION.block(log_block) * BLOCK_SIZE as u64 + at as u64;
            device.write_at(offset, &[value]).unwrap();
        }
        let before = device.clone();
        match Journal::open(&device, REGION) {
            Err(Error::Journal { .. }) => {
                for block in HOMES {
                    prop_assert_eq!(read(&device, block), read(&before, block), "an error must come before any write");
                }
            }
            Err(error) => panic!("{error}"),
            // The transactions before the damage.
            Ok(_) => {
                prop_assert!(states.iter().any(|state| state.iter().all(|(&block, expected)| {
                    expected.as_ref().is_none_or(|expected| *read(&device, block) == ***expected)
                })), "the device holds no state that ever was");
            }
        }
    }
}

#[test]
fn a_clean_close_leaves_an_empty_journal_and_the_blocks_at_home() {
    let device = formatted(7);
    let (mut journal, _) = Journal::open(&device, REGION).unwrap();
    let mut set = CommitSet::default();
    set.blocks.insert(2000, contents(3, 2000));
    journal.commit(&device, set).unwrap();
    assert_eq!(
        read(&device, 2000)[..],
        [0; BLOCK_SIZE][..],
        "the home is written at the checkpoint"
    );
    assert!(journal.committed(2000).is_some());
    journal.close(&device).unwrap();
    assert_eq!(*read(&device, 2000), **contents(3, 2000));
    let sb = REGION.read_super(&device).unwrap();
    assert_eq!(sb.start, 0);
    // Formatted with 7, the first transaction was 8, the next to be used is 9 or later.
    assert_eq!(sb.sequence, 9);
    let (_, replay) = Journal::open(&device, REGION).unwrap();
    assert!(replay.is_empty());
}

#[test]
fn a_transaction_over_a_quarter_of_the_journal_is_refused_and_harmless() {
    let device = formatted(1);
    let (mut journal, _) = Journal::open(&device, REGION).unwrap();
    let most = journal.max_blocks(0) as u64;
    // One descriptor (254 tags) does, with 253 blocks and the commit block: 256 - 2.
    assert_eq!(most, 254);
    let set = |count| CommitSet {
        blocks: (0..count).map(|i| (2000 + i, contents(1, i))).collect(),
        revoked: Vec::new(),
    };
    let error = journal.commit(&device, set(most + 1)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooBig {
                needed: 258,
                limit: 256
            }
        ),
        "{error}"
    );
    assert!(!journal.is_aborted());
    journal.commit(&device, set(most)).unwrap();
}

#[test]
fn left_overs_of_an_earlier_journal_do_not_continue_a_new_one() {
    let device = formatted(1);
    let (mut journal, _) = Journal::open(&device, REGION).unwrap();
    for n in 0..3 {
        let mut set = CommitSet::default();
        set.blocks.insert(2000 + n, contents(n, 1));
        journal.commit(&device, set).unwrap();
    }
    // A new filesystem, whose mkfs could not discard and chose another first sequence.
    let old: Vec<_> = (1..20).map(|n| read(&device, REGION.block(n))).collect();
    let device = formatted(0x5000_0000);
    for (n, block) in (1..).zip(&old) {
        device
            .write_at(REGION.block(n) * 4096, block.as_slice())
            .unwrap();
    }
    let (mut journal, _) = Journal::open(&device, REGION).unwrap();
    let mut set = CommitSet::default();
    set.blocks.insert(2020, contents(9, 1));
    journal.commit(&device, set).unwrap();
    let (_, replay) = Journal::open(&device, REGION).unwrap();
    assert_eq!((replay.transactions, replay.blocks()), (1, 1));
}

#[test]
fn replay_refuses_to_write_into_the_journal_or_outside_the_filesystem() {
    for target in [
        0,
        REGION.start,
        REGION.start + 1023,
        REGION.fs_blocks,
        u64::MAX,
    ] {
        let device = formatted(1);
        let (mut journal, _) = Journal::open(&device, REGION).unwrap();
        let mut set = CommitSet::default();
        set.blocks.insert(target, contents(1, 1));
        journal.commit(&device, set).unwrap();
        let error = Journal::open(&device, REGION).unwrap_err();
        assert!(
            matches!(error, Error::Journal { reason: JournalFault::Target { target: t, .. }, .. } if t == target),
            "{error}"
        );
    }
}

#[test]
fn a_log_of_descriptors_without_end_ends() {
    let device = formatted(1);
    let (mut journal, _) = Journal::open(&device, REGION).unwrap();
    let mut set = CommitSet::default();
    set.blocks.insert(2000, contents(1, 1));
    journal.commit(&device, set).unwrap();
    let descriptor = read(&device, REGION.block(1));
    for n in 1..REGION.len {
        device
            .write_at(REGION.block(n) * 4096, descriptor.as_slice())
            .unwrap();
    }
    let (_, replay) = Journal::open(&device, REGION).unwrap();
    assert!(replay.is_empty());
}
