//! The desk: who may do what, and what is shown of whom.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::http::Method;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use site_api::{
    ProblemCode,
    pc::{Stage, StageReport},
};
use site_server::{
    admin::{self, Action, Role},
    desk,
    store::{Actor, AuditFilter, Policy},
};
use snapshot::id::{SiteId, UserId};

use crate::{
    patient::again,
    support::{Answer, Card, Person, TestSite, csrf, random, random_bytes},
};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
pub(crate) const PASSWORD: &str = "a password of the staff";

/// A browser of the staff.
pub(crate) struct Browser<'a> {
    site: &'a TestSite,
    cookie: String,
    pub(crate) language: &'static str,
}

impl<'a> Browser<'a> {
    pub(crate) const fn new(site: &'a TestSite) -> Self {
        Self {
            site,
            cookie: String::new(),
            language: "en",
        }
    }

    pub(crate) async fn signed_in(site: &'a TestSite, name: &str) -> Self {
        let mut browser = Self::new(site);
        let answer = browser.sign_in(name, PASSWORD).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        assert_eq!(answer.header("location"), "/admin/overview");
        browser
    }

    pub(crate) async fn sign_in(&mut self, name: &str, password: &str) -> Answer {
        let csrf = csrf(&self.get("/admin").await.text());
        let password = password.replace(' ', "+");
        let form = format!("name={name}&password={password}&csrf={csrf}");
        self.post("/admin", &form).await
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
        if let Some((cookie, _)) = answer.header("set-cookie").split_once(';') {
            self.cookie = cookie.to_owned();
        }
        answer
    }

    pub(crate) async fn get(&mut self, at: &str) -> Answer {
        self.ask(Method::GET, at, &[], "").await
    }

    pub(crate) async fn post(&mut self, at: &str, body: &str) -> Answer {
        self.ask(Method::POST, at, &[], body).await
    }

    /// Posts these fields with the token of a page.
    pub(crate) async fn wish(&mut self, at: &str, fields: &str) -> Answer {
        let csrf = csrf(&self.get("/admin/overview").await.text());
        self.post(at, &format!("{fields}&csrf={csrf}")).await
    }
}

pub(crate) async fn staff(site: &TestSite, name: &str, role: Role) {
    let data = site.site.layout.root();
    again(async || admin::staff_add(data, name, role, PASSWORD).await).await;
}

pub(crate) async fn token(site: &TestSite, name: &str) -> String {
    let asked = json!({"name": name, "password": PASSWORD});
    let answer = site
        .json(Method::POST, "/v1/admin/sign-in", "", &asked)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json::<Value>()["token"].as_str().unwrap().to_owned()
}

