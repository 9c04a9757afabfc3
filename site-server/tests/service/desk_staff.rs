//! Accounts of the staff: adding them, their passwords, their second step.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use site_api::ProblemCode;
use site_server::{admin::Role, store::Actor};

use crate::{
    desk::{Browser, PASSWORD, operator, staff, token},
    portal_account::{code, recovery_of, secret_of},
    support::{Answer, TestSite, csrf},
    throttle::with_dearer_hashes,
};

#[tokio::test]
async fn an_operator_adds_staff_who_chooses_another_password() {
    let site = TestSite::new().await;
    staff(&site, "op", Role::Operator).await;
    let mut op = Browser::signed_in(&site, "op").await;
    let added = op
        .wish("/admin/staff/add", "name=mika&role=help-desk")
        .await;
    assert_eq!(added.status, 200, "{}", added.text());
    let [given] = recovery_of(&added.text()).try_into().unwrap();
    for (fields, status) in [
        ("name=mika&role=operator", 409),
        ("name=Mika+M&role=auditor", 400),
        ("name=yuki&role=user", 400),
    ] {
        let refused = op.wish("/admin/staff/add", fields).await;
        assert_eq!(refused.status.as_u16(), status, "{fields}");
    }

    let mut mika = Browser::new(&site);
    let answer = mika.sign_in("mika", &given).await;
    assert_eq!(answer.header("location"), "/admin/overview");
    let mut elsewhere = Browser::new(&site);
    elsewhere.sign_in("mika", &given).await;
    let change = async |browser: &mut Browser<'_>, now: &str, new: &str, again: &str| {
        let token = csrf(&browser.get("/admin/account").await.text());
        let form = format!("now={now}&new={new}&again={again}&csrf={token}");
        browser.post("/admin/account/password", &form).await
    };
    for (now, new, again) in [
        (given.as_str(), "short", "short"),
        (&given, "a-new-password", "another-password"),
        ("wrong", "a-new-password", "a-new-password"),
    ] {
        let refused = change(&mut mika, now, new, again).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{new}");
    }
    let changed = change(&mut mika, &given, "a-new-password", "a-new-password").await;
    assert_eq!(changed.header("location"), "/admin/account?done=1");
    assert_eq!(mika.get("/admin/overview").await.status, 200);
    let out = elsewhere.get("/admin/overview").await;
    assert_eq!(out.header("location"), "/admin", "other sign-ins end");

    // Another role: at once, and never one's own.
    let own = op.wish("/admin/staff/role", "name=op&role=auditor").await;
    assert_eq!(own.status, 400);
    op.wish("/admin/staff/role", "name=mika&role=auditor").await;
    assert_eq!(
        mika.get("/admin/users").await.header("location"),
        "/admin",
        "sign-ins of the old role end"
    );
    let known = site.site.store.staff_by_name("mika").await.unwrap();
    assert_eq!(known.unwrap().role, Role::Auditor);
    let rows = site.site.store.audit_after(0, 1000).await.unwrap();
    for action in ["staff.add", "staff.password", "staff.role"] {
        assert!(rows.iter().any(|row| row.action == action), "{action}");
    }
    let told = serde_json::to_string(&rows).unwrap();
    assert!(!told.contains(&given), "no password is in the log");
}

async fn answer_code(browser: &mut Browser<'_>, code: &str) -> Answer {
    let token = csrf(&browser.get("/admin/sign-in/code").await.text());
    let form = format!("code={code}&csrf={token}");
    browser.post("/admin/sign-in/code", &form).await
}

