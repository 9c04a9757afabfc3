//! People with cards, sites without a socket, snapshots of random bytes.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hpke::{
    Deserializable as _, Kem as _, OpModeR, Serializable as _, aead::AesGcm256, kdf::HkdfSha256,
    kem::DhP256HkdfSha256,
};
use p256::pkcs8::EncodePublicKey as _;
use serde::{Serialize, de::DeserializeOwned};
use site_api::{
    Problem, ProblemCode, RegisteredCard, Registration, SignIn, SignInChallenge,
    SignInChallengeRequest, SignInRequest, path, peer::SettingsRecord, registration,
};
use site_server::{
    admin,
    app::Site,
    config::Layout,
    front::Front,
    init::{Init, init},
    routes::PeerIdentity,
};
use snapshot::{
    chain::Chain,
    id::{BaselineId, CardId, ObjectId, RecordId, SiteId, UserId},
    keys::{Secret, SnapshotKeys, UserKey},
    record::{Record, SignedRecord},
    settings::{self, SealedSettings, Settings},
    slot::{self, Challenge, Nonce, SlotContext},
};
use tempfile::TempDir;

use crate::{other::Other, patient::again, program::contains};

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

pub(crate) fn random_bytes(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// What a PIV card does, without the plastic.
pub(crate) struct Card {
    private: <DhP256HkdfSha256 as hpke::Kem>::PrivateKey,
    pub(crate) spki: Vec<u8>,
    pub(crate) id: CardId,
}

impl Card {
    pub(crate) fn new() -> Self {
        let (private, public) = DhP256HkdfSha256::gen_keypair();
        let point = public.to_bytes().to_vec();
        let key = p256::PublicKey::from_sec1_bytes(&point).unwrap();
        let spki = key.to_public_key_der().unwrap().as_bytes().to_vec();
        let id = slot::card_id(&spki);
        Self { private, spki, id }
    }

    /// Opens a challenge and answers it.
    pub(crate) fn answer(&self, asked: &SignInChallenge) -> String {
        let sealed = STANDARD.decode(&asked.sealed_b64).unwrap();
        let challenge = Challenge::parse(&sealed).unwrap();
        let enc =
            <DhP256HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(challenge.0.enc.as_bytes())
                .unwrap();
        let aad = Challenge::aad(asked.site, &asked.challenge);
        let nonce = hpke::single_shot_open::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
            &OpModeR::Base,
            &self.private,
            &enc,
            slot::SIGN_IN_INFO,
            &challenge.0.ciphertext,
            &aad,
        );
        let nonce: [u8; 32] = nonce
            .map(|nonce| nonce.try_into().unwrap())
            .unwrap_or_default();
        STANDARD.encode(slot::proof(
            &Nonce::from_bytes(nonce),
            asked.site,
            &asked.challenge,
            self.id,
        ))
    }
}

impl Card {
    /// Opens settings as the agent does.
    pub(crate) fn settings(&self, record: &SettingsRecord) -> Settings {
        let sealed = STANDARD.decode(&record.sealed_b64).unwrap();
        let sealed = SealedSettings::parse(&sealed).unwrap();
        assert_eq!(
            (sealed.context.user, sealed.context.part),
            (record.user, record.part)
        );
        let (key, aad) = sealed.for_card(self.id).unwrap();
        let enc =
            <DhP256HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(key.sealed.enc.as_bytes())
                .unwrap();
        let opened = hpke::single_shot_open::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
            &OpModeR::Base,
            &self.private,
            &enc,
            settings::INFO,
            &key.sealed.ciphertext,
            &aad,
        );
        let key = Secret::from_bytes(opened.unwrap().try_into().unwrap());
        sealed.open(&key).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// A user with a card.
pub(crate) struct Person {
    pub(crate) user: UserId,
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) user_key: [u8; 32],
    pub(crate) epoch: u32,
    pub(crate) chain: Option<Chain>,
    pub(crate) keys: SnapshotKeys,
    pub(crate) card: Card,
}

impl Person {
    pub(crate) fn new(name: &str) -> Self {
        let user = UserId::new(random());
        let user_key = random();
        Self {
            user,
            name: name.to_owned(),
            password: format!("password of {name}"),
            user_key,
            epoch: 1,
            chain: None,
            keys: SnapshotKeys::derive(&UserKey::from_bytes(user_key), user, 1),
            card: Card::new(),
        }
    }