pub(crate) async fn operator(site: &TestSite) -> String {
    let path = site.site.layout.operator_token();
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

/// Who may do it: operator, help desk, auditor.
fn expected() -> BTreeMap<(&'static str, &'static str), [bool; 3]> {
    const ALL: [bool; 3] = [true, true, true];
    const BUT_AUDITOR: [bool; 3] = [true, true, false];
    const BUT_HELP_DESK: [bool; 3] = [true, false, true];
    const OPERATOR: [bool; 3] = [true, false, false];
    BTreeMap::from([
        (("GET", "/overview"), ALL),
        (("GET", "/users"), ALL),
        (("GET", "/user"), ALL),
        (("GET", "/invitations"), ALL),
        (("GET", "/sites"), ALL),
        (("GET", "/pcs"), ALL),
        (("GET", "/releases"), ALL),
        (("GET", "/policies"), ALL),
        (("GET", "/relays"), ALL),
        (("GET", "/audit"), BUT_HELP_DESK),
        (("GET", "/audit/export"), BUT_HELP_DESK),
        (("GET", "/staff"), BUT_HELP_DESK),
        (("POST", "/users/disable"), BUT_AUDITOR),
        (("POST", "/users/enable"), BUT_AUDITOR),
        (("POST", "/users/remove"), OPERATOR),
        (("POST", "/users/recover"), BUT_AUDITOR),
        (("POST", "/users/add"), BUT_AUDITOR),
        (("POST", "/users/reset-step"), BUT_AUDITOR),
        (("POST", "/invitations/withdraw"), BUT_AUDITOR),
        (("POST", "/users/quota"), OPERATOR),
        (("POST", "/cards/revoke"), BUT_AUDITOR),
        (("POST", "/cards/replace"), BUT_AUDITOR),
        (("POST", "/sites/expel"), OPERATOR),
        (("POST", "/pcs/enrol"), OPERATOR),
        (("POST", "/pcs/revoke"), OPERATOR),
        (("POST", "/releases/start"), OPERATOR),
        (("POST", "/releases/withdraw"), OPERATOR),
        (("POST", "/policies/set"), OPERATOR),
        (("POST", "/staff/add"), OPERATOR),
        (("POST", "/staff/role"), OPERATOR),
        (("POST", "/staff/password"), OPERATOR),
        (("POST", "/staff/reset-step"), OPERATOR),
        (("POST", "/staff/disable"), OPERATOR),
        (("POST", "/staff/enable"), OPERATOR),
    ])
}

#[tokio::test]
async fn every_way_of_the_desk_is_open_to_the_roles_of_this_table_and_to_nobody_else() {
    let site = TestSite::new().await;
    let roles = [
        (Role::Operator, "op"),
        (Role::HelpDesk, "helper"),
        (Role::Auditor, "auditor"),
    ];
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let user = site.sign_in(&hanako).await.token;
    let mut browsers = Vec::new();
    let mut tokens = Vec::new();
    for (role, name) in roles {
        staff(&site, name, role).await;
        browsers.push(Browser::signed_in(&site, name).await);
        tokens.push(token(&site, name).await);
    }
    let expected = expected();
    let ways = desk::ways();
    assert_eq!(
        ways.len(),
        2 * expected.len(),
        "a way of the desk lacks a row here"
    );
    for (method, at) in ways.keys() {
        let below = at
            .strip_prefix("/v1/admin")
            .or(at.strip_prefix("/admin"))
            .unwrap();
        let allowed = expected
            .get(&(*method, below))
            .unwrap_or_else(|| panic!("{method} {at} lacks a row here"));
        let verb: Method = method.parse().unwrap();
        for (n, (role, _)) in roles.iter().enumerate() {
            // An allowed wish without its fields is 400, a view of nobody 404.
            let answer = if at.starts_with("/v1/") {
                site.json(verb.clone(), at, &tokens[n], &json!({})).await
            } else if verb == Method::GET {
                browsers[n].get(at).await
            } else {
                browsers[n].wish(at, "x=1").await
            };
            let open = answer.status != 403;
            assert_eq!(
                open, allowed[n],
                "{role:?} {method} {at}: {}",
                answer.status
            );
        }
        // A user's token, a dead one and none at all open nothing, nor does a cookie at the API.
        if at.starts_with("/v1/") {
            for nobody in [user.as_str(), "", &"0".repeat(64)] {
                site.json(verb.clone(), at, nobody, &json!({}))
                    .await
                    .is(401, ProblemCode::NotSignedIn);
            }
            let cookie = browsers[0].cookie.clone();
            let headers = [
                ("cookie", cookie.as_str()),
                ("content-type", "application/json"),
            ];
            site.call(verb, at, &headers, "{}")
                .await
                .is(401, ProblemCode::NotSignedIn);
        } else if verb == Method::GET {
            let answer = site.get(at, &[]).await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("location")),
                (303, "/admin")
            );
        } else {
            let answer = site.call(verb, at, &[FORM], "csrf=").await;
            assert_eq!(answer.status, 403, "{at}");
        }
    }
    let refused = AuditFilter {
        action: "desk.refused".into(),
        ..AuditFilter::default()
    };
    let rows = site.site.store.audit_newest(&refused, None, 1000).await;
    assert!(rows.unwrap().len() > 20, "what was refused is in the log");
}

