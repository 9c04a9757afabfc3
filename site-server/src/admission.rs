//! Who is served now, who waits and who comes again later: a site with three hundred PCs in front of it slows down and
//! never falls over (docs/adr/0063).
//!
//! Objects of more than 64 KiB take turns ([`queue`]), uploads apart from downloads; what a sign-in needs is smaller and
//! takes none. [`slow`] cuts off who neither reads nor writes, [`addresses`] bounds the connections of one address,
//! [`space`] refuses an upload before it comes when the disk has no room for it.

mod addresses;
mod queue;
mod slow;
mod space;

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{ApiError, ApiResult};

pub(crate) use self::{
    addresses::Addresses,
    queue::{Queue, Turn},
    slow::{Flow, Pace, Paced},
    space::Space,
};

/// Requests being answered at once, bodies not counted.
const REQUESTS: usize = 2048;

/// `[limits]` of `site.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Large objects sent at once; more wait in line.
    pub downloads: usize,
    /// Objects received at once; more wait in line.
    pub uploads: usize,
    /// Of one user or site, of each of the two.
    pub each: usize,
    /// Longest line, of each of the two. Who finds it full comes again later.
    pub line: usize,
    /// Longest time in line, in seconds.
    pub line_seconds: u64,
    /// Connections of one address, or of one IPv6 network of 64 bits.
    pub connections_per_address: usize,
    /// Who moves less than `slow_bytes_per_second` over so many seconds, while the site waits for nothing else, is cut off.
    pub slow_seconds: u64,
    /// See `slow_seconds`.
    pub slow_bytes_per_second: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            downloads: 64,
            uploads: 16,
            each: 8,
            line: 1024,
            line_seconds: 20,
            connections_per_address: 256,
            slow_seconds: 30,
            slow_bytes_per_second: 16 << 10,
        }
    }
}

impl Limits {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What requests ask before they take anything.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Large objects going out.
    pub(crate) downloads: Arc<Queue>,
    /// Objects coming in.
    pub(crate) uploads: Arc<Queue>,
    /// Connections by address.
    pub(crate) addresses: Arc<Addresses>,
    /// Slowest pace of a body.
    pub(crate) pace: Pace,
    requests: Arc<Semaphore>,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        let line = (limits.line, Duration::from_secs(limits.line_seconds));
        Self {
            downloads: Queue::new(limits.downloads, limits.each, line),
            uploads: Queue::new(limits.uploads, limits.each, line),
            addresses: Addresses::new(limits.connections_per_address),
            pace: Pace::new(
                Duration::from_secs(limits.slow_seconds.max(1)),
                limits.slow_bytes_per_second,
            ),
            requests: Arc::new(Semaphore::new(REQUESTS)),
        }
    }

    /// Room for one more request, until the permit goes.
    pub(crate) fn request(&self) -> ApiResult<OwnedSemaphorePermit> {
        self.requests
            .clone()
            .try_acquire_owned()
            .map_err(|_| ApiError::busy())
    }
}
