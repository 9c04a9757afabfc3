//! What the desk does for users: adding them, invitations, second steps; and what it decides and hands out.

use axum::http::Method;
use serde_json::{Value, json};
use site_api::ProblemCode;
use site_server::{
    admin::{self, Role},
    retention::Retention,
    store::{Actor, Policy},
};

use crate::{
    desk::{Browser, operator, staff, token},
    portal,
    portal_account::recovery_of,
    support::{Person, TestSite, csrf},
};

async fn wish(site: &TestSite, at: &str, fields: &Value) -> crate::support::Answer {
    let operator = operator(site).await;
    let at = format!("/v1/admin{at}");
    site.json(Method::POST, &at, &operator, fields).await
}

async fn look(site: &TestSite, at: &str) -> Value {
    let operator = operator(site).await;
    let at = format!("/v1/admin{at}");
    site.json(Method::GET, &at, &operator, &()).await.json()
}

#[tokio::test]
async fn a_user_added_at_the_desk_chooses_a_password_with_the_invitation() {
    let site = TestSite::new().await;
    staff(&site, "helper", Role::HelpDesk).await;
    let hanako = Person::new("hanako");
    let registration = serde_json::to_string(&hanako.registration()).unwrap();
    let mut helper = Browser::signed_in(&site, "helper").await;
    let escaped: String = registration
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect();
    let added = helper
        .wish("/admin/users/add", &format!("registration={escaped}"))
        .await;
    let [code] = recovery_of(&added.text()).try_into().unwrap();
    let fields = json!({"registration": registration});
    let again = wish(&site, "/users/add", &fields).await;
    assert_eq!(again.status, 409, "{}", again.text());

    let store = &site.site.store;
    assert!(store.is_invited(hanako.user, &code).await.unwrap());
    let listed = look(&site, "/invitations").await;
    assert_eq!(listed[0]["name"], "hanako");
    assert_eq!(listed[0]["made_by"], "staff:helper");
    assert_eq!(listed[0]["used_ms"], Value::Null);
    let page = helper.get("/admin/invitations").await.text();
    assert!(
        page.contains("not used yet") && page.contains("Withdraw"),
        "{page}"
    );

    let phc =
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI";
    let here = site.site.config.site;
    let used = store.use_invitation(hanako.user, &code, phc, here).await;
    assert!(used.unwrap());
    let page = helper.get("/admin/invitations").await.text();
    assert!(
        page.contains(">used<") && !page.contains("Withdraw<"),
        "{page}"
    );
}

#[tokio::test]
async fn an_invitation_that_was_withdrawn_is_good_for_nothing() {
    let site = TestSite::new().await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let user = json!({"user": hanako.user.to_string()});
    let given: Value = wish(&site, "/users/recover", &user).await.json();
    let code = given["code"].as_str().unwrap();
    let store = &site.site.store;
    assert!(store.is_invited(hanako.user, code).await.unwrap());
    let done = wish(&site, "/invitations/withdraw", &user).await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert!(!store.is_invited(hanako.user, code).await.unwrap());
    let here = site.site.config.site;
    let used = store.use_invitation(hanako.user, code, "x", here).await;
    assert!(!used.unwrap());
    wish(&site, "/invitations/withdraw", &user)
        .await
        .is(404, ProblemCode::NotFound);
    let listed = look(&site, "/invitations").await;
    assert!(listed[0]["withdrawn_ms"].is_i64(), "{listed}");
}

#[tokio::test]
async fn the_second_step_of_a_user_is_turned_off_for_who_lost_everything() {
    let site = TestSite::new().await;
    let (_, hanako) = portal::signed_in(&site).await;
    let store = &site.site.store;
    let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    let here = site.site.config.site;
    let on = store.set_second_factor(hanako.user, secret, here).await;
    assert!(on.unwrap().is_some());
    let mut browser = portal::Browser::new(&site);
    let answer = browser.sign_in("hanako", &hanako.password).await;
    assert_eq!(answer.header("location"), "/sign-in/code");
    let mut fields = json!({"user": hanako.user.to_string()});
    wish(&site, "/users/reset-step", &fields)
        .await
        .is(400, ProblemCode::BadRequest);
    fields["typed"] = "hanako".into();
    assert_eq!(wish(&site, "/users/reset-step", &fields).await.status, 200);
    let answer = browser.sign_in("hanako", &hanako.password).await;
    assert_eq!(answer.header("location"), "/environment");
}

