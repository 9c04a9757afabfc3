//! Registration and initial settings: sealed to the card, at every site, readable at none.

use axum::http::{Method, StatusCode};
use site_api::{SettingsAnswer, path, peer::path as peer_path};
use site_server::store::{Actor, INVITATION_MS};
use snapshot::settings::{Part, Settings};

use crate::{
    portal::{Browser, signed_in},
    support::{Answer, Person, TestSite, csrf, register},
    world::{World, eventually},
};

const DICTIONARY: &str = "ふろしき\t風呂敷\t名詞\nたからばこ\t宝箱の中身\t名詞\n";
const BOOKMARKS: &str = "<!DOCTYPE NETSCAPE-Bookmark-file-1>\n<DL><DT><A HREF=\"https://secret-page.example/\">secret title</A></DL>";

const MAIL: [(&str, &str); 11] = [
    ("mail_program", "thunderbird"),
    ("account", "hanako-account"),
    ("display_name", "Hanako Yamada"),
    ("address", "hanako@mail.example"),
    ("incoming_server", "imap.mail.example"),
    ("incoming_protocol", "imap"),
    ("incoming_security", "tls"),
    ("incoming_port", ""),
    ("smtp_server", "smtp.mail.example"),
    ("smtp_security", "tls"),
    ("smtp_port", ""),
];
const INPUT: [(&str, &str); 3] = [("ime", "mozc"), ("keyboard", "jp"), ("language", "ja")];
const BROWSER: [(&str, &str); 1] = [("browser", "firefox")];

/// The whole form; the first fields given win.
async fn register_with(
    browser: &mut Browser<'_>,
    who: &[(&str, &str)],
    files: &[(&str, &[u8])],
) -> Answer {
    let token = csrf(&browser.get("/register").await.text());
    let mut fields = vec![("csrf", token.as_str())];
    fields.extend_from_slice(who);
    fields.extend(MAIL.iter().chain(&INPUT).chain(&BROWSER));
    browser.upload("/register", &fields, files).await
}

async fn settings_of(site: &TestSite, token: &str) -> SettingsAnswer {
    let bearer = format!("Bearer {token}");
    let got = site
        .get(path::SETTINGS, &[("authorization", bearer.as_str())])
        .await;
    assert_eq!(got.status, StatusCode::OK);
    got.json()
}

#[tokio::test]
async fn what_a_user_registers_opens_with_the_card_and_lies_nowhere_in_clear() {
    let site = TestSite::new().await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let mut browser = Browser::new(&site);
    let card = hanako.card.id.to_string();
    let who = [
        ("user", "hanako"),
        ("card", card.as_str()),
        ("password", hanako.password.as_str()),
    ];
    let files = [
        ("dictionary", DICTIONARY.as_bytes()),
        ("bookmarks", BOOKMARKS.as_bytes()),
    ];
    let done = register_with(&mut browser, &who, &files).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text());
    let page = browser.get("/settings").await.text();
    assert!(
        page.contains("2 words") && page.contains("1 bookmarks"),
        "{page}"
    );

    let token = site.sign_in(&hanako).await.token;
    let sealed = settings_of(&site, &token).await.settings;
    let parts: Vec<_> = sealed.iter().map(|record| record.part).collect();
    assert_eq!(parts, Part::ALL);
    let Settings::Mail(mail) = hanako.card.settings(&sealed[0]) else {
        panic!("mail");
    };
    assert_eq!(
        (mail.account.as_str(), mail.incoming_server.port),
        ("hanako-account", 993)
    );
    let Settings::Input(input) = hanako.card.settings(&sealed[1]) else {
        panic!("input");
    };
    assert_eq!(input.words[1].word, "宝箱の中身");
    assert!(matches!(
        hanako.card.settings(&sealed[2]),
        Settings::Browser(_)
    ));

    // Nothing of it is anywhere below the data folder.
    let secrets = [
        "hanako-account",
        "Hanako Yamada",
        "imap.mail.example",
        "hanako@mail.example",
        "宝箱の中身",
        "secret-page.example",
        "secret title",
    ];
    site.hides(&secrets);
}

