//! An answer that comes before the whole body was read still arrives.
//!
//! A server that answers early and closes while the client sends makes the client's kernel drop the answer: the
//! PC would see a broken connection and try again, where it should read that the disk of the site is full.
//! Source: RFC 9112 §9.6.
//!
//! Every body comes by here, so this is also where one that comes too slowly ends.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream, Bytes, HttpBody as _},
    extract::Request,
    response::Response,
};
use futures_util::{Stream, StreamExt as _};
use site_api::MAX_OBJECT_BYTES;
use tokio::{sync::oneshot, time::timeout};

use crate::{admission::Paced, app::Site};

/// Who sends slower than the rest of an object in this time gets no more of it.
const LONGEST: Duration = Duration::from_secs(10);

/// Reads and drops what a handler left of the body, at most one object and for at most ten seconds.
pub(crate) async fn linger<F: Future<Output = Response>>(
    site: &Site,
    request: Request,
    handler: impl FnOnce(Request) -> F,
) -> Response {
    if request.body().is_end_stream() {
        return handler(request).await;
    }
    let (parts, body) = request.into_parts();
    let (back, rest) = oneshot::channel();
    let lent = Lent {
        pieces: Some(Paced::new(body.into_data_stream(), site.admission.pace)),
        back: Some(back),
    };
    let lent = Request::from_parts(parts, Body::from_stream(lent));
    let response = handler(lent).await;
    if let Ok(mut pieces) = rest.await {
        let drain = async {
            let mut bytes = 0;
            while let Some(Ok(piece)) = pieces.next().await {
                bytes += piece.len() as u64;
                if bytes > MAX_OBJECT_BYTES {
                    break;
                }
            }
        };
        // Too slow: the connection closes, as it would without this.
        let _ = timeout(LONGEST, drain).await;
    }
    response
}

/// A body that comes back when its reader drops it before the end.
struct Lent {
    pieces: Option<Paced<BodyDataStream>>,
    back: Option<oneshot::Sender<Paced<BodyDataStream>>>,
}

impl Stream for Lent {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(pieces) = &mut self.pieces else {
            return Poll::Ready(None);
        };
        let piece = pieces.poll_next_unpin(context);
        if let Poll::Ready(None | Some(Err(_))) = &piece {
            self.pieces = None;
        }
        piece
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(pieces), Some(back)) = (self.pieces.take(), self.back.take()) {
            // Nobody waits for it when the client is gone.
            let _ = back.send(pieces);
        }
    }
}
