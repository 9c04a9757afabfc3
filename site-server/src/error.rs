//! What a request is answered with when it fails: problem+json (RFC 9457), made in one place.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use site_api::{HeadInfo, Problem, ProblemCode, ProblemWithHead};

use crate::{
    meters::Failed,
    store::{StoreError, TryAgainAt},
};

/// A failed request.
#[derive(Debug)]
pub struct ApiError {
    code: ProblemCode,
    detail: String,
    japanese: Option<String>,
    status: Option<StatusCode>,
    retry_after_s: Option<u64>,
    head: Option<Option<Box<HeadInfo>>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// An answer or a failure.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// A failure with a sentence for people: what, why, what to do.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            japanese: None,
            status: None,
            retry_after_s: None,
            head: None,
            source: None,
        }
    }

    /// A request that is not one.
    pub fn bad(detail: impl Into<String>) -> Self {
        Self::new(ProblemCode::BadRequest, detail)
    }

    /// Nothing there.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ProblemCode::NotFound, detail)
    }

    /// Our fault: the caller learns nothing, the log has the chain.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::new(
                ProblemCode::Internal,
                "The site failed. Its log says why; try again or tell the operator.",
            )
        }
    }

    /// Too many wrong passwords.
    #[must_use]
    pub fn too_many_tries(at: TryAgainAt) -> Self {
        let seconds = at.seconds();
        let detail = format!("Too many wrong passwords in a row. Try again in {seconds} seconds.");
        Self {
            retry_after_s: Some(seconds),
            ..Self::new(ProblemCode::TooManyTries, detail)
        }
        .japanese(format!(
            "パスワードの間違いが続いています。{seconds}秒後にもう一度お試しください。"
        ))
    }

    /// Too many unknown cards from one address.
    #[must_use]
    pub fn too_many_cards(at: TryAgainAt) -> Self {
        let seconds = at.seconds();
        let detail = format!(
            "No user has this card, nor the last ones shown here. Try again in {seconds} seconds."
        );
        Self {
            retry_after_s: Some(seconds),
            ..Self::new(ProblemCode::TooManyTries, detail)
        }
    }

    /// Too many registrations from one address, or at the site.
    #[must_use]
    pub fn too_many_registrations(at: TryAgainAt) -> Self {
        let seconds = at.seconds();
        let detail =
            format!("Too many users registered here today. Try again in {seconds} seconds.");
        Self {
            retry_after_s: Some(seconds),
            ..Self::new(ProblemCode::TooManyTries, detail)
        }
    }

    /// Another session of the user took over.
    #[must_use]
    pub fn fenced() -> Self {
        Self::new(
            ProblemCode::Fenced,
            "Another PC took over this user's session. Keep this snapshot on the PC; it is delivered when that session is over, or its user decides.",
        )
    }

    /// Signed in an epoch that is over.
    #[must_use]
    pub fn old_epoch() -> Self {
        Self::new(
            ProblemCode::OldEpoch,
            "A card of this user was taken away after this snapshot was sealed. Keep it on the PC; when its user signs in there and vouches for it, it is sealed anew and sent.",
        )
    }

    /// Too many wipe records from one address.
    #[must_use]
    pub fn too_many_records() -> Self {
        Self {
            retry_after_s: Some(60),
            ..Self::new(
                ProblemCode::TooManyRecords,
                "Too many wipe records from this address. Keep this one and send it later.",
            )
        }
    }

    /// One asks for more at once than one may.
    #[must_use]
    pub fn too_many_requests() -> Self {
        Self {
            retry_after_s: Some(later()),
            ..Self::new(
                ProblemCode::TooManyRequests,
                "Too many requests at once. Finish some of them first.",
            )
        }
    }

    /// Others were first.
    #[must_use]
    pub fn busy() -> Self {
        Self {
            retry_after_s: Some(later()),
            ..Self::new(
                ProblemCode::Busy,
                "The site is busy with other PCs. Try again in a moment.",
            )
        }
    }

    /// The user keeps as much as the site allows. Released PCs know the code and keep what was not taken.
    #[must_use]
    pub fn over_quota(quota: u64) -> Self {
        Self::new(
            ProblemCode::SiteFull,
            format!(
                "Your quota at this site, {quota} bytes, is used up. Delete what you do not need, or ask the operator for more."
            ),
        )
    }

    /// The head is another one.
    #[must_use]
    pub fn head_moved(head: Option<HeadInfo>) -> Self {
        let detail =
            "Another snapshot was saved meanwhile. Fetch the head and decide which to go on from.";
        Self {
            head: Some(head.map(Box::new)),
            ..Self::new(ProblemCode::HeadMoved, detail)
        }
    }

    /// The head is another one, told to somebody who may not know which.
    #[must_use]
    pub fn head_moved_unnamed() -> Self {
        let detail = "Another snapshot was saved meanwhile. Keep this one until its user signs in.";
        Self::new(ProblemCode::HeadMoved, detail)
    }

    /// A delivery that asks for more than its record.
    pub fn not_granted(detail: impl Into<String>) -> Self {
        Self::new(ProblemCode::NotGranted, detail)
    }

    /// The same failure with another status, for what only HTTP knows (405).
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self {
            status: Some(status),
            ..self
        }
    }

    /// With the same sentence for pages in Japanese.
    #[must_use]
    pub fn japanese(self, detail: impl Into<String>) -> Self {
        Self {
            japanese: Some(detail.into()),
            ..self
        }
    }

    /// The sentence for people, in the language of their page.
    #[must_use]
    pub fn said(&self, japanese: bool) -> String {
        if !japanese {
            return self.detail.clone();
        }
        match (&self.japanese, self.code) {
            (Some(detail), _) => detail.clone(),
            (None, ProblemCode::Internal) => {
                "拠点でエラーが起きました。時間をおいてやり直すか、運用者に連絡してください。"
                    .to_owned()
            }
            (None, ProblemCode::Busy | ProblemCode::TooManyRequests) => {
                "混み合っています。少し待ってからやり直してください。".to_owned()
            }
            (None, ProblemCode::SiteFull) => {
                "拠点の容量がいっぱいで、保存できませんでした。運用者に連絡してください。"
                    .to_owned()
            }
            (None, ProblemCode::PeerDown) => {
                "相手の拠点が応答しません。時間をおいてやり直してください。".to_owned()
            }
            (None, ProblemCode::NotFound) => "見つかりませんでした。".to_owned(),
            (None, _) => format!("要求を処理できませんでした（{}）", self.detail),
        }
    }

    /// Short stable name of what is wrong.
    #[must_use]
    pub const fn code(&self) -> ProblemCode {
        self.code
    }

    /// The sentence for people, in English.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Whether bytes are gone that a row of the database promised.
    pub(crate) fn is_lost(&self) -> bool {
        let source = self.source.as_ref();
        let store = source.and_then(|source| source.downcast_ref::<StoreError>());
        matches!(
            store,
            Some(StoreError::Objects {
                source: object_store::Error::NotFound { .. },
                ..
            })
        )
    }

    /// HTTP status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status.unwrap_or_else(|| status(self.code))
    }
}

