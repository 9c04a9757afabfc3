//! Buffers that bodies are read into, used again and again, never more than a fixed number at once.
//!
//! The number bounds what slow readers can hold: a body that gets none waits in line. Small objects have buffers of
//! their own, so that no large one keeps a sign-in waiting.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Length of a large buffer: one read of the disk, one piece of a body.
pub(crate) const LARGE_BYTES: usize = 256 << 10;
/// Length of a small one. Objects up to this length are small.
pub(crate) const SMALL_BYTES: usize = 64 << 10;
/// Large buffers in use at once: 64 MiB.
const LARGE: usize = 256;
/// Small ones: 16 MiB.
const SMALL: usize = 256;

static POOLS: LazyLock<[Arc<Pool>; 2]> =
    LazyLock::new(|| [Pool::new(SMALL_BYTES, SMALL), Pool::new(LARGE_BYTES, LARGE)]);

/// Buffers of one length.
#[derive(Debug)]
pub(crate) struct Pool {
    each: usize,
    room: Arc<Semaphore>,
    idle: Mutex<Vec<Box<[u8]>>>,
}

/// A buffer in use.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    filled: usize,
    pool: Arc<Pool>,
    _room: OwnedSemaphorePermit,
}

impl Pool {
    fn new(each: usize, most: usize) -> Arc<Self> {
        Arc::new(Self {
            each,
            room: Arc::new(Semaphore::new(most)),
            idle: Mutex::default(),
        })
    }

    /// The buffers that pieces of a body of this length are read into.
    pub(crate) fn of(bytes: u64) -> &'static Arc<Self> {
        let [small, large] = &*POOLS;
        if bytes <= SMALL_BYTES as u64 {
            small
        } else {
            large
        }
    }

    /// A buffer, if one is free now.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Buffer> {
        let room = self.room.clone().try_acquire_owned().ok()?;
        Some(self.with(room))
    }

    /// A buffer; those who asked earlier get theirs earlier.
    pub(crate) async fn wait(self: Arc<Self>) -> std::io::Result<Buffer> {
        let room = self.room.clone().acquire_owned().await;
        Ok(self.with(room.map_err(std::io::Error::other)?))
    }

    fn with(self: &Arc<Self>, room: OwnedSemaphorePermit) -> Buffer {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        Buffer {
            bytes: idle.unwrap_or_else(|| vec![0; self.each].into()),
            filled: 0,
            pool: self.clone(),
            _room: room,
        }
    }
}

impl Buffer {
    /// Room for at most `most` bytes.
    pub(crate) fn room(&mut self, most: u64) -> &mut [u8] {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let end = most.min(self.bytes.len());
        self.bytes.get_mut(..end).unwrap_or_default()
    }

    /// The first `filled` bytes; the buffer comes back when nobody needs them any more.
    pub(crate) fn filled(mut self, filled: usize) -> Bytes {
        self.filled = filled.min(self.bytes.len());
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut idle = self
            .pool
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        idle.push(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_without_a_buffer_waits_for_one_that_comes_back() {
        let pool = Pool::new(4, 2);
        let mut first = pool.take().unwrap();
        first.room(3).copy_from_slice(b"abc");
        let first = first.filled(3);
        let _second = pool.take().unwrap();
        assert!(pool.take().is_none(), "two is all there are");
        let mut waiting = std::pin::pin!(pool.clone().wait());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert_eq!(first.as_ref(), b"abc");
        drop(first);
        assert_eq!(waiting.await.unwrap().room(9).len(), 4);
    }
}
