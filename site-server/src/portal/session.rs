//! Who is signed in with this browser.

use axum::http::{HeaderMap, header};
use snapshot::id::UserId;

use crate::{
    app::Site,
    auth::{PORTAL_IDLE_MS, PORTAL_WHOLE_MS},
    clock::now_ms,
    door::{Cookie, PORTAL},
    error::ApiError,
    store::{Actor, Deed, TokenKind},
};

/// A browser whose user is known.
pub(super) struct Session {
    pub(super) user: UserId,
    pub(super) name: String,
    pub(super) cookie: Cookie,
}

impl Session {
    /// The session of a request.
    pub(super) async fn of(site: &Site, headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let Some(cookie) = PORTAL.cookie(headers) else {
            return Ok(None);
        };
        let lives = (PORTAL_IDLE_MS, PORTAL_WHOLE_MS);
        let Some(user) = site.store.portal_user(cookie.token(), lives).await? else {
            return Ok(None);
        };
        let known = site.store.user(user).await?;
        Ok(known.map(|known| Self {
            user,
            name: known.name,
            cookie,
        }))
    }

    /// Signs a browser in, under a cookie it did not have before.
    pub(super) async fn begin(
        site: &Site,
        headers: &HeaderMap,
        user: UserId,
    ) -> Result<Cookie, ApiError> {
        // First the log, then the token: nobody is signed in unseen.
        let deed = Deed::new(Actor::User(user), "sign-in.ok", user);
        site.store.audit(&deed.with("at the portal")).await?;
        let cookie = PORTAL.fresh();
        let until = now_ms().saturating_add(PORTAL_IDLE_MS);
        site.store
            .add_token(cookie.token(), user, TokenKind::Portal, until)
            .await?;
        site.store
            .describe_token(cookie.token(), &browser(headers))
            .await?;
        tracing::info!(%user, "signed in at the portal");
        Ok(cookie)
    }
}

/// "Firefox, Android": what people call what they hold. The whole of User-Agent is nobody's business.
fn browser(headers: &HeaderMap) -> String {
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let find = |names: &[(&str, &'static str)]| {
        let found = names.iter().find(|(mark, _)| agent.contains(mark));
        found.map(|(_, name)| *name)
    };
    let program = find(&[
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox", "Firefox"),
        ("FxiOS", "Firefox"),
        ("Chrom", "Chromium"),
        ("CriOS", "Chrome"),
        ("Safari", "Safari"),
        ("curl", "curl"),
    ]);
    let system = find(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Mac OS", "macOS"),
        ("Windows", "Windows"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ]);
    let words: Vec<_> = program.into_iter().chain(system).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_named_as_people_do() {
        let cases = [
            (
                "Mozilla/5.0 (Android 14; Mobile; rv:130.0) Gecko/130.0 Firefox/130.0",
                "Firefox, Android",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605 Version/17.5 Safari/604.1",
                "Safari, iPhone",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/128.0 Safari/537.36 Edg/128.0",
                "Edge, Windows",
            ),
            ("curl/8.5", "curl"),
            ("", ""),
        ];
        for (agent, want) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::USER_AGENT, agent.parse().unwrap());
            assert_eq!(browser(&headers), want);
        }
    }
}
