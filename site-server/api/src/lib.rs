//! Paths, request and response types of a site. No I/O: agent, builder and site all build on this.
//!
//! Bytes inside JSON are base64 (standard alphabet, padded) in fields named `*_b64`; ids are
//! lower-case hex; times are milliseconds since 1970-01-01 UTC in fields named `*_ms`.
//! The page of the protocol is `docs/formats/site-api.md`.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};
use snapshot::id::{BaselineId, CardId, Digest, ObjectId, RecordId, ReleaseId, SiteId, UserId};

pub mod discovery;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod lease;
pub mod pc;
pub mod peer;
pub mod registration;
pub mod wipe;

pub use registration::{RegisteredCard, Registration};

/// Every path a site answers, with `{}` where an id goes.
pub mod path {
    /// `GET`: [`super::SiteInfo`]. No sign-in.
    pub const SITE: &str = "/v1/site";
    /// `GET`: list of [`super::ReleaseInfo`], newest first. No sign-in.
    pub const RELEASES: &str = "/v1/releases";
    /// `POST`: body [`super::SignInChallengeRequest`], answer [`super::SignInChallenge`].
    pub const SIGN_IN_CHALLENGE: &str = "/v1/sign-in/challenge";
    /// `POST`: body [`super::SignInRequest`], answer [`super::SignIn`].
    pub const SIGN_IN: &str = "/v1/sign-in";
    /// `POST`: body [`super::PassphraseRequest`], answer [`super::PassphraseSlot`]. What comes before the two halves of a
    /// sign-in without a card.
    pub const SIGN_IN_PASSPHRASE: &str = "/v1/sign-in/passphrase";
    /// `POST`: body [`super::registration::ChallengeRequest`], answer [`super::SignInChallenge`]. No sign-in.
    pub const REGISTRATION_CHALLENGE: &str = "/v1/registrations/challenge";
    /// `POST`: body [`super::registration::RegistrationRequest`], answer [`super::registration::Registered`] with 201,
    /// or 200 when it was here. No sign-in: the card's proof is what allows it.
    pub const REGISTRATIONS: &str = "/v1/registrations";
    /// `POST`: body [`super::MissingRequest`], answer [`super::Missing`]. Bearer token.
    pub const OBJECTS_MISSING: &str = "/v1/objects/missing";
    /// `GET`: [`super::Head`]; 404 while there is none. `PUT`: body [`super::PutHead`], answer
    /// [`super::Head`] with 201, or 200 when it was the head already; 412 [`super::ProblemWithHead`].
    /// Bearer token.
    pub const HEAD: &str = "/v1/head";
    /// `GET`: [`super::lease::LeaseState`] of the session. `PUT`: body [`super::lease::LeaseRequest`], the same answer.
    /// `DELETE`: the session is over; 204. Bearer token of a PC.
    pub const LEASE: &str = "/v1/lease";
    /// `POST`: ask this site to fetch the head it does not have yet; answer [`super::Transfer`].
    /// `GET`: the same answer while it goes on. Bearer token.
    pub const HEAD_FETCH: &str = "/v1/head/fetch";
    /// `GET` (`ETag`, `If-None-Match`): [`super::SettingsAnswer`] of the signed-in user. Bearer token.
    pub const SETTINGS: &str = "/v1/settings";
    /// `POST`: body [`super::DeliveryRequest`], answer [`super::Delivery`]. No sign-in: the record's
    /// signature is what allows it.
    pub const DELIVERIES: &str = "/v1/deliveries";
    /// `POST`: body [`super::wipe::WipeRecord`], answer 201, or 200 when it was here. No sign-in: a PC's own claim.
    pub const WIPES: &str = "/v1/wipes";
    /// `POST`: body [`super::ChunksRequest`], answer one frame of [`snapshot::delta`]. No sign-in.
    pub const CHUNKS: &str = "/v1/chunks";
    /// `POST`: body [`super::pc::StageReport`], answer 204. No sign-in: the signature of an enrolled PC is what counts.
    #[must_use]
    pub fn pc_stage(pc: &str) -> String {
        format!("/v1/pcs/{pc}/stage")
    }

    /// `GET`: 200 while the site can serve.
    pub const HEALTH: &str = "/health";
    /// `GET`: the OpenAPI document of all this.
    pub const OPENAPI: &str = "/v1/openapi.json";
    /// `GET`: Prometheus text, see docs/formats/site-api.md §metrics.
    pub const METRICS: &str = "/metrics";