#[tokio::test]
async fn operators_set_what_is_kept_above_site_toml() {
    let site = TestSite::new().await;
    let configured = Retention {
        newest: 5,
        days: 14,
    };
    let store = &site.site.store;
    let now = async || store.policies().await.unwrap().retention(configured);
    assert_eq!(now().await, configured);
    let lines = look(&site, "/policies").await;
    let line = |lines: &Value, name: &str| {
        let all = lines.as_array().unwrap();
        all.iter()
            .find(|line| line["policy"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(line(&lines, "keep_newest")["otherwise"], "5");
    for (policy, value, status) in [
        ("keep_newest", "0", 400),
        ("keep_newest", "many", 400),
        ("keep_newest", "2", 200),
        ("keep_days", "0", 200),
    ] {
        let fields = json!({"policy": policy, "value": value});
        let answer = wish(&site, "/policies/set", &fields).await;
        assert_eq!(answer.status.as_u16(), status, "{policy} {value}");
    }
    assert_eq!(now().await, Retention { newest: 2, days: 0 });
    let unset = json!({"policy": "keep_newest"});
    assert_eq!(wish(&site, "/policies/set", &unset).await.status, 200);
    assert_eq!(now().await, Retention { newest: 5, days: 0 });
}

#[tokio::test]
async fn the_log_is_downloaded_whole_and_verifies() {
    let site = TestSite::new().await;
    staff(&site, "auditor", Role::Auditor).await;
    staff(&site, "helper", Role::HelpDesk).await;
    // More than one page of rows.
    let deed = site_server::store::Deed::new(Actor::Operator, "test", "row");
    for _ in 0..1100 {
        site.site.store.audit(&deed).await.unwrap();
    }
    let helper = token(&site, "helper").await;
    let at = "/v1/admin/audit/export";
    site.json(Method::GET, at, &helper, &())
        .await
        .is(403, ProblemCode::NotGranted);
    let auditor = token(&site, "auditor").await;
    let file = site.json(Method::GET, at, &auditor, &()).await;
    assert_eq!(file.header("content-type"), "application/jsonl");
    let exported = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(exported.path(), &file.body).unwrap();
    let anchor = admin::audit_verify_file(exported.path(), None).unwrap();
    let verified = admin::audit_verify(site.site.layout.root(), None).await;
    assert_eq!(anchor, verified.unwrap(), "all of it");
    let last: Value = serde_json::from_str(file.text().lines().last().unwrap()).unwrap();
    assert_eq!(last["action"], "audit.export", "and that it was handed out");
    let mut browser = Browser::signed_in(&site, "auditor").await;
    let page = browser.get("/admin/audit/export").await;
    assert!(
        page.header("content-disposition")
            .contains("furoshiki-audit")
    );
    let stranger = site.get("/admin/audit/export", &[]).await;
    assert_eq!(stranger.header("location"), "/admin");
}

#[tokio::test]
async fn a_user_sees_the_room_that_is_used_and_when_it_is_nearly_gone() {
    let site = TestSite::new().await;
    let (mut browser, hanako) = portal::signed_in(&site).await;
    portal::save(&site, &hanako).await;
    let page = browser.get("/environment").await.text();
    assert!(page.contains("52.4 kB (no limit)"), "{page}");
    let store = &site.site.store;
    for (quota, nearly) in [("100000", false), ("55000", true)] {
        store
            .set_policy(Actor::Operator, Policy::QuotaBytes, quota)
            .await
            .unwrap();
        let page = browser.get("/environment").await.text();
        assert!(page.contains(&format!("max=\"{quota}\"")), "{page}");
        assert_eq!(page.contains("nearly used up"), nearly, "{quota}");
    }
}

#[tokio::test]
async fn a_failure_is_told_in_the_language_of_the_page() {
    let site = TestSite::new().await;
    staff(&site, "op", Role::Operator).await;
    let mut op = Browser::signed_in(&site, "op").await;
    let token = csrf(&op.get("/admin/overview").await.text());
    let form = format!("policy=keep_days&value=x&csrf={token}");
    op.language = "ja";
    let page = op.post("/admin/policies/set", &form).await;
    assert_eq!(page.status, 400);
    assert!(page.text().contains("「値」が空か、正しくありません。"));
    op.language = "en";
    let page = op.post("/admin/policies/set", &form).await;
    assert!(page.text().contains("The field value lacks or is not one."));
}