    /// The same person with another card, after the station took this one away: another key, and a link to this one.
    pub(crate) fn in_the_next_epoch(&self) -> Self {
        let user_key = random();
        let new = UserKey::from_bytes(user_key);
        let old = UserKey::from_bytes(self.user_key);
        let now = (self.user, self.epoch);
        let chain = Chain::follow(self.chain.as_ref(), &old, now, &new).unwrap();
        Self {
            user: self.user,
            name: self.name.clone(),
            password: self.password.clone(),
            user_key,
            epoch: self.epoch + 1,
            keys: chain.open(&new).unwrap(),
            chain: Some(chain),
            card: Card::new(),
        }
    }

    pub(crate) fn registration(&self) -> Registration {
        let context = SlotContext {
            user: self.user,
            slot: 0,
            card: self.card.id,
            epoch: self.epoch,
        };
        let slot = slot::wrap(
            &UserKey::from_bytes(self.user_key),
            &slot::card_public_key(&self.card.spki).unwrap(),
            &context,
        )
        .unwrap();
        Registration {
            format: registration::FORMAT.into(),
            version: registration::VERSION,
            user: self.user,
            name: self.name.clone(),
            record_public_key: hex::encode(self.keys.record_public_key()),
            cards: vec![RegisteredCard {
                card: self.card.id,
                spki_b64: STANDARD.encode(&self.card.spki),
                label: "first card".into(),
                slot: 0,
                epoch: self.epoch,
                slot_b64: STANDARD.encode(slot),
            }],
            chain_b64: self
                .chain
                .as_ref()
                .map(|chain| STANDARD.encode(chain.to_bytes())),
            escrow_b64: None,
        }
    }

    pub(crate) fn record(
        &self,
        seq: u64,
        previous: Option<RecordId>,
        objects: &[Vec<u8>],
    ) -> SignedRecord {
        let mut listed: Vec<_> = objects
            .iter()
            .map(|bytes| (ObjectId::of(bytes), bytes.len() as u64))
            .collect();
        let manifests = listed.drain(..1).collect();
        Record {
            user: self.user,
            epoch: self.epoch,
            oldest: self.epoch,
            seq,
            previous,
            baseline: BaselineId::new([7; 32]),
            build_timestamp: 1_700_000_000,
            created_ms: 1_700_000_000_000,
            pc: "pc-1".into(),
            manifests,
            packs: listed,
        }
        .sign(&self.keys)
        .unwrap()
    }
}

/// An answer, whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The answer is this problem, with its status, as problem+json.
    #[track_caller]
    pub(crate) fn is(&self, status: u16, code: ProblemCode) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem: Problem = self.json();
        assert_eq!(
            (problem.status, problem.code),
            (status, code),
            "{}",
            problem.detail
        );
        assert!(problem.detail.ends_with(['.', ')']) || !problem.detail.is_empty());
    }
}

/// A site without a socket. Where everything is shared it has a second server, which takes every other request.
pub(crate) struct TestSite {
    pub(crate) second: Option<Other>,
    pub(crate) dir: TempDir,
    pub(crate) site: Arc<Site>,
    pub(crate) app: Front,
}

/// Reads an answer to its end.
pub(crate) async fn whole(response: Response) -> Answer {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 1 << 30).await.unwrap();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

impl TestSite {
    pub(crate) async fn new() -> Self {
        let mut site = Self::alone().await;
        if crate::bucket::is_shared() {
            site.second = Some(Other::of(&site.site.layout).await);
        }
        site
    }