    /// `GET`: [`super::ReleaseInfo`] of the latest release with this baseline.
    #[must_use]
    pub fn baseline(id: super::BaselineId) -> String {
        format!("/v1/baselines/{id}")
    }

    /// `GET` with ranges (no sign-in) or `PUT` (operator token) one file of a release.
    #[must_use]
    pub fn release_file(id: super::ReleaseId, file: super::ReleaseFile) -> String {
        format!("/v1/releases/{id}/{}", file.name())
    }

    /// `GET`: the index of a release as a frame of [`snapshot::delta`] for a PC that has the index of `from`. No
    /// sign-in.
    #[must_use]
    pub fn index_from(id: super::ReleaseId, from: super::ReleaseId) -> String {
        format!("/v1/releases/{id}/index-from/{from}")
    }

    /// `GET`: an index ([`snapshot::image_index`]) of the chunks of a release's unified kernel image, its last block
    /// filled up with zeroes, as a frame of [`snapshot::delta`] for a PC that has the unified kernel image of `from`
    /// and so its index. Not signed: the file's digest is. No sign-in.
    #[must_use]
    pub fn boot_index_from(id: super::ReleaseId, from: super::ReleaseId) -> String {
        format!("/v1/releases/{id}/boot-index-from/{from}")
    }

    /// `GET`: [`super::ReleaseInfo`] of the release of this name that PCs should start. No sign-in.
    #[must_use]
    pub fn release_to_start(name: &str) -> String {
        format!("/v1/names/{name}/release")
    }

    /// `POST` (operator token): all files are there, check digests and signature, list the release.
    #[must_use]
    pub fn release_commit(id: super::ReleaseId) -> String {
        format!("/v1/releases/{id}/commit")
    }

    /// `PUT`, `GET` (ranges), `HEAD` one sealed object of the signed-in user. Bearer token.
    #[must_use]
    pub fn object(id: super::ObjectId) -> String {
        format!("/v1/objects/{id}")
    }
}

/// Largest sealed object a site takes, in bytes: a pack is 8 MiB and some, a manifest may be larger.
pub const MAX_OBJECT_BYTES: u64 = 64 << 20;

/// The files of a release. Anything else is not a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReleaseFile {
    /// The signed description.
    Manifest,
    /// Ed25519 signature over the bytes of the manifest, 64 raw bytes.
    Signature,
    /// erofs image followed by its verity tree.
    Baseline,
    /// The chunks the image consists of, see [`snapshot::image_index`].
    Index,
    /// Unified kernel image.
    Uki,
    /// Kernel alone, for boot loaders that take it apart.
    Kernel,
    /// Initrd alone.
    Initrd,
    /// What starts a boot file from a PC's own disk: systemd-boot.
    Loader,
}

impl ReleaseFile {
    /// All of them, in the order they are published.
    pub const ALL: [Self; 8] = [
        Self::Manifest,
        Self::Signature,
        Self::Baseline,
        Self::Index,
        Self::Uki,
        Self::Kernel,
        Self::Initrd,
        Self::Loader,
    ];

    /// File name in the builder's output folder and in the path at a site.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest.json",
            Self::Signature => "manifest.sig",
            Self::Baseline => "baseline.img",
            Self::Index => "baseline.index",
            Self::Uki => "furoshiki.efi",
            Self::Kernel => "vmlinuz",
            Self::Initrd => "initrd.img",
            Self::Loader => "systemd-bootx64.efi",
        }
    }

    /// The file with this name, if it is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|file| file.name() == name)
    }
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SiteInfo {
    /// This site.
    pub site: SiteId,
    /// Its name for people.
    pub name: String,
    /// The site's clock.
    pub now_ms: i64,
    /// Version of the server program.
    pub version: String,
    /// Whether people sign in with passphrases here; false from a site that knows none.
    #[serde(default)]
    pub passphrases: bool,
}

/// A release a site can serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReleaseInfo {
    /// The release.
    pub release: ReleaseId,
    /// Its baseline.
    pub baseline: BaselineId,
    /// Name of the recipe.
    pub name: String,
    /// Build timestamp, seconds since 1970 (patent part 23).
    pub build_timestamp: i64,
    /// Nothing of this name built before this may sign in at a site that lists this release, seconds since 1970.
    pub minimum_build_timestamp: i64,
    /// When this site took it.
    pub published_ms: i64,
}

