//! Requests as a PC or a person makes them: what broke or found nobody is made again.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use reqwest::{IntoUrl, Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::balance::is_disturbed;

/// How long somebody tries.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);
pub(crate) const PAUSE: Duration = Duration::from_millis(100);
/// How a line begins that says that something was tried again.
pub(crate) const LOST: &str = "no answer, trying again: ";

/// [`reqwest::Client`]; while the tests are disturbed it tries again.
#[derive(Clone)]
pub(crate) struct Client(pub(crate) reqwest::Client);

impl Client {
    pub(crate) fn request(&self, method: Method, at: impl IntoUrl) -> Asking {
        Asking(self.0.request(method, at))
    }

    pub(crate) fn get(&self, at: impl IntoUrl) -> Asking {
        self.request(Method::GET, at)
    }

    pub(crate) fn post(&self, at: impl IntoUrl) -> Asking {
        self.request(Method::POST, at)
    }

    pub(crate) fn delete(&self, at: impl IntoUrl) -> Asking {
        self.request(Method::DELETE, at)
    }

    pub(crate) fn put(&self, at: impl IntoUrl) -> Asking {
        self.request(Method::PUT, at)
    }
}

/// [`RequestBuilder`].
pub(crate) struct Asking(RequestBuilder);

impl Asking {
    pub(crate) fn header<K, V>(self, name: K, value: V) -> Self
    where
        HeaderName: TryFrom<K>,
        <HeaderName as TryFrom<K>>::Error: Into<axum::http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<axum::http::Error>,
    {
        Self(self.0.header(name, value))
    }

    pub(crate) fn bearer_auth(self, token: impl std::fmt::Display) -> Self {
        Self(self.0.bearer_auth(token))
    }

    pub(crate) fn timeout(self, limit: Duration) -> Self {
        Self(self.0.timeout(limit))
    }

    pub(crate) fn body(self, body: impl Into<reqwest::Body>) -> Self {
        Self(self.0.body(body))
    }

    pub(crate) fn json(self, body: &impl Serialize) -> Self {
        Self(self.0.json(body))
    }

    pub(crate) async fn send(self) -> reqwest::Result<Response> {
        let last = self.0;
        let until = Instant::now() + PATIENCE;
        while let Some(request) = last.try_clone().filter(|_| is_disturbed()) {
            match request.send().await {
                Ok(answer) if answer.status() != StatusCode::SERVICE_UNAVAILABLE => {
                    return Ok(answer);
                }
                answer if Instant::now() > until => return answer,
                answer => lost(&answer).await,
            }
        }
        last.send().await
    }
}

/// Says that something may have been done without an answer, and waits a little.
pub(crate) async fn lost(instead: &impl std::fmt::Debug) {
    println!("{LOST}{instead:?}");
    sleep(PAUSE).await;
}

/// What an operator does by a command: while the tests are disturbed he does it again when it failed.
pub(crate) async fn again<T, E: std::fmt::Debug>(work: impl AsyncFn() -> Result<T, E>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match work().await {
            Ok(done) => return done,
            Err(error) if is_disturbed() && Instant::now() < until => lost(&error).await,
            Err(error) => panic!("{error:?}"),
        }
    }
}
