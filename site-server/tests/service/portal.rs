//! The portal as a browser without JavaScript meets it.

use axum::http::{Method, StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::{PutHead, path};
use snapshot::id::SiteId;

use crate::support::{Answer, Person, TestSite, csrf, random_bytes};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// A cookie jar for one cookie.
pub(crate) struct Browser<'a> {
    site: &'a TestSite,
    pub(crate) cookie: String,
    language: &'static str,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(site: &'a TestSite) -> Self {
        Self {
            site,
            cookie: String::new(),
            language: "en",
        }
    }

    async fn ask(&mut self, method: Method, at: &str, more: &[(&str, &str)], body: &str) -> Answer {
        let cookie = self.cookie.clone();
        let mut headers = vec![
            FORM,
            ("cookie", cookie.as_str()),
            ("accept-language", self.language),
        ];
        headers.extend_from_slice(more);
        let answer = self.site.call(method, at, &headers, body.to_owned()).await;
        self.keep(&answer);
        answer
    }

    /// Sends a form with files.
    pub(crate) async fn upload(
        &mut self,
        at: &str,
        fields: &[(&str, &str)],
        files: &[(&str, &[u8])],
    ) -> Answer {
        let mut body = Vec::new();
        for (name, value) in fields {
            let part = format!(
                "--edge\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            );
            body.extend_from_slice(part.as_bytes());
        }
        for (name, bytes) in files {
            let part = format!(
                "--edge\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\r\n"
            );
            body.extend_from_slice(part.as_bytes());
            body.extend_from_slice(bytes);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--edge--\r\n");
        let cookie = self.cookie.clone();
        let headers = [
            ("content-type", "multipart/form-data; boundary=edge"),
            ("cookie", cookie.as_str()),
            ("accept-language", self.language),
        ];
        let answer = self.site.call(Method::POST, at, &headers, body).await;
        self.keep(&answer);
        answer
    }

    fn keep(&mut self, answer: &Answer) {
        if let Some((cookie, _)) = answer.header("set-cookie").split_once(';') {
            self.cookie = cookie.to_owned();
        }
    }

    pub(crate) async fn get(&mut self, at: &str) -> Answer {
        self.ask(Method::GET, at, &[], "").await
    }

    pub(crate) async fn post(&mut self, at: &str, body: &str) -> Answer {
        self.ask(Method::POST, at, &[], body).await
    }

    pub(crate) async fn sign_in(&mut self, user: &str, password: &str) -> Answer {
        let csrf = csrf(&self.get("/").await.text());
        self.post(
            "/sign-in",
            &format!(
                "user={user}&password={}&csrf={csrf}",
                password.replace(' ', "+")
            ),
        )
        .await
    }
}

pub(crate) async fn signed_in(site: &TestSite) -> (Browser<'_>, Person) {
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let mut browser = Browser::new(site);
    let answer = browser.sign_in("hanako", &hanako.password).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (StatusCode::SEE_OTHER, "/environment"),
        "{}",
        answer.text()
    );
    (browser, hanako)
}