#[test]
fn a_user_may_nothing_at_the_desk() {
    for action in desk::ways().values() {
        assert!(!admin::allow(Role::User, *action), "{action:?}");
    }
    assert!(!admin::allow(Role::Auditor, Action::SetPolicy));
}

#[tokio::test]
async fn a_form_of_another_page_does_nothing() {
    let site = TestSite::new().await;
    staff(&site, "op", Role::Operator).await;
    let mut browser = Browser::signed_in(&site, "op").await;
    let mine = csrf(&browser.get("/admin/overview").await.text());
    let fields = "policy=walk_in&value=no";
    for (more, sent) in [
        (vec![], String::new()),
        (vec![], "0".repeat(64)),
        (vec![("origin", "https://evil.example")], mine.clone()),
        (vec![("sec-fetch-site", "cross-site")], mine.clone()),
    ] {
        let body = format!("{fields}&csrf={sent}");
        let answer = browser
            .ask(Method::POST, "/admin/policies/set", &more, &body)
            .await;
        assert_eq!(answer.status, 403, "{more:?}");
    }
    assert!(site.site.store.policies().await.unwrap().walk_in);
    let answer = browser
        .post("/admin/policies/set", &format!("{fields}&csrf={mine}"))
        .await;
    assert_eq!(answer.header("location"), "/admin/policies?done=1");
    assert!(!site.site.store.policies().await.unwrap().walk_in);
}

#[tokio::test]
async fn what_cannot_be_taken_back_asks_for_the_name() {
    let site = TestSite::new().await;
    staff(&site, "op", Role::Operator).await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let mut browser = Browser::signed_in(&site, "op").await;
    let fields = format!("user={}", hanako.user);
    for typed in ["", "&typed=Hanako", "&typed=jiro"] {
        let asked = browser
            .wish("/admin/users/remove", &format!("{fields}{typed}"))
            .await;
        assert_eq!(asked.status, 200);
        assert!(asked.text().contains("name=\"typed\""), "{typed}");
        assert!(site.site.store.user(hanako.user).await.unwrap().is_some());
    }
    let operator = operator(&site).await;
    site.json(
        Method::POST,
        "/v1/admin/users/remove",
        &operator,
        &json!({"user": hanako.user.to_string()}),
    )
    .await
    .is(400, ProblemCode::BadRequest);
    let done = browser
        .wish("/admin/users/remove", &format!("{fields}&typed=hanako"))
        .await;
    assert_eq!(done.header("location"), "/admin/users?done=1");
    assert!(site.site.store.user(hanako.user).await.unwrap().is_none());
    let rows = site.site.store.audit_after(0, 1000).await.unwrap();
    let last = rows.last().unwrap();
    assert_eq!(
        (last.actor.as_str(), last.action.as_str()),
        ("staff:op", "user.remove")
    );
}

