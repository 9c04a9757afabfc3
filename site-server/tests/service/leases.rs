//! Who is signed in where, and who may move the head.

use axum::http::{Method, StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::{
    Delivery, DeliveryRequest, Head, HeadInfo, Problem, ProblemCode, ProblemWithHead, PutHead,
    SignIn, SignInChallenge,
    lease::{LEASE_MS, LeaseRequest, LeaseState},
    path,
};
use site_server::admin;
use snapshot::{id::ObjectId, record::SignedRecord};

use crate::{
    support::{Answer, Person, TestSite, answer, random_bytes, register},
    world::{World, eventually},
};

/// A user at some PCs.
struct Desk {
    site: TestSite,
    person: Person,
}

impl Desk {
    async fn new() -> Self {
        let site = TestSite::new().await;
        let person = Person::new("hanako");
        site.add(&person).await;
        Self { site, person }
    }

    /// Signs in at a PC whose agent knows leases, or is too old for them.
    async fn at(&self, pc: &str, knows: bool) -> SignIn {
        let asked: SignInChallenge = self.site.challenge(self.person.card.id).await.json();
        let mut request = answer(&self.person.card, &asked, "hanako", &self.person.password);
        request.pc = pc.into();
        request.leases = knows;
        let answer = self
            .site
            .json(Method::POST, path::SIGN_IN, "", &request)
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()
    }

    async fn renew(&self, session: &SignIn, take_over: bool) -> Answer {
        let request = LeaseRequest { take_over };
        self.site
            .json(Method::PUT, path::LEASE, &session.token, &request)
            .await
    }

    async fn state(&self, session: &SignIn) -> LeaseState {
        self.site
            .json(Method::GET, path::LEASE, &session.token, &())
            .await
            .json()
    }

    /// A snapshot whose objects are here.
    async fn pushed(
        &self,
        session: &SignIn,
        seq: u64,
        previous: Option<&SignedRecord>,
    ) -> SignedRecord {
        let object = random_bytes(1000);
        self.site.put_object(&session.token, &object).await;
        self.person
            .record(seq, previous.map(SignedRecord::id), &[object])
    }

    async fn put(
        &self,
        token: &str,
        record: &SignedRecord,
        expected: Option<&SignedRecord>,
    ) -> Answer {
        let put = PutHead {
            expected: expected.map(SignedRecord::id),
            record_b64: STANDARD.encode(record.as_bytes()),
            pc: "pc-1".into(),
        };
        self.site.json(Method::PUT, path::HEAD, token, &put).await
    }

    async fn deliver(&self, record: &SignedRecord) -> Answer {
        let request = DeliveryRequest {
            record_b64: STANDARD.encode(record.as_bytes()),
        };
        self.site
            .json(Method::POST, path::DELIVERIES, "", &request)
            .await
    }
}

#[tokio::test]
async fn a_second_sign_in_is_told_of_the_first_and_both_go_on() {
    let desk = Desk::new().await;
    let first = desk.at("pc-1", true).await;
    assert!(first.elsewhere.is_empty());
    let lease = first.lease.clone().unwrap();
    assert_eq!(
        (lease.pc.as_str(), lease.fence, lease.site),
        ("pc-1", 1, desk.site.site.config.site)
    );
    assert_eq!(lease.expires_ms - lease.since_ms, LEASE_MS);

    let second = desk.at("pc-2", false).await;
    assert_eq!(second.elsewhere, [lease]);
    assert_eq!(second.lease.as_ref().unwrap().fence, 2);
    let seen = desk.site.site.store.leases(desk.person.user).await.unwrap();
    let pcs: Vec<_> = seen.iter().map(|lease| lease.pc.as_str()).collect();
    assert_eq!(pcs, ["pc-2", "pc-1"]);

    // Nobody took over: as without leases, the head decides.
    let record = desk.pushed(&first, 1, None).await;
    assert_eq!(
        desk.put(&first.token, &record, None).await.status,
        StatusCode::CREATED
    );
    let late = desk.pushed(&second, 1, None).await;
    desk.put(&second.token, &late, None)
        .await
        .is(412, ProblemCode::HeadMoved);
}

#[tokio::test]
async fn who_is_taken_over_from_moves_the_head_no_more_and_may_take_over_again() {
    let desk = Desk::new().await;
    let first = desk.at("pc-1", true).await;
    let second = desk.at("pc-2", true).await;
    let state: LeaseState = desk.renew(&second, true).await.json();
    assert!(!state.fenced && state.lease.took_over && state.lease.fence == 3);
    assert_eq!(state.elsewhere.len(), 1);
    assert!(desk.state(&first).await.fenced);

    let record = desk.pushed(&first, 1, None).await;
    desk.put(&first.token, &record, None)
        .await
        .is(409, ProblemCode::Fenced);
    let own = desk.pushed(&second, 1, None).await;
    assert_eq!(
        desk.put(&second.token, &own, None).await.status,
        StatusCode::CREATED
    );
    // What it saved already it may say again: the answer was lost.
    desk.renew(&first, true).await;
    assert_eq!(
        desk.put(&second.token, &own, None).await.status,
        StatusCode::OK
    );
    let next = desk.pushed(&first, 2, Some(&own)).await;
    assert_eq!(
        desk.put(&first.token, &next, Some(&own)).await.status,
        StatusCode::CREATED
    );
    assert!(desk.state(&second).await.fenced);
}

#[tokio::test]
async fn an_agent_too_old_for_leases_hears_what_it_understands_and_keeps_its_snapshot() {
    let desk = Desk::new().await;
    let old = desk.at("pc-1", false).await;
    let base = desk.pushed(&old, 1, None).await;
    desk.put(&old.token, &base, None).await;
    let second = desk.at("pc-2", true).await;
    desk.renew(&second, true).await;

    // Its push: "head-moved", for which it puts the snapshot into its outbox.
    let kept = desk.pushed(&old, 2, Some(&base)).await;
    let refused = desk.put(&old.token, &kept, Some(&base)).await;
    refused.is(412, ProblemCode::HeadMoved);
    let head: Option<HeadInfo> = refused.json::<ProblemWithHead>().head;
    assert_eq!(head.unwrap().record, base.id());

    // Its outbox: not while the other works on, which a delivery would pull the head from under.
    desk.deliver(&kept).await.is(412, ProblemCode::HeadMoved);

    // The other went away without saving: nothing is lost.
    let gone = desk
        .site
        .json(Method::DELETE, path::LEASE, &second.token, &())
        .await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let granted = desk.deliver(&kept).await;
    assert_eq!(granted.status, StatusCode::CREATED, "{}", granted.text());
    let Delivery::Granted(grant) = granted.json() else {
        panic!("{}", granted.text())
    };
    let put = desk.put(&grant.token, &kept, Some(&base)).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    assert_eq!(put.json::<Head>().info.seq, 2);
}

#[tokio::test]
async fn a_lease_ends_by_release_or_by_the_next_sign_in_at_its_pc() {
    let desk = Desk::new().await;
    let first = desk.at("pc-1", true).await;
    let again = desk.at("pc-1", true).await;
    assert!(again.elsewhere.is_empty(), "{:?}", again.elsewhere);
    for _ in 0..2 {
        let gone = desk
            .site
            .json(Method::DELETE, path::LEASE, &again.token, &())
            .await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT);
    }
    assert!(
        desk.site
            .site
            .store
            .leases(desk.person.user)
            .await
            .unwrap()
            .is_empty()
    );
    // The PC of the first sign-in lives after all.
    let state: LeaseState = desk.renew(&first, false).await.json();
    assert!(!state.fenced);
    assert_eq!(
        desk.site
            .site
            .store
            .leases(desk.person.user)
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn an_operator_ends_the_session_of_a_pc_that_is_gone() {
    let desk = Desk::new().await;
    let first = desk.at("pc-1", true).await;
    desk.at("pc-2", true).await;
    let data = desk.site.site.layout.root();
    let release = async |pc: Option<&str>| admin::lease_release(data, "hanako", pc).await.unwrap();
    let alive = async || {
        let leases = admin::leases(data, "hanako").await.unwrap();
        leases.into_iter().map(|lease| lease.pc).collect::<Vec<_>>()
    };
    assert_eq!(release(Some("pc-3")).await, [""; 0]);
    assert_eq!(release(Some("pc-2")).await, ["pc-2"]);
    assert_eq!(alive().await, ["pc-1"]);
    assert_eq!(release(None).await, ["pc-1"]);
    assert_eq!(release(None).await, [""; 0]);
    assert_eq!(alive().await, [""; 0]);
    let rows = desk.site.site.store.audit_after(0, 1000).await.unwrap();
    let ended = rows.iter().filter(|row| row.action == "lease.release");
    assert_eq!(ended.count(), 2);
    let nobody = admin::lease_release(data, "nobody", None).await;
    assert!(matches!(nobody, Err(admin::AdminError::NoUser(_))));
    // The PC was there after all.
    let state: LeaseState = desk.renew(&first, false).await.json();
    assert!(!state.fenced);
    assert_eq!(alive().await, ["pc-1"]);
}

#[tokio::test]
async fn a_user_at_ever_new_pcs_fills_no_table() {
    let desk = Desk::new().await;
    for number in 0..12 {
        desk.at(&format!("pc-{number}"), false).await;
    }
    let seen = desk.site.site.store.leases(desk.person.user).await.unwrap();
    assert_eq!(seen.len(), site_api::lease::MAX_SESSIONS);
    assert_eq!(seen[0].pc, "pc-11");
}

#[tokio::test]
async fn a_token_that_is_of_no_session_has_no_lease() {
    let desk = Desk::new().await;
    let no_token = desk.site.get(path::LEASE, &[]).await;
    no_token.is(401, ProblemCode::NotSignedIn);
    let token = site_server::store::new_token();
    let store = &desk.site.site.store;
    store
        .add_token(
            &token,
            desk.person.user,
            site_server::store::TokenKind::Pc,
            i64::MAX,
        )
        .await
        .unwrap();
    let answer = desk.site.json(Method::GET, path::LEASE, &token, &()).await;
    answer.is(404, ProblemCode::NotFound);
    let request = LeaseRequest { take_over: true };
    let answer = desk
        .site
        .json(Method::PUT, path::LEASE, &token, &request)
        .await;
    answer.is(404, ProblemCode::NotFound);
}

#[tokio::test]
async fn every_site_knows_who_is_signed_in_where_and_a_take_over_reaches_them() {
    let world = World::of(3).await;
    let hanako = Person::new("hanako");
    register(world.sites[0].layout.root(), &hanako).await;
    for site in &world.sites {
        site.knows(&hanako).await;
    }
    let here = world.sites[0].sign_in(&hanako).await;
    let first = world.sites[0].site().config.site;
    for far in &world.sites[1..] {
        eventually("the lease is known", async || {
            let seen = far.site().store.leases(hanako.user).await.unwrap();
            seen.iter()
                .any(|lease| lease.site == first && lease.pc == "pc-1")
        })
        .await;
    }
    let there = world.sites[1].sign_in(&hanako).await;
    let (_, state): (_, LeaseState) = there
        .json(Method::PUT, path::LEASE, &LeaseRequest { take_over: true })
        .await;
    assert!(!state.fenced && state.elsewhere.iter().any(|lease| lease.site == first));
    eventually("the first is fenced off", async || {
        let (_, state): (_, LeaseState) = here
            .json(Method::PUT, path::LEASE, &LeaseRequest::default())
            .await;
        state.fenced
    })
    .await;
    let bytes = random_bytes(1000);
    let put = here
        .site
        .client
        .put(here.site.url() + &path::object(ObjectId::of(&bytes)));
    put.bearer_auth(&here.token)
        .body(bytes.clone())
        .send()
        .await
        .unwrap();
    let head = PutHead {
        expected: None,
        record_b64: STANDARD.encode(hanako.record(1, None, &[bytes]).as_bytes()),
        pc: "pc-1".into(),
    };
    let (status, problem): (_, Problem) = here.json(Method::PUT, path::HEAD, &head).await;
    assert_eq!((status.as_u16(), problem.code), (409, ProblemCode::Fenced));
    world.stop().await;
}