#[tokio::test]
async fn a_pc_that_has_the_settings_is_told_so_and_no_stranger_gets_them() {
    let site = TestSite::new().await;
    let (mut browser, hanako) = signed_in(&site).await;
    let token = site.sign_in(&hanako).await.token;
    let bearer = format!("Bearer {token}");
    let ask = async |tag: &str| {
        let headers = [("authorization", bearer.as_str()), ("if-none-match", tag)];
        site.get(path::SETTINGS, &headers).await
    };
    let empty = ask("").await;
    let tag = empty.header("etag").to_owned();
    assert_eq!(empty.json::<SettingsAnswer>().settings, []);
    assert_eq!(ask(&tag).await.status, StatusCode::NOT_MODIFIED);

    let page_token = csrf(&browser.get("/settings/browser").await.text());
    let fields = [("csrf", page_token.as_str()), ("browser", "chromium")];
    let done = browser.upload("/settings/browser", &fields, &[]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    let changed = ask(&tag).await;
    assert_eq!(changed.status, StatusCode::OK);
    let first = changed.json::<SettingsAnswer>().settings;
    assert_eq!((first.len(), first[0].version), (1, 1));

    // One part is replaced, and nothing else.
    browser.upload("/settings/browser", &fields, &[]).await;
    let again = settings_of(&site, &token).await.settings;
    assert_eq!((again.len(), again[0].version), (1, 2));
    assert_eq!(
        site.get(path::SETTINGS, &[]).await.status,
        StatusCode::UNAUTHORIZED
    );
    let taro = Person::new("taro");
    site.add(&taro).await;
    let other = site.sign_in(&taro).await.token;
    assert_eq!(settings_of(&site, &other).await.settings, []);
}

#[tokio::test]
async fn a_bad_file_is_refused_with_the_line_and_what_was_typed_stays() {
    let site = TestSite::new().await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let mut browser = Browser::new(&site);
    let card = hanako.card.id.to_string();
    let who = [
        ("user", "hanako"),
        ("card", card.as_str()),
        ("password", hanako.password.as_str()),
    ];
    let bad: &[u8] = "あ\t亜\t名詞\nいろは\n".as_bytes();
    let refused = register_with(&mut browser, &who, &[("dictionary", bad)]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let page = refused.text();
    for seen in [
        "href=\"#dictionary\"",
        "Line 2: Reading, word and part of speech are wanted.",
        "value=\"hanako-account\"",
        "aria-invalid=\"true\"",
    ] {
        assert!(page.contains(seen), "{seen} in {page}");
    }
    assert!(
        !page.contains(&hanako.password),
        "a password is not sent back"
    );
    let large = vec![b'a'; (4 << 20) + 1];
    let refused = register_with(&mut browser, &who, &[("bookmarks", &large)]).await;
    assert!(refused.text().contains("larger than 4 MB"));
    let larger = vec![b'a'; 9 << 20];
    let refused = register_with(&mut browser, &who, &[("bookmarks", &larger)]).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(site.site.store.settings(hanako.user).await.unwrap(), []);
}

#[tokio::test]
async fn a_wrong_name_card_password_or_invitation_look_the_same_and_are_counted() {
    let site = TestSite::new().await;
    let (hanako, taro) = (Person::new("hanako"), Person::new("taro"));
    site.add(&hanako).await;
    site.add(&taro).await;
    let (own, others) = (hanako.card.id.to_string(), taro.card.id.to_string());
    let right = hanako.password.as_str();
    let invitation = "ABCDE-FGHJK-MNPQR-STVWX";
    let cases: [&[(&str, &str)]; 5] = [
        &[("user", "nobody"), ("card", &own), ("password", right)],
        &[("user", "hanako"), ("card", &others), ("password", right)],
        &[
            ("user", "hanako"),
            ("card", &own),
            ("password", "wrong password"),
        ],
        &[
            ("user", "hanako"),
            ("card", &"0".repeat(32)),
            ("password", right),
        ],
        &[
            ("user", "hanako"),
            ("card", &own),
            ("password", right),
            ("password_again", right),
            ("invitation", invitation),
        ],
    ];
    for who in cases {
        let mut browser = Browser::new(&site);
        let refused = register_with(&mut browser, who, &[]).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{who:?}");
        assert!(
            refused
                .text()
                .contains("User name, card ID, password or invitation code is wrong"),
            "{who:?}"
        );
    }
    let mut browser = Browser::new(&site);
    let mut statuses = Vec::new();
    for _ in 0..6 {
        let who = [
            ("user", "taro"),
            ("card", own.as_str()),
            ("password", "wrong password"),
        ];
        statuses.push(register_with(&mut browser, &who, &[]).await.status);
    }
    assert_eq!(statuses.last(), Some(&StatusCode::TOO_MANY_REQUESTS));
}

#[tokio::test]
async fn an_invitation_gives_a_first_password_once_and_not_for_ever() {
    let site = TestSite::new().await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    let store = &site.site.store;
    let now = i64::try_from(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_millis(),
    )
    .unwrap();
    let card = hanako.card.id.to_string();
    let old = store
        .invite(hanako.user, Actor::Operator, now + INVITATION_MS)
        .await
        .unwrap();
    let dead = store
        .invite(hanako.user, Actor::Operator, now - 1)
        .await
        .unwrap();
    let mut results = Vec::new();
    for code in [&old, &dead] {
        let mut browser = Browser::new(&site);
        let who = [
            ("user", "hanako"),
            ("card", card.as_str()),
            ("password", "my own password"),
            ("password_again", "my own password"),
            ("invitation", code.as_str()),
        ];
        results.push(register_with(&mut browser, &who, &[]).await.status);
    }
    assert_eq!(results, [StatusCode::UNAUTHORIZED; 2], "replaced, expired");
    let good = store
        .invite(hanako.user, Actor::Operator, now + INVITATION_MS)
        .await
        .unwrap();
    let typed = good.to_lowercase().replace('-', " ");
    for want in [StatusCode::SEE_OTHER, StatusCode::UNAUTHORIZED] {
        let mut browser = Browser::new(&site);
        let who = [
            ("user", "hanako"),
            ("card", card.as_str()),
            ("password", "my own password"),
            ("password_again", "my own password"),
            ("invitation", typed.as_str()),
        ];
        assert_eq!(register_with(&mut browser, &who, &[]).await.status, want);
    }
    let mut browser = Browser::new(&site);
    let signed_in = browser.sign_in("hanako", "my own password").await;
    assert_eq!(signed_in.header("location"), "/environment");
    let used = store.invitations().await.unwrap();
    assert!(
        used.iter()
            .any(|one| one.used_ms.is_some() && one.made_by == "operator")
    );
}

#[tokio::test]
async fn an_upload_of_another_site_or_without_token_is_refused() {
    let site = TestSite::new().await;
    let (mut browser, _) = signed_in(&site).await;
    let fields = [("browser", "chromium")];
    let refused = browser.upload("/settings/browser", &fields, &[]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let headers = [
        ("content-type", "multipart/form-data; boundary=edge"),
        ("cookie", browser.cookie.as_str()),
        ("sec-fetch-site", "cross-site"),
    ];
    let refused = site
        .call(Method::POST, "/register", &headers, "--edge--\r\n")
        .await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_at_every_site_and_go_with_their_user() {
    let world = World::of(3).await;
    let hanako = Person::new("hanako");
    register(world.sites[0].layout.root(), &hanako).await;
    world.sites[1].knows(&hanako).await;
    let seal = async |n: usize, settings: Settings, version: u64| {
        let point = snapshot::slot::card_public_key(&hanako.card.spki).unwrap();
        let origin = world.sites[n].site().config.site;
        let context = snapshot::settings::Context {
            user: hanako.user,
            part: settings.part(),
            version,
            origin,
        };
        let sealed =
            snapshot::settings::seal(&settings, &context, &[(hanako.card.id, point)]).unwrap();
        let record = site_api::peer::SettingsRecord {
            user: hanako.user,
            part: settings.part(),
            version,
            origin,
            saved_ms: 1,
            summary: settings.summary(),
            sealed_b64: base64::Engine::encode(&base64::engine::general_purpose::STANDARD, sealed),
        };
        world.sites[n]
            .site()
            .store
            .put_settings(&record)
            .await
            .unwrap()
    };
    let browser = |program: &str| {
        Settings::Browser(snapshot::settings::Browser {
            program: program.into(),
            bookmarks: Vec::new(),
        })
    };
    assert!(seal(0, browser("firefox"), 1).await);
    assert!(!seal(0, browser("firefox"), 1).await, "somebody was faster");
    let at = async |n: usize| {
        world.sites[n]
            .site()
            .store
            .settings(hanako.user)
            .await
            .unwrap()
    };
    for n in [1, 2] {
        eventually("the settings are there", async || at(n).await.len() == 1).await;
    }
    assert!(seal(2, browser("chromium"), 2).await);
    for n in [0, 1] {
        eventually("the change is there", async || {
            at(n)
                .await
                .first()
                .is_some_and(|record| record.version == 2)
        })
        .await;
    }
    site_server::admin::user_remove(world.sites[1].layout.root(), "hanako")
        .await
        .unwrap();
    for n in [0, 1, 2] {
        eventually("they are gone with the user", async || {
            at(n).await.is_empty()
        })
        .await;
    }
    world.stop().await;
}

#[tokio::test]
async fn settings_that_are_sealed_as_others_are_left_out() {
    let site = TestSite::new().await;
    let friend = snapshot::id::SiteId::new([9; 16]);
    site.site
        .store
        .add_site(friend, "friend", "https://127.0.0.1:1")
        .await
        .unwrap();
    let (mut browser, hanako) = signed_in(&site).await;
    let token = csrf(&browser.get("/settings/browser").await.text());
    let fields = [("csrf", token.as_str()), ("browser", "chromium")];
    browser.upload("/settings/browser", &fields, &[]).await;
    let mut record = site
        .site
        .store
        .settings(hanako.user)
        .await
        .unwrap()
        .remove(0);
    // A site that is taken over gives old settings a new number.
    record.version = 9;
    let records = site_api::peer::Records {
        settings: vec![record],
        ..Default::default()
    };
    site.as_peer(
        friend,
        Method::POST,
        peer_path::RECORDS,
        serde_json::to_vec(&records).unwrap(),
    )
    .await;
    assert_eq!(
        site.site.store.settings(hanako.user).await.unwrap()[0].version,
        1
    );
}