#[tokio::test]
async fn a_revoked_card_and_a_disabled_user_are_out_at_once() {
    let site = TestSite::new().await;
    let operator = operator(&site).await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let wish = async |at: &str, more: Value| {
        let mut fields = json!({"user": hanako.user.to_string()});
        for (name, value) in more.as_object().unwrap() {
            fields[name] = value.clone();
        }
        let at = format!("/v1/admin/{at}");
        let answer = site.json(Method::POST, &at, &operator, &fields).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    let head = async |token: &str| site.json(Method::GET, "/v1/head", token, &()).await;

    let first = site.sign_in(&hanako).await.token;
    head(&first).await.is(404, ProblemCode::NotFound);
    wish("users/disable", json!({})).await;
    head(&first).await.is(401, ProblemCode::NotSignedIn);
    site.challenge(hanako.card.id)
        .await
        .is(403, ProblemCode::CardRevoked);
    wish("users/enable", json!({})).await;

    let second = site.sign_in(&hanako).await.token;
    let card = hanako.card.id.to_string();
    wish("cards/revoke", json!({"card": card, "typed": "hanako"})).await;
    head(&second).await.is(401, ProblemCode::NotSignedIn);
    site.challenge(hanako.card.id)
        .await
        .is(403, ProblemCode::CardRevoked);

    // A new card of the same person.
    let replaced = Person {
        card: Card::new(),
        keys: snapshot::keys::SnapshotKeys::derive(
            &snapshot::keys::UserKey::from_bytes(hanako.user_key),
            hanako.user,
            1,
        ),
        name: hanako.name.clone(),
        password: hanako.password.clone(),
        ..hanako
    };
    let registration = serde_json::to_string(&replaced.registration()).unwrap();
    let fields = json!({"registration": registration});
    let answer = site
        .json(Method::POST, "/v1/admin/cards/replace", &operator, &fields)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    site.sign_in(&replaced).await;
}

#[tokio::test]
async fn a_user_keeps_no_more_than_the_quota() {
    let site = TestSite::new().await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let store = &site.site.store;
    let token = site.sign_in(&hanako).await.token;
    let first = random_bytes(1000);
    assert_eq!(site.put_object(&token, &first).await.status, 201);
    store
        .set_policy(Actor::Operator, Policy::QuotaBytes, "1500")
        .await
        .unwrap();
    let second = random_bytes(501);
    let refused = site.put_object(&token, &second).await;
    refused.is(507, ProblemCode::SiteFull);
    assert!(refused.text().contains("1500 bytes"), "{}", refused.text());
    assert_eq!(site.staged(), 0, "nothing is left of it");
    assert_eq!(
        site.put_object(&token, &first).await.status,
        200,
        "what is here may come again"
    );
    assert_eq!(
        site.put_object(&token, &random_bytes(500)).await.status,
        201
    );
    assert_eq!(store.used_bytes(hanako.user).await.unwrap(), 1500);

    store
        .set_quota(Actor::Operator, hanako.user, Some(2001))
        .await
        .unwrap();
    assert_eq!(site.put_object(&token, &second).await.status, 201);
    // Without a length in the request the store itself decides.
    let put = site
        .call(
            Method::PUT,
            &site_api::path::object(snapshot::id::ObjectId::of(b"x")),
            &[("authorization", &format!("Bearer {token}"))],
            axum::body::Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(
                "x",
            )])),
        )
        .await;
    put.is(507, ProblemCode::SiteFull);
}

#[tokio::test]
async fn hostile_names_are_text_and_nothing_else() {
    let site = TestSite::new().await;
    staff(&site, "op", Role::Operator).await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let hostile = "\"><script>alert(1)</script>\u{0}\u{202e}";
    let asked = site.challenge(hanako.card.id).await.json();
    let mut answered = crate::support::answer(&hanako.card, &asked, &hanako.name, &hanako.password);
    answered.pc = hostile.into();
    let signed_in = site
        .json(Method::POST, site_api::path::SIGN_IN, "", &answered)
        .await;
    assert_eq!(signed_in.status, 200, "{}", signed_in.text());
    site.site
        .store
        .add_site(
            SiteId::new(random()),
            "<b>Far & \"away\"</b>",
            "https://far.example",
        )
        .await
        .unwrap();
    let mut browser = Browser::signed_in(&site, "op").await;
    for at in ["/admin/pcs", "/admin/audit", "/admin/sites"] {
        let page = browser.get(at).await.text();
        assert!(!page.contains("<script") && !page.contains("<b>"), "{at}");
        assert!(
            page.contains("script&#62;") || page.contains("&#60;b&#62;"),
            "{at}: {page}"
        );
    }
    let search = browser
        .get("/admin/audit?actor=%22%3E%3Cscript%3E&before=99")
        .await
        .text();
    assert!(!search.contains("<script"));
}

