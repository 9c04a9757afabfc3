//! A PC holds a snapshot when a card of its user is taken away: a real site takes it only when its user signs it anew.
//!
//! Needs root, and `furoshiki-site` beside the agent (`cargo build -p site-server`). What is missing fails the test.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on ends where it stands"
)]

mod tree;

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hpke::{
    Deserializable as _, Kem as _, OpModeR, Serializable as _, aead::AesGcm256, kdf::HkdfSha256,
    kem::DhP256HkdfSha256,
};
use initrd_agent::{
    apply::{ApplyRequest, apply},
    capture::{CaptureRequest, Captured, Exclusions, NoProgress, Previous, State, capture},
    delivery::{Courier, Fate},
    events::Events,
    outbox::{Outbox, Waiting},
    pull::{self, SitePacks},
    push::{Base, Push, Pushed, SiteGone},
    renew::{self, RenewError, Renewal},
    screen::{Code, Language, Screen},
    signin::SignedIn,
    site::SiteClient,
};
use p256::pkcs8::EncodePublicKey as _;
use site_api::{
    Registration, SignIn, SignInChallenge, SignInChallengeRequest, SignInRequest, path as api,
    registration::{self, RegisteredCard},
};
use snapshot::{
    chain::Chain,
    id::{CardId, UserId},
    keys::{SnapshotKeys, UserKey},
    record::RecordError,
    slot::{self, Challenge, Encapsulated, Nonce, Sealed, SlotContext, Wrapped},
};
use tree::{BASELINE, BASELINE_NAME, Session, assert_same, noise};
use zeroize::Zeroizing;

const USER: UserId = UserId::new([2; 16]);
const NAME: &str = "hanako";
const PASSWORD: &str = "a password of hanako";
const PC: &str = "pc-7";
const LATE: Duration = Duration::from_secs(60);

type Private = <DhP256HkdfSha256 as hpke::Kem>::PrivateKey;

/// A card without plastic, and the user key of one epoch.
struct Card {
    private: Private,
    spki: Vec<u8>,
    id: CardId,
    epoch: u32,
}

fn user_key(epoch: u32) -> UserKey {
    UserKey::from_bytes([epoch.to_le_bytes()[0]; 32])
}

impl Card {
    fn of(epoch: u32) -> Self {
        let (private, public) = DhP256HkdfSha256::gen_keypair();
        let key = p256::PublicKey::from_sec1_bytes(&public.to_bytes()).unwrap();
        let spki = key.to_public_key_der().unwrap().as_bytes().to_vec();
        let id = slot::card_id(&spki);
        Self {
            private,
            spki,
            id,
            epoch,
        }
    }

    fn open(&self, sealed: &Sealed, info: &[u8], aad: &[u8]) -> [u8; 32] {
        let Encapsulated::P256(enc) = &sealed.enc else {
            panic!("sealed to another kind of key")
        };
        let enc = <DhP256HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(enc).unwrap();
        let opened = hpke::single_shot_open::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
            &OpModeR::Base,
            &self.private,
            &enc,
            info,
            &sealed.ciphertext,
            aad,
        );
        opened.unwrap().try_into().unwrap()
    }

    fn registration(&self) -> Registration {
        let chain = (self.epoch > 1).then(|| {
            let (old, new) = (user_key(1), user_key(2));
            Chain::follow(None, &old, (USER, 1), &new).unwrap()
        });
        let user_key = user_key(self.epoch);
        let context = SlotContext {
            user: USER,
            slot: self.epoch,
            card: self.id,
            epoch: self.epoch,
        };
        let key = slot::card_public_key(&self.spki).unwrap();
        let slot = slot::wrap(&user_key, &key, &context).unwrap();
        let keys = SnapshotKeys::derive(&user_key, USER, self.epoch);
        Registration {
            format: registration::FORMAT.into(),
            version: registration::VERSION,
            user: USER,
            name: NAME.into(),
            record_public_key: hex::encode(keys.record_public_key()),
            cards: vec![RegisteredCard {
                card: self.id,
                spki_b64: STANDARD.encode(&self.spki),
                label: "card".into(),
                slot: self.epoch,
                epoch: self.epoch,
                slot_b64: STANDARD.encode(slot),
            }],
            chain_b64: chain.map(|chain| STANDARD.encode(chain.to_bytes())),
            escrow_b64: None,
        }
    }

    /// Signs in as a PC does.
    fn sign_in(&self, client: &SiteClient, url: &str) -> SignedIn {
        let site = client.meet(url).unwrap();
        let asked = SignInChallengeRequest {
            card: self.id,
            baseline: BASELINE,
        };
        let asked: SignInChallenge = site
            .post_json("ask", api::SIGN_IN_CHALLENGE, &asked)
            .unwrap();
        let sealed = STANDARD.decode(&asked.sealed_b64).unwrap();
        let challenge = Challenge::parse(&sealed).unwrap();
        let aad = Challenge::aad(asked.site, &asked.challenge);
        let nonce = self.open(&challenge.0, slot::SIGN_IN_INFO, &aad);
        let nonce = Nonce::from_bytes(nonce);
        let proof = slot::proof(&nonce, asked.site, &asked.challenge, self.id);
        let request = SignInRequest {
            challenge: asked.challenge,
            proof_b64: STANDARD.encode(proof),
            user: NAME.into(),
            password: PASSWORD.into(),
            pc: PC.into(),
            leases: false,
        };
        let answer: SignIn = site.post_json("sign in", api::SIGN_IN, &request).unwrap();
        let slot = slot::parse(&STANDARD.decode(&answer.slot_b64).unwrap()).unwrap();
        let Wrapped::ToCard(sealed) = &slot.wrapped else {
            panic!("wrapped by a passphrase")
        };
        let opened = self.open(sealed, slot::SLOT_INFO, slot.aad());
        let user_key = UserKey::from_bytes(opened);
        let keys = match &answer.chain_b64 {
            None => SnapshotKeys::derive(&user_key, answer.user, slot.context.epoch),
            Some(chain) => {
                let chain = Chain::parse(&STANDARD.decode(chain).unwrap()).unwrap();
                chain.open(&user_key).unwrap()
            }
        };
        let token = Zeroizing::new(answer.token);
        SignedIn {
            site: site.signed_in(token.clone()),
            token,
            user: answer.user,
            card: Some(self.id),
            name: answer.name,
            keys,
            head: answer.head,
        }
    }
}

