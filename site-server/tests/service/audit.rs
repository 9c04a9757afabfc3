//! The audit log: what is done is in it, nothing secret is, and nobody changes it unseen.

use site_api::ProblemCode;
use site_server::{
    admin,
    store::{Actor, Anchor, AuditFilter, AuditRow, BrokenChain, Deed, Store},
};

use crate::support::{Person, TestSite};

async fn log(site: &TestSite) -> Vec<AuditRow> {
    site.site.store.audit_after(0, 10_000).await.unwrap()
}

fn deeds(rows: &[AuditRow]) -> Vec<(&str, &str, &str)> {
    rows.iter()
        .map(|row| {
            (
                row.actor.as_str(),
                row.action.as_str(),
                row.subject.as_str(),
            )
        })
        .collect()
}

async fn verified(site: &TestSite, anchor: Option<Anchor>) -> Anchor {
    admin::audit_verify(site.site.layout.root(), anchor)
        .await
        .unwrap()
}

#[tokio::test]
async fn what_is_done_at_a_site_is_in_its_log_and_no_secret_is() {
    let site = TestSite::new().await;
    let hanako = Person::new("hanako");
    site.add(&hanako).await;
    site.try_sign_in(&hanako.card, "hanako", "a wrong password-77")
        .await
        .is(401, ProblemCode::WrongPassword);
    let signed_in = site.sign_in(&hanako).await;
    admin::user_remove(site.site.layout.root(), "hanako")
        .await
        .unwrap();

    let rows = log(&site).await;
    let user = hanako.user.to_string();
    let actor = format!("user:{user}");
    assert_eq!(
        deeds(&rows),
        [
            ("operator", "user.add", user.as_str()),
            ("nobody", "sign-in.wrong-password", &user),
            (&actor, "sign-in.ok", &user),
            ("operator", "user.remove", &user),
        ]
    );
    let mut exported = Vec::new();
    admin::audit_export(site.site.layout.root(), &mut exported)
        .await
        .unwrap();
    let text = String::from_utf8(exported).unwrap();
    assert!(text.contains(&hanako.card.id.to_string()) && text.contains("pc-1"));
    for secret in [
        "a wrong password-77",
        &hanako.password,
        &signed_in.token,
        "argon2",
    ] {
        assert!(!text.contains(secret), "{secret}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &text).unwrap();
    let anchor = admin::audit_verify_file(file.path(), None).unwrap();
    assert_eq!(anchor.seq, 5, "the export is a deed too");
    assert_eq!(verified(&site, Some(anchor)).await, anchor);
}

#[tokio::test]
async fn many_writers_at_once_make_one_chain() {
    let site = TestSite::new().await;
    let config = &site.site.config;
    let beside = Store::open(site.site.layout.clone(), &config.database, &config.objects)
        .await
        .unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..24 {
        let store = if n % 2 == 0 {
            site.site.store.clone()
        } else {
            beside.clone()
        };
        writers.spawn(async move {
            let deed = Deed::new(Actor::Pc(format!("pc-{n}\0\n")), "test.deed", n);
            store.audit(&deed).await.unwrap();
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    assert_eq!(verified(&site, None).await.seq, 24);
    beside.close().await;
}

#[tokio::test]
async fn pages_of_the_log_are_filtered_and_follow_one_another() {
    let site = TestSite::new().await;
    for n in 0..10 {
        let actor = if n < 5 {
            Actor::Operator
        } else {
            Actor::Staff("yuki".into())
        };
        let action = if n % 2 == 0 {
            "user.add"
        } else {
            "card.revoke"
        };
        site.site
            .store
            .audit(&Deed::new(actor, action, n % 3))
            .await
            .unwrap();
    }
    let find = async |actor: &str, action: &str, subject: &str, before, limit| {
        let filter = AuditFilter {
            actor: actor.into(),
            action: action.into(),
            subject: subject.into(),
            ..AuditFilter::default()
        };
        let rows = site
            .site
            .store
            .audit_newest(&filter, before, limit)
            .await
            .unwrap();
        rows.iter().map(|row| row.seq).collect::<Vec<_>>()
    };
    assert_eq!(find("", "", "", None, 3).await, [10, 9, 8]);
    assert_eq!(find("", "", "", Some(8), 3).await, [7, 6, 5]);
    assert_eq!(find("staff:yuki", "", "", None, 99).await, [10, 9, 8, 7, 6]);
    assert_eq!(find("operator", "card.", "", None, 99).await, [4, 2]);
    assert_eq!(find("", "user.%", "", None, 99).await, Vec::<u64>::new());
    assert_eq!(find("", "", "0", None, 99).await, [10, 7, 4, 1]);
}

#[tokio::test]
async fn rows_changed_in_the_database_on_the_disk_are_found() {
    let site = TestSite::new().await;
    for n in 0..6 {
        let deed = Deed::new(Actor::Operator, "test.deed", n);
        site.site.store.audit(&deed).await.unwrap();
    }
    let anchor = verified(&site, None).await;
    let root = site.site.layout.root();
    let url = format!("sqlite:{}", site.site.layout.database().display());
    let rows = sqlx::AnyPool::connect(&url).await.unwrap();
    let run = async |sql: &'static str| {
        sqlx::query(sql).execute(&rows).await.unwrap();
        let error = admin::audit_verify(root, Some(anchor)).await.unwrap_err();
        match error {
            admin::AdminError::Broken(broken) => broken,
            other => panic!("{other}"),
        }
    };
    assert_eq!(
        run("UPDATE audit SET subject = '9' WHERE seq = 3").await,
        BrokenChain::Altered(3)
    );
    sqlx::query("UPDATE audit SET subject = '2' WHERE seq = 3")
        .execute(&rows)
        .await
        .unwrap();
    assert_eq!(verified(&site, Some(anchor)).await, anchor, "as it was");
    assert_eq!(
        run("DELETE FROM audit WHERE seq = 6").await,
        BrokenChain::CutShort { have: 5, want: 6 }
    );
    assert_eq!(verified(&site, None).await.seq, 5, "only the anchor knows");
    assert_eq!(
        run("DELETE FROM audit WHERE seq = 2").await,
        BrokenChain::Order { want: 2, have: 3 }
    );
}
