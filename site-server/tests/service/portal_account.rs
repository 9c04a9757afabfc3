//! Password, second step, sign-ins.

use axum::http::StatusCode;
use totp_rs::{Builder, Secret};

use crate::{
    portal::{Browser, signed_in},
    support::{Person, TestSite, csrf, register},
    world::{World, eventually},
};

/// The code an authenticator app shows so many steps from now.
pub(crate) fn code(secret: &str, steps: i64) -> String {
    let totp = Builder::new()
        .with_secret(Secret::try_from_base32(secret).unwrap())
        .build()
        .unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    totp.generate(now.saturating_add_signed(30 * steps))
        .to_string()
}

pub(crate) fn secret_of(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"secret\" value=\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

pub(crate) fn recovery_of(page: &str) -> Vec<String> {
    let (_, list) = page.split_once("class=\"codes\">").unwrap();
    let (list, _) = list.split_once("</ul>").unwrap();
    let codes = list.split("<li>").skip(1);
    codes
        .map(|code| code.split('<').next().unwrap().to_owned())
        .collect()
}

async fn change(browser: &mut Browser<'_>, now: &str, new: &str, again: &str) -> StatusCode {
    let token = csrf(&browser.get("/account").await.text());
    let plus = |text: &str| text.replace(' ', "+");
    let form = format!(
        "now={}&new={}&again={}&csrf={token}",
        plus(now),
        plus(new),
        plus(again)
    );
    browser.post("/account/password", &form).await.status
}

#[tokio::test]
async fn a_new_password_ends_every_other_sign_in() {
    let site = TestSite::new().await;
    let (mut browser, hanako) = signed_in(&site).await;
    let mut other = Browser::new(&site);
    other.sign_in("hanako", &hanako.password).await;
    let pc = site.sign_in(&hanako).await.token;
    let old = hanako.password.as_str();
    for (now, new, again) in [
        ("wrong password", "a new password", "a new password"),
        (old, "short", "short"),
        (old, "a new password", "another password"),
    ] {
        let status = change(&mut browser, now, new, again).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{new} {again}");
    }
    let before = browser.cookie.clone();
    let status = change(&mut browser, old, "a new password", "a new password").await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_ne!(browser.cookie, before);
    assert_eq!(browser.get("/environment").await.status, StatusCode::OK);
    assert_eq!(other.get("/environment").await.header("location"), "/");
    let bearer = format!("Bearer {pc}");
    let dead = site
        .get("/v1/head", &[("authorization", bearer.as_str())])
        .await;
    assert_eq!(dead.status, StatusCode::UNAUTHORIZED);
    let refused = Browser::new(&site).sign_in("hanako", old).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let taken = Browser::new(&site)
        .sign_in("hanako", "a new password")
        .await;
    assert_eq!(taken.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn signing_out_everywhere_ends_this_browser_too() {
    let site = TestSite::new().await;
    let (mut browser, hanako) = signed_in(&site).await;
    let mut other = Browser::new(&site);
    other.sign_in("hanako", &hanako.password).await;
    let page = browser.get("/account").await.text();
    assert_eq!(page.matches("until").count(), 2, "two sign-ins: {page}");
    let kept = browser.cookie.clone();
    let form = format!("csrf={}", csrf(&page));
    let left = browser.post("/account/everywhere", &form).await;
    assert_eq!(left.header("location"), "/");
    browser.cookie = kept;
    for browser in [&mut browser, &mut other] {
        assert_eq!(browser.get("/environment").await.header("location"), "/");
    }
}

#[tokio::test]
async fn the_second_step_is_asked_for_and_each_code_works_once() {
    let site = TestSite::new().await;
    let (mut browser, hanako) = signed_in(&site).await;
    let page = browser.get("/account/second-factor").await.text();
    assert!(page.contains("<svg") && page.contains("role=\"img\""));
    let (secret, token) = (secret_of(&page), csrf(&page));
    let turn_on = |code: &str| format!("secret={secret}&code={code}&csrf={token}");
    let wrong = browser
        .post("/account/second-factor", &turn_on("000000"))
        .await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    let on = browser
        .post("/account/second-factor", &turn_on(&code(&secret, 0)))
        .await;
    let recovery = recovery_of(&on.text());
    assert_eq!(recovery.len(), 8);

    // The secret is not in the database, nor anywhere else in clear.
    site.hides(&[&secret]);

    let half = async || {
        let mut browser = Browser::new(&site);
        let answer = browser.sign_in("hanako", &hanako.password).await;
        assert_eq!(answer.header("location"), "/sign-in/code");
        browser
    };
    let give = async |browser: &mut Browser<'_>, code: &str| {
        let token = csrf(&browser.get("/sign-in/code").await.text());
        browser
            .post("/sign-in/code", &format!("code={code}&csrf={token}"))
            .await
    };
    let mut first = half().await;
    assert_eq!(
        first.get("/environment").await.header("location"),
        "/",
        "the password alone opens nothing"
    );
    assert_eq!(
        give(&mut first, "123456").await.status,
        StatusCode::UNAUTHORIZED
    );
    let now = code(&secret, 0);
    assert_eq!(
        give(&mut first, &now).await.header("location"),
        "/environment"
    );
    assert_eq!(first.get("/environment").await.status, StatusCode::OK);
    let mut second = half().await;
    assert_eq!(
        give(&mut second, &now).await.status,
        StatusCode::UNAUTHORIZED,
        "a code is taken once"
    );
    let lower = recovery[0].to_lowercase();
    assert_eq!(
        give(&mut second, &lower).await.header("location"),
        "/environment"
    );
    let mut third = half().await;
    assert_eq!(
        give(&mut third, &recovery[0]).await.status,
        StatusCode::UNAUTHORIZED
    );

    // A registration with the password alone does not go around it.
    let page = second.get("/account").await.text();
    assert!(page.contains("7 recovery codes left"), "{page}");
    let off = format!("code={}&csrf={}", recovery[1], csrf(&page));
    assert_eq!(
        second.post("/account/second-factor/off", &off).await.status,
        StatusCode::SEE_OTHER
    );
    let answer = Browser::new(&site)
        .sign_in("hanako", &hanako.password)
        .await;
    assert_eq!(answer.header("location"), "/environment");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_and_a_second_step_hold_at_every_site() {
    let world = World::of(2).await;
    let hanako = Person::new("hanako");
    register(world.sites[0].layout.root(), &hanako).await;
    world.sites[1].knows(&hanako).await;
    let at_b = world.sites[1].sign_in(&hanako).await;
    let (a, b) = (&world.sites[0].site().store, &world.sites[1].site().store);
    assert_eq!(b.sign_ins(hanako.user).await.unwrap().len(), 1);
    a.set_second_factor(
        hanako.user,
        "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
        world.sites[0].site().config.site,
    )
    .await
    .unwrap()
    .unwrap();
    a.change_user(hanako.user, world.sites[0].site().config.site, |record| {
        record.sign_in_epoch += 1;
    })
    .await
    .unwrap();
    eventually("the sign-in at b is dead", async || {
        b.sign_ins(hanako.user).await.unwrap().is_empty()
    })
    .await;
    let factor = b.second_factor(hanako.user).await.unwrap().unwrap();
    assert_eq!(factor.secret_b32, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
    drop(at_b);
    world.stop().await;
}
