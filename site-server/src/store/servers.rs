//! PostgreSQL on several servers: one writes, the others stand by, and it may be another one tomorrow.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use reqwest::Url;
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Connection as _, any::AnyConnectOptions};
use tokio::time::{sleep, timeout};

use super::{
    DatabaseConfig, StoreError,
    lines::{Switched, within},
    shelf::first_line,
};

/// How often the server that writes is asked whether it still does.
const LOOK: Duration = Duration::from_millis(500);
/// How long a server may take to say so.
const ANSWER: Duration = Duration::from_secs(2);

/// Servers of one database, in the order of `site.toml`.
#[derive(Debug, Clone)]
pub(super) struct Servers(Vec<AnyConnectOptions>);

impl Servers {
    /// Reads `postgres://USER@HOST[:PORT][,HOST[:PORT]…]/NAME`, as libpq has it.
    pub(super) fn of(text: &str, config: &DatabaseConfig) -> Result<Self, StoreError> {
        let urls = split(text).into_iter().map(|text| {
            let url = checked(&text, config.password_file.as_deref())?;
            AnyConnectOptions::from_url(&url)
                .map_err(StoreError::db("understand the address of it"))
        });
        Ok(Self(urls.collect::<Result<_, _>>()?))
    }

    pub(super) const fn are_several(&self) -> bool {
        self.0.len() > 1
    }

    /// The server that writes; the first when none is found within `patience`.
    pub(super) async fn writing(&self, patience: Duration) -> (usize, AnyConnectOptions) {
        let until = Instant::now() + patience;
        let mut found = 0;
        if self.are_several() {
            loop {
                if let Some((at, _)) = self.look(0).await {
                    found = at;
                    break;
                }
                if Instant::now() > until {
                    break;
                }
                sleep(LOOK).await;
            }
        }
        let options = self.0.get(found).cloned();
        (found, options.expect("an address has at least one host"))
    }

    /// Asks all servers in turn, beginning with `first`.
    async fn look(&self, first: usize) -> Option<(usize, AnyConnection)> {
        let count = self.0.len();
        for at in (first..count).chain(0..first) {
            let asked = async {
                let mut connection = self.0.get(at)?.connect().await.ok()?;
                writes(&mut connection).await.then_some(connection)
            };
            if let Ok(Some(connection)) = timeout(ANSWER, asked).await {
                return Some((at, connection));
            }
        }
        None
    }

    /// Keeps new connections of `pool` going to the server that writes, until the pool is closed.
    pub(super) async fn follow(self, pool: AnyPool, mut at: usize, switched: Switched) {
        let following = async {
            let mut line: Option<AnyConnection> = None;
            loop {
                sleep(LOOK).await;
                if let Some(connection) = &mut line
                    && matches!(timeout(ANSWER, writes(connection)).await, Ok(true))
                {
                    continue;
                }
                line = None;
                let Some((now, connection)) = self.look(at).await else {
                    continue;
                };
                line = Some(connection);
                if now != at
                    && let Some(options) = self.0.get(now)
                {
                    tracing::warn!(server = now, "another PostgreSQL server writes now");
                    pool.set_connect_options(options.clone());
                    switched.now();
                    at = now;
                }
            }
        };
        // It ends when the pool is closed: the site stops.
        let _ = pool.close_event().do_until(following).await;
    }
}

/// Whether the server at the other end takes writes; false when it says nothing.
pub(super) async fn writes(connection: &mut AnyConnection) -> bool {
    let question = "SELECT CASE WHEN pg_is_in_recovery() THEN 0 ELSE 1 END";
    let answer: Result<(i32,), _> = sqlx::query_as(question).fetch_one(connection).await;
    matches!(answer, Ok((1,)))
}

/// As [`writes`], within two seconds: for a connection that may have lain long.
pub(super) async fn writes_soon(connection: &mut AnyConnection) -> bool {
    matches!(timeout(ANSWER, writes(connection)).await, Ok(true))
}

/// Whether a connection that was used is still one, within two seconds. What was not committed is undone by then.
pub(super) async fn answers_soon(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    within(ANSWER, connection.ping()).await
}

/// An address of its own for each host.
fn split(text: &str) -> Vec<String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return vec![text.to_owned()];
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    hosts
        .split(',')
        .map(|host| format!("{scheme}://{user}{host}{path}"))
        .collect()
}

fn checked(text: &str, password_file: Option<&Path>) -> Result<Url, StoreError> {
    let mut url: Url = text
        .parse()
        .map_err(|_| StoreError::Address("it is no URL"))?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(StoreError::Address("it does not begin with postgres://"));
    }
    if url.password().is_some() {
        return Err(StoreError::Address(
            "it holds a password, which belongs into password_file",
        ));
    }
    if let Some(file) = password_file {
        let secret = first_line(file)?;
        url.set_password(Some(&secret))
            .map_err(|()| StoreError::Address("it names no host, so it takes no password"))?;
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn every_host_of_an_address_is_a_server() {
        let cases: [(&str, &[&str]); 4] = [
            ("postgres://u@a/n", &["postgres://u@a/n"]),
            (
                "postgres://u@a,b:5433/n?sslmode=require",
                &[
                    "postgres://u@a/n?sslmode=require",
                    "postgres://u@b:5433/n?sslmode=require",
                ],
            ),
            ("postgres://a,b", &["postgres://a", "postgres://b"]),
            ("site.db", &["site.db"]),
        ];
        for (text, want) in cases {
            assert_eq!(split(text), want, "{text}");
        }
    }
}
