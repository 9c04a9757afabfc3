//! Users for `cargo xtask bench site`: registered as the operator does it, signed in as their PCs do it.
//!
//! `people DATA URL COUNT`: DATA is the data folder of the site that answers at URL. Prints a line for each:
//! user id, a blank, the token of its sign-in.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result, anyhow, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{StreamExt as _, TryStreamExt as _};
use hpke::{
    Deserializable as _, Kem as _, OpModeR, Serializable as _, aead::AesGcm256, kdf::HkdfSha256,
    kem::DhP256HkdfSha256,
};
use p256::pkcs8::EncodePublicKey as _;
use reqwest::Client;
use serde::{Serialize, de::DeserializeOwned};
use site_api::{
    RegisteredCard, Registration, SignIn, SignInChallenge, SignInChallengeRequest, SignInRequest,
    path, registration,
};
use site_server::{admin, config::Layout};
use snapshot::{
    id::{BaselineId, CardId, UserId},
    keys::{SnapshotKeys, UserKey},
    slot::{self, Challenge, Nonce, SlotContext},
};

/// Registrations and sign-ins at a time: each hashes a password here or at the site.
const AT_A_TIME: usize = 4;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("people DATA URL COUNT");
    let (data, url, count) = (PathBuf::from(next()?), next()?, next()?);
    let count: u32 = count.parse().context("COUNT is a number")?;
    let client = client(&Layout::new(&data).ca())?;
    let people: Vec<String> = futures_util::stream::iter(0..count)
        .map(|n| one(&data, &client, &url, n))
        .buffered(AT_A_TIME)
        .try_collect()
        .await?;
    for line in people {
        println!("{line}");
    }
    Ok(())
}

/// Registers a user and signs in.
async fn one(data: &std::path::Path, client: &Client, url: &str, n: u32) -> Result<String> {
    let person = Person::new(n)?;
    let file = tempfile::NamedTempFile::new().context("make a file for a registration")?;
    serde_json::to_writer(file.as_file(), &person.registration()?).context("write it")?;
    admin::user_add(data, &person.name, file.path(), &person.password).await?;
    let ask = SignInChallengeRequest {
        card: person.card,
        baseline: BaselineId::new([7; 32]),
    };
    let asked: SignInChallenge = post(client, url, path::SIGN_IN_CHALLENGE, &ask).await?;
    let answer = SignInRequest {
        challenge: asked.challenge.clone(),
        proof_b64: person.answer(&asked)?,
        user: person.name.clone(),
        password: person.password.clone(),
        pc: format!("pc-{n}"),
        leases: false,
    };
    let signed_in: SignIn = post(client, url, path::SIGN_IN, &answer).await?;
    Ok(format!("{} {}", person.user, signed_in.token))
}

async fn post<T: DeserializeOwned>(
    client: &Client,
    url: &str,
    at: &str,
    body: &impl Serialize,
) -> Result<T> {
    let response = client.post(format!("{url}{at}")).json(body).send().await?;
    let (status, text) = (response.status(), response.text().await?);
    ensure!(status.is_success(), "{at}: {status}: {text}");
    serde_json::from_str(&text).with_context(|| format!("parse what {at} answers"))
}

fn client(ca: &std::path::Path) -> Result<Client> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    let mut roots = rustls::RootCertStore::empty();
    let certificate =
        CertificateDer::from_pem_file(ca).context("read the certificate of the CA")?;
    roots.add(certificate).context("trust the CA")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("set up TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy();
    client.build().context("make a client")
}

type Kem = DhP256HkdfSha256;

/// A user with a card.
struct Person {
    user: UserId,
    name: String,
    password: String,
    card: CardId,
    private: <Kem as hpke::Kem>::PrivateKey,
    spki: Vec<u8>,
}

impl Person {
    fn new(n: u32) -> Result<Self> {
        let (private, public) = Kem::gen_keypair();
        let point = public.to_bytes().to_vec();
        let key = p256::PublicKey::from_sec1_bytes(&point).context("a point of the curve")?;
        let spki = key.to_public_key_der().context("encode a key")?;
        let spki = spki.as_bytes().to_vec();
        let mut user = [0; 16];
        getrandom::fill(&mut user).map_err(|error| anyhow!("no random bytes: {error}"))?;
        Ok(Self {
            user: UserId::new(user),
            name: format!("bench-{n}-{}", hex::encode(user)),
            password: format!("pass-phrase of {n}"),
            card: slot::card_id(&spki),
            private,
            spki,
        })
    }

    fn registration(&self) -> Result<Registration> {
        let context = SlotContext {
            user: self.user,
            slot: 0,
            card: self.card,
            epoch: 1,
        };
        let key = || UserKey::from_bytes([3; 32]);
        let public = slot::card_public_key(&self.spki).context("a card's key")?;
        let wrapped = slot::wrap(&key(), &public, &context).context("wrap a user key")?;
        let keys = SnapshotKeys::derive(&key(), self.user, 1);
        Ok(Registration {
            format: registration::FORMAT.into(),
            version: registration::VERSION,
            user: self.user,
            name: self.name.clone(),
            record_public_key: hex::encode(keys.record_public_key()),
            cards: vec![RegisteredCard {
                card: self.card,
                spki_b64: STANDARD.encode(&self.spki),
                label: "first card".into(),
                slot: 0,
                epoch: 1,
                slot_b64: STANDARD.encode(wrapped),
            }],
            chain_b64: None,
            escrow_b64: None,
        })
    }

    /// What a card does with a challenge.
    fn answer(&self, asked: &SignInChallenge) -> Result<String> {
        let sealed = STANDARD.decode(&asked.sealed_b64).context("a challenge")?;
        let challenge = Challenge::parse(&sealed).context("a challenge")?;
        let enc = <Kem as hpke::Kem>::EncappedKey::from_bytes(challenge.0.enc.as_bytes())
            .map_err(|error| anyhow!("a challenge: {error}"))?;
        let nonce = hpke::single_shot_open::<AesGcm256, HkdfSha256, Kem>(
            &OpModeR::Base,
            &self.private,
            &enc,
            slot::SIGN_IN_INFO,
            &challenge.0.ciphertext,
            &Challenge::aad(asked.site, &asked.challenge),
        );
        let nonce = nonce.map_err(|error| anyhow!("open a challenge: {error}"))?;
        let nonce: [u8; 32] = nonce.try_into().map_err(|_| anyhow!("a nonce"))?;
        let nonce = Nonce::from_bytes(nonce);
        let proof = slot::proof(&nonce, asked.site, &asked.challenge, self.card);
        Ok(STANDARD.encode(proof))
    }
}
