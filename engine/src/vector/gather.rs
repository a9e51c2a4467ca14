// SPDX-License-Identifier: GPL-2.0-only
//! Copying slots that lie anywhere. Each is in memory that the processor has to wait for, so it is told of some before the first of them is copied. It may
//! not know which slots, nor look at what is in them.

use super::segment::Segment;
use crate::error::{Error, Result};
use crate::io::ReadBlocks;

/// Slots that are announced before one is copied.
const AHEAD: usize = 4;

/// Slots on their way: first come, first copied.
#[derive(Debug)]
pub(crate) struct Gather {
    queue: [Option<(Segment, u32)>; AHEAD],
    /// The place of the one that has waited longest, if the queue is full.
    oldest: usize,
    /// As [`ReadBlocks::copy_slots`] takes it.
    all: u64,
}

impl Gather {
    /// None yet. `all` as in [`ReadBlocks::copy_slots`].
    pub(crate) fn new(all: u64) -> Self {
        Gather {
            queue: [None; AHEAD],
            oldest: 0,
            all,
        }
    }

    /// Announces slot `slot`. If enough are on their way then, the one that has waited longest is copied to what `place` gives, which is as long as a
    /// slot of its segment.
    ///
    /// Errors: [`Error::Corrupt`] if there is no such slot, those of reading, and those of `place`.
    pub(crate) fn push<'b, R: ReadBlocks>(
        &mut self,
        io: &R,
        (segment, slot): (&Segment, u32),
        place: impl FnOnce() -> Result<&'b mut [u8]>,
    ) -> Result<()> {
        segment.announce(io, slot)?;
        let here = self.queue.get_mut(self.oldest);
        let here = here.ok_or(Error::Internal("queue without the place"))?;
        self.oldest = self.oldest.saturating_add(1) % AHEAD;
        match here.replace((*segment, slot)) {
            Some((segment, slot)) => segment.copy_slot(io, slot, place()?, self.all),
            None => Ok(()),
        }
    }

    /// Copies those that are on their way.
    ///
    /// Errors: as [`Gather::push`].
    pub(crate) fn finish<'b, R: ReadBlocks>(
        self,
        io: &R,
        mut place: impl FnMut() -> Result<&'b mut [u8]>,
    ) -> Result<()> {
        let (newer, older) = self
            .queue
            .split_at_checked(self.oldest)
            .ok_or(Error::Internal("queue without the place"))?;
        for (segment, slot) in older.iter().chain(newer).flatten() {
            segment.copy_slot(io, *slot, place()?, self.all)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Gather, AHEAD};
    use crate::io::{Each, Extent, ReadBlocks};
    use crate::vector::segment::Segment;
    use crate::Error;
    use core::cell::RefCell;
    use layout::block::BlockKind;
    use layout::superblock::Super;
    use layout::vector::SegmentRef;
    use layout::{Block, Crc32};
    use std::boxed::Box;
    use std::vec;
    use std::vec::Vec;

    /// Notes what is announced and what is copied: the byte of the slot area where it begins.
    #[derive(Default)]
    struct Notes {
        wanted: usize,
        announced: RefCell<Vec<usize>>,
        copied: RefCell<Vec<usize>>,
    }

    fn place(block: u64, at: usize) -> usize {
        block as usize * layout::BLOCK_SIZE + at
    }

    impl ReadBlocks for Notes {
        type Ref = Box<Block>;
        type Run = Each<Box<Block>>;

        fn sb(&self) -> &Super {
            panic!("copying needs no super block")
        }
        fn read(&self, block: u64, _: BlockKind) -> Result<Self::Ref, Error> {
            Err(Error::Io { block })
        }
        fn read_run(&self, wanted: Extent, _: &mut Self::Run) -> Result<(), Error> {
            Err(Error::Io {
                block: wanted.start,
            })
        }
        fn copy_slots(&self, block: u64, at: usize, out: &mut [u8], all: u64) -> Result<(), Error> {
            assert_eq!(all, 77);
            let at = place(block, at);
            self.copied.borrow_mut().push(at);
            out.fill(at as u8);
            // Those behind it are announced already.
            let ahead = self.copied.borrow().len() + AHEAD;
            assert_eq!(self.announced.borrow().len(), ahead.min(self.wanted));
            Ok(())
        }
        fn slots_ahead(&self, block: u64, at: usize, len: usize) {
            assert_eq!(len, 48);
            self.announced.borrow_mut().push(place(block, at));
        }
        fn crc32(&self) -> Crc32 {
            panic!("copying computes no checksum")
        }
    }

    fn segment() -> Segment {
        Segment {
            index: 1,
            number: 0,
            slot_size: 48,
            at: SegmentRef {
                start: 9,
                blocks: 16,
                slots: 900,
                free: 0,
            },
        }
    }

    #[test]
    fn slots_are_announced_and_then_copied_in_order() {
        let segment = segment();
        for wanted in 0..=10 {
            let io = Notes {
                wanted,
                ..Notes::default()
            };
            let slots = [7u32, 700, 8, 9, 255, 3, 1, 899, 2, 500];
            let mut buf = vec![0; 48 * wanted];
            let mut places = buf.chunks_exact_mut(48);
            let mut place = || places.next().ok_or(Error::BufferTooSmall);
            let mut gather = Gather::new(77);
            for slot in &slots[..wanted] {
                gather.push(&io, (&segment, *slot), &mut place).unwrap();
            }
            gather.finish(&io, place).unwrap();
            let begins: Vec<usize> = slots[..wanted]
                .iter()
                .map(|slot| 10 * layout::BLOCK_SIZE + 48 * *slot as usize)
                .collect();
            assert_eq!(*io.copied.borrow(), begins);
            assert_eq!(*io.announced.borrow(), begins);
            for (copy, at) in buf.chunks_exact(48).zip(&begins) {
                assert!(copy.iter().all(|byte| *byte == *at as u8));
            }
        }
    }

    #[test]
    fn a_slot_that_is_not_there_is_damage() {
        let segment = segment();
        let pushed = Gather::new(77).push(&Notes::default(), (&segment, 900), || {
            Err(Error::Internal("not asked for"))
        });
        assert!(matches!(pushed, Err(Error::Corrupt { block: 9, .. })));
    }
}