#[tokio::test]
async fn staff_with_a_second_step_give_a_code_at_the_desk_and_at_the_api() {
    let site = TestSite::new().await;
    staff(&site, "op", Role::Operator).await;
    staff(&site, "boss", Role::Operator).await;
    let old = token(&site, "op").await;
    let mut op = Browser::signed_in(&site, "op").await;
    let page = op.get("/admin/account/second-step").await.text();
    let (secret, csrf_token) = (secret_of(&page), csrf(&page));
    let turn_on = |code: &str| format!("secret={secret}&code={code}&csrf={csrf_token}");
    let at = "/admin/account/second-step";
    let wrong = op.post(at, &turn_on("000000")).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    let on = op.post(at, &turn_on(&code(&secret, 0))).await;
    let recovery = recovery_of(&on.text());
    assert_eq!(recovery.len(), 8);
    let users = async |token: &str| site.json(Method::GET, "/v1/admin/users", token, &()).await;
    users(&old).await.is(401, ProblemCode::NotSignedIn);
    assert_eq!(op.get("/admin/users").await.status, 200, "this one goes on");

    // The password alone opens nothing.
    let mut half = Browser::new(&site);
    let answer = half.sign_in("op", PASSWORD).await;
    assert_eq!(answer.header("location"), "/admin/sign-in/code");
    assert_eq!(half.get("/admin/users").await.header("location"), "/admin");
    let wrong = answer_code(&mut half, "123456").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    let now = code(&secret, 0);
    let right = answer_code(&mut half, &now).await;
    assert_eq!(right.header("location"), "/admin/overview");
    assert_eq!(half.get("/admin/users").await.status, 200);

    let ask = async |code: &str| {
        let mut asked = json!({"name": "op", "password": PASSWORD});
        if !code.is_empty() {
            asked["code"] = code.into();
        }
        let at = "/v1/admin/sign-in";
        site.json(Method::POST, at, "", &asked).await
    };
    ask("").await.is(401, ProblemCode::NotSignedIn);
    ask(&now).await.is(401, ProblemCode::WrongPassword);
    let answer = ask(&recovery[0]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let given = answer.json::<Value>()["token"].as_str().unwrap().to_owned();
    assert_eq!(users(&given).await.status, 200);
    ask(&recovery[0]).await.is(401, ProblemCode::WrongPassword);

    // Another operator helps who lost phone and codes; the secret is in no file in clear.
    site.hides(&[&secret]);
    let own = half
        .wish("/admin/staff/reset-step", "name=op&typed=op")
        .await;
    assert_eq!(own.status, 400, "one's own asks for a code");
    let mut boss = Browser::signed_in(&site, "boss").await;
    let asked = boss.wish("/admin/staff/reset-step", "name=op").await;
    assert!(asked.text().contains("name=\"typed\""));
    let done = boss
        .wish("/admin/staff/reset-step", "name=op&typed=op")
        .await;
    assert_eq!(done.header("location"), "/admin/staff?done=1");
    assert_eq!(ask("").await.status, 200);
}

#[tokio::test]
async fn a_second_step_is_turned_off_with_a_code_and_wrong_ones_are_counted() {
    let site = TestSite::new().await;
    staff(&site, "op", Role::Auditor).await;
    let mut op = Browser::signed_in(&site, "op").await;
    let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    let store = &site.site.store;
    let codes = store.set_staff_factor("op", secret, "").await.unwrap();
    assert_eq!(
        op.get("/admin/account").await.header("location"),
        "/admin",
        "sign-ins without it end"
    );
    op.sign_in("op", PASSWORD).await;
    answer_code(&mut op, &codes[0]).await;
    let page = op.get("/admin/account").await.text();
    assert!(page.contains("recovery codes left: 7"), "{page}");
    let off = async |op: &mut Browser<'_>, code: &str| {
        let token = csrf(&op.get("/admin/account").await.text());
        let form = format!("code={code}&csrf={token}");
        op.post("/admin/account/second-step/off", &form).await
    };
    assert_eq!(off(&mut op, "123456").await.status, 422);
    let done = off(&mut op, &codes[1]).await;
    assert_eq!(done.header("location"), "/admin/account?done=1");
    assert!(store.staff_factor("op").await.unwrap().is_none());

    store.set_staff_factor("op", secret, "").await.unwrap();
    let mut guessing = Browser::new(&site);
    guessing.sign_in("op", PASSWORD).await;
    for _ in 0..5 {
        answer_code(&mut guessing, "123456").await;
    }
    assert_eq!(answer_code(&mut guessing, "123456").await.status, 429);
}

#[tokio::test]
async fn the_pages_of_ones_account_are_of_staff_alone_and_their_forms_of_their_page() {
    let site = TestSite::new().await;
    staff(&site, "op", Role::Auditor).await;
    let mut op = Browser::signed_in(&site, "op").await;
    for at in ["/admin/account", "/admin/account/second-step"] {
        assert_eq!(site.get(at, &[]).await.header("location"), "/admin");
        assert_eq!(op.get(at).await.status, 200);
    }
    for at in [
        "/admin/account/password",
        "/admin/account/second-step",
        "/admin/account/second-step/off",
        "/admin/sign-in/code",
        "/admin/sign-out",
    ] {
        for sent in ["", "csrf=", &format!("csrf={}", "0".repeat(64))] {
            assert_eq!(op.post(at, sent).await.status, 403, "{at} {sent}");
        }
    }
    // The operator's token is nobody's account.
    let token = operator(&site).await;
    let bearer = format!("Bearer {token}");
    let page = site
        .get("/admin/account", &[("authorization", &bearer)])
        .await;
    assert_eq!(page.header("location"), "/admin");
    let store = &site.site.store;
    let none = store.clear_staff_factor(Actor::Operator, "nobody").await;
    assert!(!none.unwrap());
}

#[tokio::test]
async fn a_hash_of_the_staff_is_renewed_at_the_next_right_password_on_the_disk() {
    let site = TestSite::new().await;
    staff(&site, "op", Role::Operator).await;
    let phc = async |site: &TestSite| {
        let staff = site.site.store.staff_by_name("op").await.unwrap();
        staff.unwrap().password_phc
    };
    let old = phc(&site).await;
    assert!(old.contains("m=19456,t=2,"), "{old}");
    let site = with_dearer_hashes(site).await;
    let mut browser = Browser::new(&site);
    assert_eq!(browser.sign_in("op", "a wrong password").await.status, 401);
    assert_eq!(phc(&site).await, old);
    let answer = browser.sign_in("op", PASSWORD).await;
    assert_eq!(answer.header("location"), "/admin/overview");
    let new = phc(&site).await;
    assert!(new.contains("m=24576,t=2,"), "{new}");
    Browser::new(&site).sign_in("op", PASSWORD).await;
    assert_eq!(phc(&site).await, new);
}
