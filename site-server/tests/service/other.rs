//! The second server of a site that is tested without a socket: it takes every other request that can be written to one.

use std::{
    net::Ipv4Addr,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use axum::{
    body::{Body, Bytes, HttpBody as _, to_bytes},
    http::{Request, StatusCode, header, request::Parts},
};
use site_server::{config::Layout, front::Front, routes::RemoteAddress};
use tokio::time::Instant;

use crate::{
    balance::{Second, is_disturbed},
    patient::{Client, PATIENCE, lost},
    support::{Answer, whole},
    world::browser,
};

pub(crate) struct Other {
    server: Second,
    client: Client,
    turn: AtomicBool,
}

impl Other {
    pub(crate) async fn of(layout: &Layout) -> Self {
        let client = browser(&layout.ca());
        let layout = layout.clone();
        let started = tokio::task::spawn_blocking(move || Second::start(&layout, |_, _| {}));
        Self {
            server: started.await.unwrap(),
            client,
            turn: AtomicBool::new(false),
        }
    }

    /// Asks this server or `first`. While the tests are disturbed the other one is asked when this one is gone, and either
    /// again when the database or the bucket is away.
    pub(crate) async fn shares(&self, first: &Front, request: Request<Body>) -> Answer {
        // A body that comes in pieces is not made again.
        if request.body().size_hint().exact().is_none() {
            return whole(first.answer(request).await).await;
        }
        let (mut parts, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        // Who asks is said beside the request: nothing a socket carries. All others ask from where this test is.
        let carried = parts.extensions.is_empty();
        if carried {
            parts
                .extensions
                .insert(RemoteAddress(Ipv4Addr::LOCALHOST.into()));
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = if carried && self.turn.fetch_not(Ordering::SeqCst) {
                self.ask(&parts, body.clone()).await
            } else {
                let request = Request::from_parts(parts.clone(), Body::from(body.clone()));
                Ok(whole(first.answer(request).await).await)
            };
            let patient = is_disturbed() && Instant::now() < until;
            match answer {
                Ok(answer) if patient && answer.status == StatusCode::SERVICE_UNAVAILABLE => {
                    lost(&answer.text()).await;
                }
                Ok(answer) => return answer,
                Err(error) if patient => lost(&error).await,
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    /// Where the second server has what is not shared.
    pub(crate) fn data(&self) -> &Path {
        self.server.data()
    }

    async fn ask(&self, parts: &Parts, body: Bytes) -> reqwest::Result<Answer> {
        let url = format!("https://{}{}", self.server.address(), parts.uri);
        let mut request = self.client.0.request(parts.method.clone(), url);
        for (name, value) in &parts.headers {
            // What an address says of itself is not what is tested.
            if *name != header::HOST {
                request = request.header(name, value);
            }
        }
        let answer = request.body(body).send().await?;
        Ok(Answer {
            status: answer.status(),
            headers: answer.headers().clone(),
            body: answer.bytes().await?,
        })
    }
}
