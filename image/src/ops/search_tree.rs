// SPDX-License-Identifier: GPL-2.0-only
//! Upkeep of the search trees of indexes: verifying, completing, taking down, some steps at a time, so that a caller can
//! show how far it got.

use engine::vector::{
    self,
    tree::{self, Completion, Seen, Verification},
};

use crate::error::{Error, Result};
use crate::image::Image;

impl Image {
    /// Holds the search tree of an index to its records, for up to `steps` steps from `at` on. What was seen is added to `seen`.
    ///
    /// # Errors
    /// Those of [`tree::verify_step`]: [`engine::Error::Corrupt`] is what is wrong.
    pub fn verify_index(
        &self,
        id: u32,
        at: &mut Verification,
        seen: &mut Seen,
        steps: u32,
    ) -> Result<()> {
        let mut memory = self.tree_memory(id)?;
        for _ in 0..steps {
            if at.is_done() {
                break;
            }
            self.read(|io| tree::verify_step(io, id, at, seen, &mut memory.builder()))?;
        }
        Ok(())
    }

    /// Enters records without an entry into the search tree of an index, for up to `steps` steps from `at` on.
    ///
    /// # Errors
    /// [`engine::Error::NotFound`]; [`engine::Error::NoSpace`] if no run of free blocks is long enough for a partition, after which
    /// what was entered before stays; those of transactions.
    pub fn complete_index(&mut self, id: u32, at: &mut Completion, steps: u32) -> Result<()> {
        let mut memory = self.tree_memory(id)?;
        for _ in 0..steps {
            if at.done {
                break;
            }
            let credits = self.read(|io| tree::complete_credits(&vector::load(io, id)?))?;
            let step = self.with_credits(credits, |cx| {
                let mut next = *at;
                tree::complete_step(cx, id, &mut next, &mut memory.builder())?;
                Ok(next)
            });
            match step {
                Ok(next) => *at = next,
                Err(Error::Engine(engine::Error::Full { partition })) => {
                    if !self.make_room(id, partition, &mut memory)? {
                        return Err(Error::Engine(engine::Error::NoSpace));
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Takes the search tree of an index down, for up to `steps` steps. Returns whether it is gone.
    ///
    /// # Errors
    /// [`engine::Error::NotFound`]; those of transactions.
    pub fn take_down_index(&mut self, id: u32, steps: u32) -> Result<bool> {
        for _ in 0..steps {
            let credits = self.read(|io| tree::take_down_credits(&vector::load(io, id)?))?;
            if self.with_credits(credits, |cx| tree::take_down_step(cx, id))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