    /// One that has nobody beside it who does a server's work.
    pub(crate) async fn alone() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = make(&dir, "Site A").await;
        let site = again(async || Site::open(layout.clone()).await).await;
        Self {
            second: None,
            dir,
            app: Front::new(site.clone()),
            site,
        }
    }

    /// None of the secrets is in a file below the data folder.
    pub(crate) fn hides(&self, secrets: &[&str]) {
        for entry in walkdir::WalkDir::new(self.dir.path()) {
            let entry = entry.unwrap();
            if !entry.file_type().is_file() {
                continue;
            }
            let bytes = std::fs::read(entry.path()).unwrap();
            for secret in secrets {
                let found = contains(&bytes, secret.as_bytes());
                assert!(!found, "{secret} in {}", entry.path().display());
            }
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        match &self.second {
            Some(other) => other.shares(&self.app, request).await,
            None => whole(self.app.answer(request).await).await,
        }
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1:1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.call(Method::GET, path, headers, Body::empty()).await
    }

    pub(crate) async fn json(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: &impl Serialize,
    ) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("content-type", "application/json"),
            ("authorization", bearer.as_str()),
        ];
        self.call(method, path, &headers, serde_json::to_vec(body).unwrap())
            .await
    }

    pub(crate) async fn as_peer(
        &self,
        peer: SiteId,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap();
        request.extensions_mut().insert(PeerIdentity(peer));
        self.send(request).await
    }

    pub(crate) async fn add(&self, person: &Person) {
        register(self.site.layout.root(), person).await;
    }

    pub(crate) async fn challenge(&self, card: CardId) -> Answer {
        self.challenge_from(BaselineId::new([7; 32]), card).await
    }

    /// A challenge for a PC that started this baseline.
    pub(crate) async fn challenge_from(&self, baseline: BaselineId, card: CardId) -> Answer {
        self.json(
            Method::POST,
            path::SIGN_IN_CHALLENGE,
            "",
            &SignInChallengeRequest { card, baseline },
        )
        .await
    }

    pub(crate) async fn try_sign_in(&self, card: &Card, user: &str, password: &str) -> Answer {
        let asked: SignInChallenge = self.challenge(card.id).await.json();
        self.json(
            Method::POST,
            path::SIGN_IN,
            "",
            &answer(card, &asked, user, password),
        )
        .await
    }

    pub(crate) async fn sign_in(&self, person: &Person) -> SignIn {
        let sign_in = async || {
            let answer = self
                .try_sign_in(&person.card, &person.name, &person.password)
                .await;
            match answer.status {
                StatusCode::OK => Ok(answer.json()),
                // Of a challenge that was answered the second answer counts for nothing: a PC begins anew.
                status => Err(format!("{status}: {}", answer.text())),
            }
        };
        again(sign_in).await
    }

    pub(crate) async fn put_object(&self, token: &str, bytes: &[u8]) -> Answer {
        let bearer = format!("Bearer {token}");
        let path = path::object(ObjectId::of(bytes));
        self.call(
            Method::PUT,
            &path,
            &[("authorization", &bearer)],
            bytes.to_vec(),
        )
        .await
    }

    pub(crate) fn staged(&self) -> usize {
        std::fs::read_dir(self.site.layout.staging())
            .unwrap()
            .count()
    }
}

/// The second half of a sign-in.
pub(crate) fn answer(
    card: &Card,
    asked: &SignInChallenge,
    user: &str,
    password: &str,
) -> SignInRequest {
    SignInRequest {
        challenge: asked.challenge.clone(),
        proof_b64: card.answer(asked),
        user: user.into(),
        password: password.into(),
        pc: "pc-1".into(),
        leases: false,
    }
}

/// A fresh data folder under a CA in the same directory.
pub(crate) async fn make(dir: &TempDir, name: &str) -> Layout {
    make_under(dir.path(), name, &dir.path().join("ca")).await
}

pub(crate) async fn make_under(dir: &std::path::Path, name: &str, ca: &std::path::Path) -> Layout {
    let data = dir.join(name);
    again(async || {
        // After a failure another site is made, which cannot have the database of the first.
        std::fs::remove_dir_all(&data).ok();
        let told = Init {
            data: data.clone(),
            name: name.into(),
            url: "https://127.0.0.1:1".into(),
            also_names: vec!["localhost".into()],
            ca: ca.to_owned(),
            release_key: None,
            database: crate::postgres::database_of_a_site().await,
            objects: crate::bucket::objects_of_a_site(),
        };
        init(&told).await
    })
    .await;
    Layout::new(&data)
}

/// As the operator does it, beside the server.
pub(crate) async fn register(data: &std::path::Path, person: &Person) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        serde_json::to_vec(&person.registration()).unwrap(),
    )
    .unwrap();
    again(async || admin::user_add(data, &person.name, file.path(), &person.password).await).await;
}

/// The value of the hidden field `csrf` of a page.
pub(crate) fn csrf(page: &str) -> String {
    let (_, rest) = page
        .split_once("name=\"csrf\" value=\"")
        .expect("the page has a form");
    rest.split_once('"').unwrap().0.to_owned()
}