#[tokio::test]
async fn the_desk_speaks_both_languages_and_shows_states_in_words() {
    let site = TestSite::new().await;
    staff(&site, "op", Role::Operator).await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let mut browser = Browser::signed_in(&site, "op").await;
    let mut seen = Vec::new();
    for language in ["en", "ja"] {
        browser.language = language;
        for (at, _, _) in admin::ViewKind::ALL {
            let at = if at == "/user" {
                "/admin/user?user=hanako".to_owned()
            } else {
                format!("/admin{at}")
            };
            let answer = browser.get(&at).await;
            assert_eq!(answer.status, 200, "{at}");
            let page = answer.text();
            assert!(
                page.contains(&format!("<html lang=\"{language}\">")),
                "{at}"
            );
            assert!(
                !page.contains("argon2") && !page.contains("style=\""),
                "{at}"
            );
            seen.push(page);
        }
    }
    assert!(seen.iter().any(|page| page.contains("active")));
    assert!(seen.iter().any(|page| page.contains("有効")));
}

#[tokio::test]
async fn an_enrolled_pc_signs_what_it_says_and_nobody_says_it_again() {
    let site = TestSite::new().await;
    let store = &site.site.store;
    let pair = Ed25519KeyPair::from_seed_unchecked(&random::<32>()).unwrap();
    let key: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
    store.enrol_pc(Actor::Operator, "pc-7", key).await.unwrap();
    let now: site_api::SiteInfo = site.get("/v1/site", &[]).await.json();
    let report = |site_id: SiteId, pc: &str, at_ms: i64| {
        let mut report = StageReport {
            stage: Stage::Failed,
            at_ms,
            user: Some(UserId::new([7; 16])),
            error: "RESTORE-WRITE".into(),
            signature_b64: String::new(),
        };
        let bytes = report.signed_bytes(site_id, pc);
        report.signature_b64 = STANDARD.encode(pair.sign(&bytes).as_ref());
        report
    };
    let here = site.site.config.site;
    let say = async |pc: &str, report: &StageReport| {
        site.json(Method::POST, &site_api::path::pc_stage(pc), "", report)
            .await
    };
    let good = report(here, "pc-7", now.now_ms);
    assert_eq!(say("pc-7", &good).await.status, 204);
    say("pc-7", &good).await.is(400, ProblemCode::BadRequest);
    let mut altered = report(here, "pc-7", now.now_ms + 1);
    altered.stage = Stage::InUse;
    say("pc-7", &altered)
        .await
        .is(422, ProblemCode::WrongSignature);
    let elsewhere = report(SiteId::new([9; 16]), "pc-7", now.now_ms + 1);
    say("pc-7", &elsewhere)
        .await
        .is(422, ProblemCode::WrongSignature);
    say("pc-8", &report(here, "pc-8", now.now_ms))
        .await
        .is(422, ProblemCode::WrongSignature);
    say("pc-7", &report(here, "pc-7", now.now_ms + 3_600_000))
        .await
        .is(400, ProblemCode::BadRequest);

    let board = store.pcs().await.unwrap();
    assert_eq!(board.len(), 1);
    assert!(board[0].proven && board[0].stage == Some(Stage::Failed));
    assert_eq!(board[0].error, "RESTORE-WRITE");
    assert!(store.revoke_pc(Actor::Operator, "pc-7").await.unwrap());
    say("pc-7", &report(here, "pc-7", now.now_ms + 2))
        .await
        .is(422, ProblemCode::WrongSignature);
}

#[tokio::test]
async fn staff_wait_after_wrong_passwords_and_a_disabled_one_is_out() {
    let site = TestSite::alone().await;
    staff(&site, "helper", Role::HelpDesk).await;
    let good = token(&site, "helper").await;
    let users = async || site.json(Method::GET, "/v1/admin/users", &good, &()).await;
    assert_eq!(users().await.status, 200);
    let store = &site.site.store;
    assert!(
        store
            .switch_staff(Actor::Operator, "helper", true)
            .await
            .unwrap()
    );
    users().await.is(401, ProblemCode::NotSignedIn);
    let wrong = json!({"name": "helper", "password": PASSWORD});
    for _ in 0..5 {
        site.json(Method::POST, "/v1/admin/sign-in", "", &wrong)
            .await
            .is(401, ProblemCode::WrongPassword);
    }
    site.json(Method::POST, "/v1/admin/sign-in", "", &wrong)
        .await
        .is(429, ProblemCode::TooManyTries);
}
