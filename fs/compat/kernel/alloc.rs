// SPDX-License-Identifier: GPL-2.0-only
//! Vectors.

pub use kernel::alloc::*;

/// There is no element of this number.
#[derive(Debug)]
pub struct RemoveError;

/// What vectors learned.
pub trait VecExt<T> {
    /// 6.16: takes element `index` out; those behind it move up. Errors: there is none.
    fn remove(&mut self, index: usize) -> Result<T, RemoveError>;

    /// 6.16: drops what is behind the first `len` elements.
    fn truncate(&mut self, len: usize);

    /// 6.16: drops all elements and keeps the memory.
    fn clear(&mut self) {
        self.truncate(0);
    }
}

impl<T, A: Allocator> VecExt<T> for Vec<T, A> {
    fn remove(&mut self, index: usize) -> Result<T, RemoveError> {
        let left = self.len().checked_sub(1).ok_or(RemoveError)?;
        let tail = self.get_mut(index..).ok_or(RemoveError)?;
        if tail.is_empty() {
            return Err(RemoveError);
        }
        // The element goes to the end, from where it is taken.
        tail.rotate_left(1);
        let last: *const T = &self.as_slice()[left];
        // SAFETY: The length shrinks by one, and the element behind the new end, which is initialised, is read once.
        unsafe {
            self.set_len(left);
            Ok(last.read())
        }
    }

    fn truncate(&mut self, len: usize) {
        let Some(tail) = self.get_mut(len..) else {
            return;
        };
        let tail: *mut [T] = tail;
        // SAFETY: The elements behind the new end are initialised, and nobody finds them any more when they are dropped.
        unsafe {
            self.set_len(len);
            tail.drop_in_place();
        }
    }
}