pub(crate) async fn save(site: &TestSite, person: &Person) {
    let token = site.sign_in(person).await.token;
    let bytes = random_bytes(52_400);
    site.put_object(&token, &bytes).await;
    let record = person.record(1, None, &[bytes]);
    let put = PutHead {
        expected: None,
        record_b64: STANDARD.encode(record.as_bytes()),
        pc: "pc-1".into(),
    };
    assert_eq!(
        site.json(Method::PUT, path::HEAD, &token, &put)
            .await
            .status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn a_user_signs_in_sees_the_environment_and_signs_out() {
    let site = TestSite::new().await;
    let (mut browser, hanako) = signed_in(&site).await;
    let set = browser.cookie.clone();
    assert!(set.starts_with("__Host-furoshiki="));
    assert!(
        browser
            .get("/environment")
            .await
            .text()
            .contains("Nothing is saved yet")
    );
    save(&site, &hanako).await;
    let page = browser.get("/environment").await.text();
    for seen in [
        "pc-1",
        "Site A",
        "<dd>1</dd>",
        "52.4 kB",
        "UTC+00:00",
        "has the newest snapshot",
    ] {
        assert!(page.contains(seen), "{seen} in {page}");
    }
    assert_eq!(browser.get("/").await.header("location"), "/environment");
    let left = browser
        .post("/sign-out", &format!("csrf={}", csrf(&page)))
        .await;
    assert_eq!(
        (left.status, left.header("location")),
        (StatusCode::SEE_OTHER, "/")
    );
    browser.cookie = set;
    assert_eq!(
        browser.get("/environment").await.header("location"),
        "/",
        "the old cookie opens nothing"
    );
}

#[tokio::test]
async fn a_cookie_is_for_this_host_over_https_and_out_of_reach_of_scripts() {
    let site = TestSite::new().await;
    let page = Browser::new(&site).get("/").await;
    let cookie = page.header("set-cookie").to_owned();
    assert!(
        cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"),
        "{cookie}"
    );
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'") && policy.contains("form-action 'self'"),
        "{policy}"
    );
    assert!(
        policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe-inline"),
        "{policy}"
    );
    let text = page.text();
    assert!(!text.contains("<script") && !text.contains("style=") && !text.contains("<style"));
    assert!(
        site.get("/portal.css", &[])
            .await
            .header("content-type")
            .starts_with("text/css")
    );
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_look_the_same_and_are_counted() {
    let site = TestSite::new().await;
    site.add(&Person::new("hanako")).await;
    for user in ["hanako", "nobody"] {
        let mut browser = Browser::new(&site);
        for _ in 0..5 {
            let wrong = browser.sign_in(user, "wrong password").await;
            assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
            assert!(wrong.text().contains("User name or password is wrong"));
        }
        let wait = browser.sign_in(user, "wrong password").await;
        assert_eq!(wait.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(
            !wait.header("retry-after").is_empty()
                && wait.header("content-type").starts_with("text/html")
        );
    }
}

#[tokio::test]
async fn a_form_without_its_token_or_from_elsewhere_is_refused() {
    let site = TestSite::new().await;
    let (mut browser, hanako) = signed_in(&site).await;
    let token = csrf(&browser.get("/environment").await.text());
    let password = hanako.password.replace(' ', "+");
    for (at, fields) in [
        ("/next-site", "site=none".to_owned()),
        ("/sign-out", String::new()),
        ("/sign-in", format!("user=hanako&password={password}")),
    ] {
        assert_eq!(
            browser.post(at, &fields).await.status,
            StatusCode::FORBIDDEN,
            "{at} without token"
        );
        let wrong = format!("{fields}&csrf={}", "0".repeat(64));
        assert_eq!(
            browser.post(at, &wrong).await.status,
            StatusCode::FORBIDDEN,
            "{at} with another token"
        );
        let right = format!("{fields}&csrf={token}");
        for from in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
        ] {
            let refused = browser.ask(Method::POST, at, &[from], &right).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{at} from {from:?}");
        }
    }
    let mine = [
        ("origin", "https://127.0.0.1:1"),
        ("sec-fetch-site", "same-origin"),
    ];
    let taken = browser
        .ask(
            Method::POST,
            "/next-site",
            &mine,
            &format!("site=none&csrf={token}"),
        )
        .await;
    assert_eq!(taken.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn the_portal_speaks_both_languages() {
    let site = TestSite::new().await;
    let mut browser = Browser::new(&site);
    assert!(browser.get("/").await.text().contains("<html lang=\"en\">"));
    browser.language = "ja-JP,ja;q=0.9,en;q=0.5";
    let page = browser.get("/").await.text();
    assert!(
        page.contains("<html lang=\"ja\">") && page.contains("サインイン"),
        "{page}"
    );
}

#[tokio::test]
async fn a_next_site_is_chosen_from_the_list_and_stays_chosen() {
    let site = TestSite::new().await;
    let (mut browser, hanako) = signed_in(&site).await;
    let far = SiteId::new([9; 16]);
    site.site
        .store
        .add_site(far, "Site <B>", "https://127.0.0.1:1")
        .await
        .unwrap();
    let page = browser.get("/environment").await.text();
    assert!(
        page.contains(&far.to_string()) && page.contains("Site &#60;B&#62;"),
        "{page}"
    );
    let token = csrf(&page);
    for (chosen, status) in [
        ("zz".to_owned(), 400),
        (SiteId::new([8; 16]).to_string(), 404),
        (far.to_string(), 303),
    ] {
        let answer = browser
            .post("/next-site", &format!("site={chosen}&csrf={token}"))
            .await;
        assert_eq!(answer.status.as_u16(), status, "{chosen}");
    }
    let page = browser.get("/next-site").await.text();
    assert!(page.contains(&format!("data-site=\"{far}\"")), "{page}");
    assert!(
        !page.contains("live=1"),
        "nothing moves before anything is saved"
    );
    let live = browser.get("/next-site?live=1").await;
    assert_eq!(live.header("refresh"), "", "nor is it followed");

    // What is saved after the choice goes there too.
    save(&site, &hanako).await;
    let choice = site.site.store.next_sites(hanako.user).await.unwrap();
    let choice = choice.first().unwrap();
    assert_eq!((choice.site, choice.record.is_some()), (far, true));
    // Who wants to follows it live; nobody's page is loaded again unasked.
    for at in ["/environment", "/next-site"] {
        let answer = browser.get(at).await;
        assert_eq!(answer.header("refresh"), "", "{at}");
        let page = answer.text();
        assert!(
            page.contains("data-state=\"waiting\"") && page.contains(&format!("{at}?live=1")),
            "{page}"
        );
        let live = browser.get(&format!("{at}?live=1")).await;
        assert_eq!(live.header("refresh"), "5");
        let page = live.text();
        assert!(page.contains(&format!("href=\"{at}\">Stop")), "{page}");
        assert!(!page.contains("type=\"checkbox\""), "nothing to lose");
    }

    browser
        .post("/next-site", &format!("site=none&csrf={token}"))
        .await;
    assert_eq!(
        site.site.store.next_sites(hanako.user).await.unwrap(),
        Vec::new()
    );
}

#[tokio::test]
async fn nobody_sees_an_environment_without_signing_in() {
    let site = TestSite::new().await;
    let mut browser = Browser::new(&site);
    assert_eq!(browser.get("/environment").await.header("location"), "/");
    let token = csrf(&browser.get("/").await.text());
    let sent = browser
        .post("/next-site", &format!("site=none&csrf={token}"))
        .await;
    assert_eq!(sent.header("location"), "/");
    for (form, status) in [
        ("user=x".to_owned(), StatusCode::FORBIDDEN),
        (format!("csrf={token}"), StatusCode::UNAUTHORIZED),
    ] {
        let answer = browser.post("/sign-in", &form).await;
        assert_eq!(answer.status, status, "{form}");
    }
}