/// What a user registered, sealed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SettingsAnswer {
    /// At most one of each part.
    pub settings: Vec<peer::SettingsRecord>,
}

/// First half of a sign-in: which card.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignInChallengeRequest {
    /// The card in the reader.
    pub card: CardId,
    /// The baseline the PC starts.
    pub baseline: BaselineId,
}

/// A nonce only that card can open.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignInChallenge {
    /// Name of the challenge, used once, 32 hex digits.
    pub challenge: String,
    /// The site that asks; part of what the card proves.
    pub site: SiteId,
    /// A nonce sealed to the card, see `snapshot::slot::Challenge`.
    pub sealed_b64: String,
    /// When the challenge dies.
    pub expires_ms: i64,
}

/// Second half of a sign-in. No `Debug`: it carries a password.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignInRequest {
    /// The challenge answered.
    pub challenge: String,
    /// `snapshot::slot::Challenge` proof: HMAC-SHA256 under the opened nonce.
    pub proof_b64: String,
    /// User name.
    pub user: String,
    /// Site password.
    pub password: String,
    /// The shared PC, for the user's "last saved on".
    pub pc: String,
    /// True from an agent that knows [`lease`]: it renews its own and understands `fenced`.
    #[serde(default)]
    pub leases: bool,
}

/// Before a sign-in without a card: whose passphrase. No `Debug`: it carries a password.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PassphraseRequest {
    /// User name.
    pub user: String,
    /// Site password.
    pub password: String,
    /// The shared PC, for the site's log.
    pub pc: String,
    /// The baseline the PC starts.
    pub baseline: BaselineId,
}

/// What the passphrase opens. The sign-in goes on with the id in it where a card has its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PassphraseSlot {
    /// The wrapped user key with salt and cost, see `snapshot::slot::ByPassphrase`.
    pub slot_b64: String,
}

/// What a user gets at sign-in. No `Debug`: it carries a token.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignIn {
    /// Bearer token for this session: read, add, advance the own head.
    pub token: String,
    /// When the token dies.
    pub token_expires_ms: i64,
    /// The user.
    pub user: UserId,
    /// User name as registered.
    pub name: String,
    /// The wrapped user key for this card, see `snapshot::slot::Slot`.
    pub slot_b64: String,
    /// What leads from that key to those of earlier epochs, see `snapshot::chain::Chain`; `None` in the first epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain_b64: Option<String>,
    /// Newest snapshot any site reported, if there is one.
    pub head: Option<HeadInfo>,
    /// The session's own lease; `None` from a site that knows no leases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<lease::Lease>,
    /// Where else the user is signed in, the newest first: wait, or take over with `PUT` [`path::LEASE`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<lease::Lease>,
}

/// Newest snapshot of a user, as small as it travels to every site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeadInfo {
    /// Epoch in which it was signed.
    pub epoch: u32,
    /// 1 for the first snapshot.
    pub seq: u64,
    /// The signed record.
    pub record: RecordId,
    /// Where it was pushed.
    pub site: SiteId,
    /// When that site took it.
    pub saved_ms: i64,
    /// The PC that made it.
    pub pc: String,
}

/// A head with its record, when this site has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Head {
    /// Where and when.
    pub info: HeadInfo,
    /// Encoded `snapshot::record::SignedRecord`; `None` while the site has no copy of the snapshot.
    pub record_b64: Option<String>,
}

/// Compare-and-swap of the head.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PutHead {
    /// The head this one follows; `None` for the first. Anything else there is 412 `head-moved`.
    pub expected: Option<RecordId>,
    /// Encoded `snapshot::record::SignedRecord`.
    pub record_b64: String,
    /// The PC that made it.
    pub pc: String,
}

/// A signed record that wants to become the head while its user is not there to sign in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryRequest {
    /// Encoded `snapshot::record::SignedRecord`.
    pub record_b64: String,
}

/// What a site answers to a [`DeliveryRequest`].
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Delivery {
    /// Nothing to do: the record is the head, or the whole snapshot was kept here before.
    Arrived,
    /// Bring what lacks, then put the head.
    Granted(DeliveryGrant),
}