/// The status that belongs to a code, as site-api says.
#[must_use]
pub const fn status(code: ProblemCode) -> StatusCode {
    match code {
        ProblemCode::BadRequest => StatusCode::BAD_REQUEST,
        ProblemCode::NotSignedIn | ProblemCode::WrongProof | ProblemCode::WrongPassword => {
            StatusCode::UNAUTHORIZED
        }
        ProblemCode::CardRevoked
        | ProblemCode::RegistrationClosed
        | ProblemCode::PassphrasesClosed
        | ProblemCode::CardOfAnotherUser
        | ProblemCode::UnknownSite
        | ProblemCode::OutdatedBaseline
        | ProblemCode::NotGranted => StatusCode::FORBIDDEN,
        ProblemCode::UnknownCard | ProblemCode::NotFound => StatusCode::NOT_FOUND,
        ProblemCode::ObjectsMissing
        | ProblemCode::Fenced
        | ProblemCode::OldEpoch
        | ProblemCode::OnlyCopy
        | ProblemCode::NameTaken
        | ProblemCode::CardTaken => StatusCode::CONFLICT,
        ProblemCode::HeadMoved => StatusCode::PRECONDITION_FAILED,
        ProblemCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ProblemCode::WrongHash | ProblemCode::WrongSignature => StatusCode::UNPROCESSABLE_ENTITY,
        ProblemCode::TooManyTries | ProblemCode::TooManyRecords | ProblemCode::TooManyRequests => {
            StatusCode::TOO_MANY_REQUESTS
        }
        ProblemCode::Busy => StatusCode::SERVICE_UNAVAILABLE,
        ProblemCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ProblemCode::PeerDown => StatusCode::BAD_GATEWAY,
        ProblemCode::SiteFull => StatusCode::INSUFFICIENT_STORAGE,
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if error.is_full() {
            let detail =
                "The site's disk is full. Nothing was kept; tell the operator and try again later.";
            return Self {
                source: Some(error.into()),
                ..Self::new(ProblemCode::SiteFull, detail)
            };
        }
        if error.is_away() {
            let detail =
                "The site's database does not answer. Nothing is lost; try again in a moment.";
            return Self {
                source: Some(error.into()),
                status: Some(StatusCode::SERVICE_UNAVAILABLE),
                retry_after_s: Some(1),
                ..Self::new(ProblemCode::Internal, detail)
            };
        }
        if error.is_no_text() {
            return Self::bad("A text in the request holds a zero byte, which no name has.");
        }
        match &error {
            StoreError::TooLarge { .. } => Self::new(ProblemCode::TooLarge, error.to_string()),
            StoreError::WrongHash { .. } | StoreError::Image(_) => {
                Self::new(ProblemCode::WrongHash, error.to_string())
            }
            StoreError::OverQuota { quota } => Self::over_quota(*quota),
            StoreError::WrongSize { .. } => Self::bad(error.to_string()),
            StoreError::BrokenOff { .. } if is_timeout(&error) => {
                Self::bad(chain(&error)).with_status(StatusCode::REQUEST_TIMEOUT)
            }
            StoreError::BrokenOff { .. } => Self {
                source: None,
                ..Self::bad(chain(&error))
            },
            StoreError::StoodStill { .. } => {
                Self::bad(error.to_string()).with_status(StatusCode::REQUEST_TIMEOUT)
            }
            StoreError::Objects { .. } => {
                Self::internal(error).with_status(StatusCode::SERVICE_UNAVAILABLE)
            }
            StoreError::Io { .. }
            | StoreError::Db { .. }
            | StoreError::Migrate(_)
            | StoreError::Address(_)
            | StoreError::Bucket(_)
            | StoreError::OtherSite { .. }
            | StoreError::Corrupt(_) => Self::internal(error),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let failed = Failed(what_failed(self.code, self.source.as_deref()));
        if let Some(source) = &self.source {
            tracing::error!(code = ?self.code, error = %chain(source.as_ref()), "request failed");
        }
        let problem = Problem {
            status: status.as_u16(),
            code: self.code,
            detail: self.detail,
        };
        let body = match self.head {
            None => serde_json::to_vec(&problem),
            Some(head) => serde_json::to_vec(&ProblemWithHead {
                problem,
                head: head.map(|head| *head),
            }),
        };
        let body = body.expect("strings and numbers are JSON");
        let mut response = (
            status,
            [(header::CONTENT_TYPE, "application/problem+json")],
            body,
        )
            .into_response();
        response.extensions_mut().insert(failed);
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Seconds until somebody who was sent away comes again: not all in the same one.
fn later() -> u64 {
    let [dice] = crate::store::random();
    1 + u64::from(dice % 4)
}

fn is_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
        || error.source().is_some_and(is_timeout)
}

/// For the counter of failures.
fn what_failed(
    code: ProblemCode,
    source: Option<&(dyn std::error::Error + Send + Sync + 'static)>,
) -> &'static str {
    if code == ProblemCode::SiteFull {
        return "full";
    }
    match source.and_then(|source| source.downcast_ref::<StoreError>()) {
        Some(StoreError::Db { .. } | StoreError::Migrate(_) | StoreError::Corrupt(_)) => "database",
        Some(StoreError::Objects { .. } | StoreError::Bucket(_)) => "objects",
        Some(StoreError::Io { .. }) => "disk",
        _ => "other",
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
