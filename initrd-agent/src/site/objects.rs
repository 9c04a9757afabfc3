//! Sealed objects over HTTPS: megabytes each way, gone on with where the connection broke.

use std::{
    io::{self, Read as _},
    time::Duration,
};

use bytes::Bytes;
use reqwest::{Method, StatusCode, header};

use super::{Site, SiteError};

/// Longest time one object may take: what a slow line needs, and more for longer ones.
#[must_use]
pub fn patience(bytes: u64) -> Duration {
    const LEAST: Duration = Duration::from_secs(120);
    // 256 KiB a second is slower than any line a person would wait for.
    LEAST + Duration::from_secs(bytes >> 18)
}

impl Site {
    /// `PUT` of bytes, without a copy of them; the answer's body is not read.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn put_bytes(
        &self,
        doing: &'static str,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<(), SiteError> {
        let request = self
            .request(Method::PUT, path)
            .header(header::CONTENT_TYPE, "application/octet-stream");
        self.send(doing, request.timeout(patience).body(body))
            .map(drop)
    }

    /// `GET` of exactly `bytes` bytes, of which `have` holds the first already. After an error `have` holds more or as
    /// many: call again to go on.
    ///
    /// # Errors
    /// [`SiteError`]; [`SiteError::Answer`] when the object is longer or shorter, or the range was not kept.
    pub fn get_rest(
        &self,
        doing: &'static str,
        path: &str,
        have: &mut Vec<u8>,
        bytes: u64,
        patience: Duration,
    ) -> Result<(), SiteError> {
        let mut request = self.request(Method::GET, path).timeout(patience);
        if !have.is_empty() {
            request = request.header(header::RANGE, format!("bytes={}-", have.len()));
        }
        let response = self.send(doing, request)?;
        if !have.is_empty() && response.status() != StatusCode::PARTIAL_CONTENT {
            have.clear();
        }
        let left = bytes.saturating_sub(have.len() as u64);
        response
            .take(left.saturating_add(1))
            .read_to_end(have)
            .map_err(|e| self.answer(doing, e))?;
        match have.len() as u64 {
            all if all == bytes => Ok(()),
            more if more > bytes => {
                have.clear();
                let longer = format!("longer than the {bytes} bytes the record says");
                Err(self.answer(doing, io::Error::other(longer)))
            }
            _ => Err(self.answer(doing, io::ErrorKind::UnexpectedEof.into())),
        }
    }
}