/// The real program, in a folder of its own.
struct Site {
    folder: tempfile::TempDir,
    child: Option<Child>,
    port: u16,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop();
    }
}

fn program() -> Command {
    let agent = Path::new(env!("CARGO_BIN_EXE_furoshiki-agent"));
    let path = agent.with_file_name("furoshiki-site");
    assert!(
        path.exists(),
        "{} does not exist; build it: cargo build -p site-server",
        path.display()
    );
    Command::new(path)
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut site = Self {
            folder,
            child: None,
            port: 0,
        };
        let (data, ca) = (site.path("site"), site.path("ca"));
        site.run(
            program()
                .args([
                    "init",
                    "--name",
                    "A",
                    "--url",
                    "https://127.0.0.1:1",
                    "--data",
                ])
                .arg(data)
                .arg("--ca")
                .arg(ca),
            "",
        );
        site.start();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, command: &mut Command, typed: &str) {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(typed.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Starts the server, where it was before.
    fn start(&mut self) {
        let mut child = program()
            .args([
                "serve",
                "--listen",
                &format!("127.0.0.1:{}", self.port),
                "--data",
            ])
            .arg(self.path("site"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        self.port = line.trim().rsplit(':').next().unwrap().parse().unwrap();
        self.child = Some(child);
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    fn add(&self, card: &Card) {
        let file = self.path("registration");
        fs::write(&file, serde_json::to_vec(&card.registration()).unwrap()).unwrap();
        let mut command = program();
        command.args(["user", "add", NAME, "--data"]);
        command.arg(self.path("site")).arg("--card").arg(file);
        self.run(&mut command, &format!("{PASSWORD}\n"));
    }

    fn client(&self) -> SiteClient {
        SiteClient::pinned(&self.path("ca/ca.pem")).unwrap()
    }
}

/// Saves as a session does.
fn save(
    user: &SignedIn,
    session: &Session,
    previous: Option<Previous>,
    state: Option<&State>,
    gone: SiteGone,
) -> (Captured, Pushed) {
    let exclusions = Exclusions::default();
    let request = CaptureRequest {
        tree: &session.tree,
        keys: &user.keys,
        previous,
        baseline: BASELINE,
        baseline_name: BASELINE_NAME,
        build_timestamp: 1_700_000_000,
        pc: PC,
        exclusions: &exclusions,
        state,
        repack: None,
    };
    let push = Push::new(user.site.clone(), gone);
    let captured = capture(&request, &push, &NoProgress).unwrap();
    let base = Base {
        previous: previous.map(|previous| previous.record),
        pc: PC,
    };
    let pushed = push
        .commit(captured.record.as_ref().unwrap(), &base)
        .unwrap();
    (captured, pushed)
}

/// The newest snapshot at the site, on a fresh PC.
fn restored(user: &SignedIn) -> (Session, u32, u64) {
    let screen = Screen::blind(Events::default(), Language::English);
    let pulled = pull::newest(user, &screen).unwrap().unwrap();
    let session = Session::new();
    let request = ApplyRequest {
        tree: &session.tree,
        keys: &user.keys,
        record: &pulled.record,
        baseline_name: BASELINE_NAME,
    };
    let packs = SitePacks::aside(&user.site, &pulled.record);
    apply(&request, &packs, &NoProgress).unwrap();
    (session, pulled.record.epoch, pulled.record.seq)
}

/// What a courier makes of the one parcel.
fn carried(outbox: &Outbox, site: &Site) -> Fate {
    let parcels = outbox.parcels().unwrap();
    let courier = Courier::start(parcels, site.client(), Events::default(), || {});
    let fates = courier.wait_for(USER, LATE);
    assert_eq!(fates.len(), 1, "{fates:?}");
    fates[0].clone()
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_parcel_from_before_a_card_was_taken_away_arrives_when_its_user_vouches_for_it_and_not_before()
{
    let mut site = Site::new();
    let (old, new) = (Card::of(1), Card::of(2));
    site.add(&old);
    let session = Session::new();
    session
        .dir("home/ada")
        .file("home/ada/first", noise(1, 100_000));
    let user = old.sign_in(&site.client(), &site.url());
    let (first, pushed) = save(&user, &session, None, None, SiteGone::GiveUp);
    assert_eq!(pushed, Pushed::AtSite);

    // The end of a session without the site: the afternoon waits on this PC.
    site.stop();
    session.file("home/ada/second", noise(2, 100_000));
    let previous = Previous {
        record: first.record.as_ref().unwrap().id(),
        seq: 1,
    };
    let outbox = Outbox::at(&site.path("outbox"));
    fs::create_dir(outbox.root()).unwrap();
    let gone = SiteGone::UseOutbox {
        outbox: outbox.clone(),
        patience: Duration::ZERO,
    };
    let (_, pushed) = save(&user, &session, Some(previous), Some(&first.state), gone);
    assert_eq!(pushed, Pushed::InOutbox);

    // Then the card is lost and taken away.
    site.start();
    site.add(&new);
    let Fate::OldEpoch(parcel) = carried(&outbox, &site) else {
        panic!("it arrived without its user");
    };
    let parcel: Waiting = *parcel;
    assert_eq!(outbox.parcels().unwrap(), std::slice::from_ref(&parcel));
    copy(outbox.root(), &site.path("kept"));

    // The user comes with another card. Without the chain nobody can tell whose the parcel is.
    let user = new.sign_in(&site.client(), &site.url());
    assert_eq!((user.keys.epoch(), user.keys.oldest()), (2, 1));
    let alone = SnapshotKeys::derive(&user_key(2), USER, 2);
    assert!(matches!(
        renew::own_record(&parcel, &alone),
        Err(RenewError::Record(RecordError::OtherEpoch {
            signed: 1,
            ..
        }))
    ));
    let record = renew::own_record(&parcel, &user.keys).unwrap();
    assert_eq!((record.epoch, record.seq, record.pc.as_str()), (1, 2, PC));
    let head = Renewal::default()
        .renew(&parcel, &record, &user.site, &user.keys)
        .unwrap();
    assert_eq!((head.epoch, head.seq), (2, 2));
    assert!(outbox.parcels().unwrap().is_empty());
    let user = new.sign_in(&site.client(), &site.url());
    let (again, epoch, seq) = restored(&user);
    assert_same(&again, &session);
    assert_eq!((epoch, seq), (2, 2));

    // Whoever brings it a second time finds that the head has moved, and the parcel stays.
    let kept = Outbox::at(&site.path("kept"));
    let parcel = kept.parcels().unwrap().remove(0);
    let refused = Renewal::default().renew(&parcel, &record, &user.site, &user.keys);
    assert!(matches!(refused, Err(RenewError::HeadMoved)), "{refused:?}");
    assert_eq!(kept.parcels().unwrap(), [parcel]);
}

/// The session is over for the site, and its last save is not lost for that.
#[test]
fn a_session_that_was_open_while_the_card_was_taken_away_keeps_its_last_save() {
    let site = Site::new();
    let (old, new) = (Card::of(1), Card::of(2));
    site.add(&old);
    let session = Session::new();
    session
        .dir("home/ada")
        .file("home/ada/first", noise(1, 100_000));
    let user = old.sign_in(&site.client(), &site.url());
    site.add(&new);
    let outbox = Outbox::at(&site.path("outbox"));
    fs::create_dir(outbox.root()).unwrap();
    let gone = SiteGone::UseOutbox {
        outbox: outbox.clone(),
        patience: Duration::ZERO,
    };
    let (_, pushed) = save(&user, &session, None, None, gone);
    assert_eq!(pushed, Pushed::InOutbox);
    let Fate::OldEpoch(parcel) = carried(&outbox, &site) else {
        panic!("it arrived without its user");
    };
    let user = new.sign_in(&site.client(), &site.url());
    let record = renew::own_record(&parcel, &user.keys).unwrap();
    Renewal::default()
        .renew(&parcel, &record, &user.site, &user.keys)
        .unwrap();
    let user = new.sign_in(&site.client(), &site.url());
    assert_same(&restored(&user).0, &session);

    // The old card's holder is told what lies in the newer epoch, if a site should ever hand it out.
    let thief = SignedIn {
        keys: SnapshotKeys::derive(&user_key(1), USER, 1),
        ..user
    };
    let screen = Screen::blind(Events::default(), Language::English);
    let refused = pull::newest(&thief, &screen).unwrap_err();
    assert_eq!(refused.code(), Code::KeyNotOpened);
}