/// Leave to deliver one snapshot. No `Debug`: it carries a token.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryGrant {
    /// Bearer token for this delivery: [`path::OBJECTS_MISSING`] and `PUT` of the objects the record
    /// lists, `PUT` [`path::HEAD`] of this record, nothing else. It reads nothing.
    pub token: String,
    /// When the token dies.
    pub token_expires_ms: i64,
    /// Every listed object the site lacks, in the order of the record; at most 65 553, some 4.4 MB.
    pub missing: Vec<ObjectId>,
}

/// Chunks of baseline images, please.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChunksRequest {
    /// These, in this order; together at most [`snapshot::delta::MAX_BYTES`], at most [`MAX_CHUNKS`].
    pub want: Vec<Digest>,
    /// A PC that has these, in this order; the same limits. The answer is packed with them as dictionary.
    pub have: Vec<Digest>,
}

/// Most chunks in a list of [`ChunksRequest`].
pub const MAX_CHUNKS: usize = 1024;

/// Which of these does the site lack?
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MissingRequest {
    /// At most 4096.
    pub objects: Vec<ObjectId>,
}

/// Those it lacks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Missing {
    /// In the order asked.
    pub objects: Vec<ObjectId>,
}

/// A relay to this site, under way or done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Transfer {
    /// The snapshot.
    pub record: RecordId,
    /// From which site.
    pub from: SiteId,
    /// How far it is.
    pub state: TransferState,
    /// Bytes here so far.
    pub bytes_done: u64,
    /// Bytes lacking when it began.
    pub bytes_total: u64,
    /// Why it failed, for people.
    pub error: Option<String>,
}

/// State of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum TransferState {
    /// Asked for, not begun.
    Waiting,
    /// Bytes move.
    Running,
    /// Everything the record lists is here and checked.
    Done,
    /// Stopped; asking again resumes.
    Failed,
}

/// Body of every answer that is not 2xx (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Short stable name of what is wrong.
    pub code: ProblemCode,
    /// One sentence for people: what, why, what to do.
    pub detail: String,
}

/// A [`Problem`] with code `head-moved`: it names the head that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProblemWithHead {
    /// What is wrong.
    #[serde(flatten)]
    pub problem: Problem,
    /// The head now; `None` when there is none.
    pub head: Option<HeadInfo>,
}

/// Short stable names of what may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ProblemCode {
    /// 400: not JSON, not an id, not a known path part.
    BadRequest,
    /// 401: no token, or one that died.
    NotSignedIn,
    /// 404: no user has this card.
    UnknownCard,
    /// 403: the card was revoked.
    CardRevoked,
    /// 403: this site registers nobody at its PCs.
    RegistrationClosed,
    /// 403: this site takes no passphrases.
    PassphrasesClosed,
    /// 409: another user has the name.
    NameTaken,
    /// 409: the card has a user.
    CardTaken,
    /// 401: the challenge was not opened by the card, was used, or died.
    WrongProof,
    /// 403: the card is good, the user name is another's.
    CardOfAnotherUser,
    /// 401: the password is wrong; without a card perhaps the name, or the user has no passphrase.
    WrongPassword,
    /// 403: a call between sites without the certificate of a site known here.
    UnknownSite,
    /// 429: too many wrong passwords; `Retry-After` says when.
    TooManyTries,
    /// 429: too many wipe records from one address; `Retry-After` says when.
    TooManyRecords,
    /// 429: this user or PC asks for more at once than one may; `Retry-After` says when to go on.
    TooManyRequests,
    /// 503: the site is busy with others; `Retry-After` says when to come again.
    Busy,
    /// 403: a delivery may only bring what its record lists, and that record.
    NotGranted,
    /// 403: the PC starts a baseline older than this site allows.
    OutdatedBaseline,
    /// 404: no such object, release, head.
    NotFound,
    /// 412: the head is not the one expected.
    HeadMoved,
    /// 409: another session of the user took over; keep the snapshot.
    Fenced,
    /// 409: a card of the user was taken away after the record was signed; its user signs it anew.
    OldEpoch,
    /// 409: the record lists objects this site lacks.
    ObjectsMissing,
    /// 409: a site keeps what may be the only copy of a user's newest snapshot.
    OnlyCopy,
    /// 422: the bytes do not have the name.
    WrongHash,
    /// 422: a record or release that does not verify.
    WrongSignature,
    /// 413: larger than [`MAX_OBJECT_BYTES`].
    TooLarge,
    /// 507: no space.
    SiteFull,
    /// 502: the other site did not answer.
    PeerDown,
    /// 500: our fault; the log has the chain.
    Internal,
}
