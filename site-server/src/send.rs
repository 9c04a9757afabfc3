//! Sending a file: whole, a part, or "you have it already".

mod file;
mod gate;
mod pool;
mod request;

use std::{collections::VecDeque, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::TryStreamExt as _;

use crate::{
    admission::Queue,
    error::{ApiError, ApiResult},
    range::{Wanted, wanted},
    store::{Counter, Run, Sent, StoreError, StoredObject, read_runs},
};

use self::file::FileBody;
pub(crate) use self::{gate::Gate, request::FileRequest};

/// One read of the disk, one piece of the body.
const PIECE_BYTES: usize = pool::LARGE_BYTES;
/// Of a run in a bucket, where every read is a request.
const BUCKET_PIECE_BYTES: usize = 4 << 20;

/// Headers of an answer with a file: those of here and those every answer has.
const HEADERS: usize = 12;

/// Where the bytes come from.
pub(crate) enum Content {
    /// A sealed object, or a file of a release.
    Object(Arc<StoredObject>),
    /// Few bytes, made for this answer.
    Bytes(Bytes),
}

/// Something that never changes under its tag.
pub(crate) struct Immutable<'a> {
    /// The bytes.
    pub(crate) content: Content,
    /// Its size.
    pub(crate) bytes: u64,
    /// Strong entity tag, without quotes.
    pub(crate) tag: &'a str,
    /// `Content-Type`.
    pub(crate) kind: &'static str,
    /// Whether a proxy may keep it.
    pub(crate) cache: &'static str,
    /// What counts the bytes sent.
    pub(crate) counter: Counter,
    /// Whose turn a large body takes, and where; `None`: it takes none.
    pub(crate) line: Option<(&'a Arc<Queue>, [u8; 16])>,
}

/// What a request for a file wants, before a byte of it is read.
pub(crate) enum Answer {
    /// These headers, and a body of `len` bytes from `start` on.
    Bytes(StatusCode, HeaderMap, u64, u64),
    /// This is all.
    Done(Response),
}

/// Answers a `GET` or `HEAD` of a file (RFC 9110 §13, §14).
pub(crate) async fn send(
    what: Immutable<'_>,
    asked: &FileRequest,
    sent: Arc<Sent>,
) -> ApiResult<Response> {
    let (content, counter) = (what.content, what.counter);
    let (status, headers, start, len) =
        match answer(what.bytes, what.tag, what.kind, what.cache, asked)? {
            Answer::Done(response) => return Ok(response),
            Answer::Bytes(status, headers, start, len) => (status, headers, start, len),
        };
    let turn = match what.line {
        Some((queue, who)) if len > pool::SMALL_BYTES as u64 => Some(queue.enter(who).await?),
        _ => None,
    };
    let body = match content {
        Content::Object(_) if len == 0 => Body::empty(),
        Content::Object(object) => match object.open_file().await.map_err(lost(&object))? {
            Some(file) => {
                let part = (start, len);
                let body = FileBody::new(file, part, (counter, sent), turn, asked.gate.clone());
                body.whole_or_pieces().map_err(ApiError::internal)?
            }
            None => {
                let part = object.open(start..start + len).await?.into_stream();
                Body::from_stream(part.inspect_ok(move |piece| {
                    let _turn = &turn;
                    sent.add(counter, piece.len() as u64);
                }))
            }
        },
        Content::Bytes(mut bytes) => {
            sent.add(counter, len);
            // `wanted` keeps both within the size, which is that of a buffer in memory.
            let start = usize::try_from(start).unwrap_or(usize::MAX);
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            Body::from(bytes.split_off(start.min(bytes.len())).split_to(len))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Decides what a `GET` or `HEAD` of `size` bytes that never change gets.
pub(crate) fn answer(
    size: u64,
    tag: &str,
    kind: &'static str,
    cache: &'static str,
    asked: &FileRequest,
) -> ApiResult<Answer> {
    let etag = value(["\"", tag, "\""].concat())?;
    let text = |name| {
        asked
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let has = |list: &str| {
        list.split(',')
            .any(|one| matches!(one.trim(), "*") || one.trim().trim_start_matches("W/") == etag)
    };

    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::ETAG, etag.clone());
    if text(header::IF_NONE_MATCH).is_some_and(has) {
        return Ok(Answer::Done(
            (StatusCode::NOT_MODIFIED, headers).into_response(),
        ));
    }
    // A range of another version than the client's is useless to it: If-Range sends the whole.
    let range = if text(header::IF_RANGE).is_none_or(|one| one == etag) {
        text(header::RANGE)
    } else {
        None
    };
    let (status, start, len) = match wanted(range, size) {
        Wanted::Whole => (StatusCode::OK, 0, size),
        Wanted::Part { start, len } => (StatusCode::PARTIAL_CONTENT, start, len),
        Wanted::Unsatisfiable => {
            headers.insert(header::CONTENT_RANGE, value(format!("bytes */{size}"))?);
            let problem = ApiError::bad(format!(
                "The range lies outside the {size} bytes of the file."
            ))
            .with_status(StatusCode::RANGE_NOT_SATISFIABLE);
            let mut response = problem.into_response();
            response.headers_mut().extend(
                headers
                    .remove(header::CONTENT_RANGE)
                    .map(|value| (header::CONTENT_RANGE, value)),
            );
            return Ok(Answer::Done(response));
        }
    };
    if status == StatusCode::PARTIAL_CONTENT {
        let last = start + (len - 1);
        headers.insert(
            header::CONTENT_RANGE,
            value(format!("bytes {start}-{last}/{size}"))?,
        );
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    if asked.method == Method::HEAD {
        return Ok(Answer::Done((status, headers).into_response()));
    }
    Ok(Answer::Bytes(status, headers, start, len))
}

fn value(text: String) -> ApiResult<HeaderValue> {
    HeaderValue::try_from(text).map_err(ApiError::internal)
}

/// The row is there and the bytes are not.
fn lost(object: &StoredObject) -> impl FnOnce(std::io::Error) -> StoreError {
    move |source| StoreError::Objects {
        what: "read stored bytes",
        source: object_store::Error::NotFound {
            path: object.name().to_owned(),
            source: source.into(),
        },
    }
}

/// The bytes of `runs`, one after another.
pub(crate) fn runs(
    runs: Vec<Run>,
    counter: Counter,
    sent: Arc<Sent>,
) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> {
    futures_util::stream::try_unfold(
        (VecDeque::from(runs), sent),
        move |(mut runs, sent)| async move {
            let part = loop {
                let Some(run) = runs.front_mut() else {
                    return Ok(None);
                };
                let bytes = if run.of.is_file() {
                    PIECE_BYTES
                } else {
                    BUCKET_PIECE_BYTES
                };
                if let Some(part) = run.split(bytes as u64) {
                    break part;
                }
                runs.pop_front();
            };
            let piece = read_runs(&[part]).await.map_err(std::io::Error::other)?;
            sent.add(counter, piece.len() as u64);
            Ok(Some((Bytes::from(piece), (runs, sent))))
        },
    )
}
