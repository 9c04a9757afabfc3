//! The desk: what staff sees and does, as pages without JavaScript under `/admin` and as JSON under `/v1/admin`.
//!
//! Both are made from two tables, [`ViewKind::ALL`] and [`WishKind::ALL`]: nothing is reached that is not in them, and
//! each row says what one must be allowed to do.

mod account;
mod page;
mod session;
mod show;
mod visit;
mod words;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use site_api::ProblemCode;

pub(crate) use self::session::{TokenAnswer, TokenRequest};
use self::{
    page::Page,
    words::{Language, language},
};
use crate::{
    admin::{
        self, Action, AdminError, Done, Fields, Office, Role, View, ViewKind, Wish, WishKind, allow,
    },
    app::Site,
    config::SiteConfig,
    door::{DESK, way},
    error::{ApiError, ApiResult, chain},
    routes::extract::{Json, bearer},
    store::{Actor, Deed, UserAddError},
};

/// Largest form or JSON body: a registration with all its cards.
const BODY_BYTES: usize = 512 << 10;
/// Where the whole audit log is, below `/admin` and `/v1/admin`.
pub(crate) const EXPORT: &str = "/audit/export";
/// What a page is told in its address when something was done.
const DONE: &str = "done";
const DONE_QUERY: &str = "done=1";
/// Field with the name one types before what cannot be taken back.
const TYPED: &str = "typed";

/// Who is at the desk.
#[derive(Debug, Clone)]
struct Caller {
    role: Role,
    actor: Actor,
}

/// The pages, and the same for programs.
pub(crate) fn router() -> Router<Arc<Site>> {
    let mut router = Router::new()
        .route(
            "/admin",
            way::open_page(session::page).merge(way::open_form(session::sign_in)),
        )
        .route(
            "/admin/sign-in/code",
            way::open_page(session::ask_code).merge(way::open_form(session::take_code)),
        )
        .route("/admin/sign-out", way::open_form(session::sign_out))
        .route("/admin/account", way::page(account::page))
        .route("/admin/account/password", way::form(account::password))
        .route(
            "/admin/account/second-step",
            way::page(account::set_up).merge(way::form(account::turn_on)),
        )
        .route(
            "/admin/account/second-step/off",
            way::form(account::turn_off),
        )
        .route(&format!("/admin{EXPORT}"), get(export_file))
        .route(&format!("/v1/admin{EXPORT}"), get(export_lines))
        .route("/v1/admin/sign-in", post(session::token))
        .route("/admin.css", get(style));
    for (path, action, kind) in ViewKind::ALL {
        router = router
            .route(
                &format!("/admin{path}"),
                get(
                    async move |State(site): State<Arc<Site>>, headers: HeaderMap, query| {
                        let shown = page_of(&site, &headers, (path, action, kind), query).await;
                        answer(&site, &headers, shown)
                    },
                ),
            )
            .route(
                &format!("/v1/admin{path}"),
                get(
                    async move |State(site): State<Arc<Site>>, headers: HeaderMap, query| {
                        json_of(&site, &headers, (path, action, kind), query).await
                    },
                ),
            );
    }
    for (path, action, kind) in WishKind::ALL {
        router = router
            .route(
                &format!("/admin{path}"),
                post(
                    async move |State(site): State<Arc<Site>>, request: Request| {
                        let headers = request.headers().clone();
                        let done = form_of(&site, &headers, (path, action, kind), request).await;
                        answer(&site, &headers, done)
                    },
                ),
            )
            .route(
                &format!("/v1/admin{path}"),
                post(
                    async move |State(site): State<Arc<Site>>,
                                headers: HeaderMap,
                                Json(fields): Json<Fields>| {
                        body_of(&site, &headers, (path, action, kind), fields).await
                    },
                ),
            );
    }
    router.layer(DefaultBodyLimit::max(BODY_BYTES))
}

async fn style() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, include_str!("../templates/admin.css"))
}

/// The audit log as a file, for a browser.
async fn export_file(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let exported = async {
        match session::signed_in(&site, &headers).await? {
            Some((_, caller)) => export(&site, &caller).await,
            None => Ok(visit::to_the_door()),
        }
    };
    let exported = exported.await;
    answer(&site, &headers, exported)
}

/// The same for a program.
async fn export_lines(State(site): State<Arc<Site>>, headers: HeaderMap) -> ApiResult<Response> {
    let caller = program(&site, &headers).await?;
    export(&site, &caller).await
}

async fn export(site: &Site, caller: &Caller) -> ApiResult<Response> {
    gate(site, caller, EXPORT, Action::ExportAudit).await?;
    let lines = admin::export(&site.store, caller.actor.clone());
    let lines = lines.await.map_err(told)?;
    let headers = [
        (header::CONTENT_TYPE, "application/jsonl"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"furoshiki-audit.jsonl\"",
        ),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}

type AskedView = Result<Query<Fields>, QueryRejection>;

async fn page_of(
    site: &Site,
    headers: &HeaderMap,
    (path, action, kind): (&'static str, Action, ViewKind),
    query: AskedView,
) -> ApiResult<Response> {
    let Some((cookie, caller)) = session::signed_in(site, headers).await? else {
        return Ok(Redirect::to("/admin").into_response());
    };
    let fields = query_of(query)?;
    let view = view(site, &caller, (path, action, kind), &fields).await?;
    let page = show::page(site, &view, (language(headers), &caller));
    let page = Page {
        done: fields.contains_key(DONE),
        ..page
    };
    page.render(path, &caller, &cookie.csrf(), StatusCode::OK)
}

async fn json_of(
    site: &Site,
    headers: &HeaderMap,
    way: (&'static str, Action, ViewKind),
    query: AskedView,
) -> ApiResult<axum::Json<View>> {
    let caller = program(site, headers).await?;
    let fields = query_of(query)?;
    Ok(axum::Json(view(site, &caller, way, &fields).await?))
}

async fn form_of(
    site: &Site,
    headers: &HeaderMap,
    (path, action, kind): (&'static str, Action, WishKind),
    request: Request,
) -> ApiResult<Response> {
    let form = DESK.form(request).await?;
    let cookie = form.cookie;
    let fields: Fields = form
        .fields
        .texts()
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .collect();
    let Some(caller) = session::caller_of(site, cookie.token()).await? else {
        return Ok(Redirect::to("/admin").into_response());
    };
    let language = language(headers);
    let page = match wish(site, &caller, (path, action, kind), &fields).await? {
        Outcome::Type(name) => show::confirm(site, (path, kind), &fields, (&name, language)),
        Outcome::Done(Done { code: None, .. }) => {
            let to = show::after(kind, &fields);
            let more = if to.contains('?') { '&' } else { '?' };
            return Ok(Redirect::to(&format!("{to}{more}{DONE_QUERY}")).into_response());
        }
        Outcome::Done(Done {
            code: Some(code),
            subject,
        }) => show::code(site, (kind, &fields), (&subject, &code), language),
    };
    page.render(path, &caller, &cookie.csrf(), StatusCode::OK)
}

async fn body_of(
    site: &Site,
    headers: &HeaderMap,
    way: (&'static str, Action, WishKind),
    fields: Fields,
) -> ApiResult<axum::Json<Done>> {
    let caller = program(site, headers).await?;
    match wish(site, &caller, way, &fields).await? {
        Outcome::Done(done) => Ok(axum::Json(done)),
        Outcome::Type(name) => Err(ApiError::bad(format!(
            "This cannot be taken back: send the name {name:?} in the field {TYPED}."
        ))),
    }
}

/// The operator's token, or one of a sign-in at `/v1/admin/sign-in`. A cookie opens nothing here.
async fn program(site: &Site, headers: &HeaderMap) -> ApiResult<Caller> {
    let refused = || {
        ApiError::new(
            ProblemCode::NotSignedIn,
            "Send the operator's token, or one of /v1/admin/sign-in.",
        )
    };
    let token = bearer(headers).ok_or_else(refused)?;
    if site.is_operator(token) {
        return Ok(Caller {
            role: Role::Operator,
            actor: Actor::Operator,
        });
    }
    session::caller_of(site, token).await?.ok_or_else(refused)
}

/// The one gate of the desk.
async fn gate(site: &Site, caller: &Caller, path: &str, action: Action) -> ApiResult<()> {
    if allow(caller.role, action) {
        return Ok(());
    }
    let deed = Deed::new(caller.actor.clone(), "desk.refused", path);
    site.store.audit(&deed).await?;
    Err(ApiError::not_granted("Your role may not do this.")
        .japanese("この操作は、あなたの役割では許可されていません。"))
}

async fn view(
    site: &Site,
    caller: &Caller,
    (path, action, kind): (&'static str, Action, ViewKind),
    fields: &Fields,
) -> ApiResult<View> {
    gate(site, caller, path, action).await?;
    // Read again each time: the command line may have changed it.
    let config = SiteConfig::load(&site.layout).map_err(ApiError::internal)?;
    let office = office(site, &config, caller);
    office.view(kind, fields).await.map_err(told)
}

enum Outcome {
    Done(Done),
    /// First this name must be typed.
    Type(String),
}

async fn wish(
    site: &Site,
    caller: &Caller,
    (path, action, kind): (&'static str, Action, WishKind),
    fields: &Fields,
) -> ApiResult<Outcome> {
    gate(site, caller, path, action).await?;
    let config = SiteConfig::load(&site.layout).map_err(ApiError::internal)?;
    let office = office(site, &config, caller);
    let wish = Wish::read(kind, fields).map_err(told)?;
    if let Some(name) = wish.to_type(&office).await.map_err(told)?
        && fields.get(TYPED).map(|typed| typed.trim()) != Some(name.as_str())
    {
        return Ok(Outcome::Type(name));
    }
    let done = wish.carry_out(&office).await.map_err(told)?;
    site.bell.replication.notify_one();
    tracing::info!(actor = %caller.actor, path, subject = done.subject, "done at the desk");
    Ok(Outcome::Done(done))
}

fn office<'a>(site: &'a Site, config: &'a SiteConfig, caller: &Caller) -> Office<'a> {
    Office {
        store: &site.store,
        config,
        layout: &site.layout,
        actor: caller.actor.clone(),
    }
}

fn query_of(query: AskedView) -> ApiResult<Fields> {
    query.map(|Query(fields)| fields).map_err(|_| {
        ApiError::bad("The address has a part that this page does not take.")
            .japanese("アドレスが正しくありません。")
    })
}

/// What the caller is told of a wish that was not done.
fn told(error: AdminError) -> ApiError {
    let japanese = in_japanese(&error);
    let told = told_in_english(error);
    match japanese {
        Some(detail) => told.japanese(detail),
        None => told,
    }
}

fn in_japanese(error: &AdminError) -> Option<String> {
    Some(match error {
        AdminError::Field(field) => {
            let word = show::field_word(field).map(|word| word.of(Language::Japanese));
            format!("「{}」が空か、正しくありません。", word.unwrap_or(field))
        }
        AdminError::NoSuch(_) | AdminError::NoUser(_) | AdminError::NoRelease => {
            "見つかりませんでした。すでに削除されたか、変更された可能性があります。".to_owned()
        }
        AdminError::Known(_) | AdminError::Add(UserAddError::NameTaken { .. }) => {
            "同じ名前またはIDがすでに登録されています。".to_owned()
        }
        AdminError::Add(UserAddError::CardTaken { .. }) => {
            "このカードはほかの利用者のものです。".to_owned()
        }
        AdminError::Add(UserAddError::OlderEpoch { .. } | UserAddError::OtherKeys { .. }) => {
            "この登録情報は最新ではありません。最新の登録情報からやり直してください。".to_owned()
        }
        AdminError::Yourself => {
            "自分自身にこの操作はできません。ほかの運用者に依頼してください。".to_owned()
        }
        AdminError::StaffName(_) => {
            "担当者の名前は、英小文字で始まる1〜64文字（a-z、0-9、. _ -）です。".to_owned()
        }
        AdminError::Registration(_) | AdminError::Card { .. } => {
            "登録情報が正しくありません。カードを発行し直してください。".to_owned()
        }
        AdminError::Itself(_) => "この拠点自身は除名できません。".to_owned(),
        _ => return None,
    })
}

fn told_in_english(error: AdminError) -> ApiError {
    match error {
        AdminError::Store(error) => error.into(),
        AdminError::NoSuch(_) | AdminError::NoUser(_) | AdminError::NoRelease => {
            ApiError::not_found(sentence(&error))
        }
        AdminError::Field(_)
        | AdminError::Yourself
        | AdminError::StaffName(_)
        | AdminError::Registration(_)
        | AdminError::Card { .. }
        | AdminError::OtherName { .. }
        | AdminError::Itself(_) => ApiError::bad(sentence(&error)),
        AdminError::Add(UserAddError::Store { source, .. }) => source.into(),
        AdminError::Add(_) | AdminError::Known(_) => {
            ApiError::bad(sentence(&error)).with_status(StatusCode::CONFLICT)
        }
        other => ApiError::internal(other),
    }
}

/// An error as a sentence of an answer.
fn sentence(error: &AdminError) -> String {
    let line = chain(error);
    let mut letters = line.chars();
    let first: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    format!("{first}{}.", letters.as_str())
}

/// A page, or the page that says why there is none.
fn answer(site: &Site, headers: &HeaderMap, result: ApiResult<Response>) -> Response {
    let error = match result {
        Ok(response) => return response,
        Err(error) => error,
    };
    let status = error.status();
    let language = language(headers);
    let page = show::failed(site, language, &error.said(language == Language::Japanese));
    // The answer for machines knows Retry-After and writes the log.
    let mut told = error.into_response();
    match page.alone("", status) {
        Ok(mut page) => {
            if let Some(after) = told.headers_mut().remove(header::RETRY_AFTER) {
                page.headers_mut().insert(header::RETRY_AFTER, after);
            }
            page
        }
        Err(error) => error.into_response(),
    }
}

/// Every address of the desk, with the role that may ask it: method, path, what one must be allowed.
#[must_use]
pub fn ways() -> BTreeMap<(&'static str, String), Action> {
    let mut ways = BTreeMap::new();
    for way in ["/admin", "/v1/admin"] {
        ways.insert(("GET", format!("{way}{EXPORT}")), Action::ExportAudit);
    }
    for (path, action, _) in ViewKind::ALL {
        ways.insert(("GET", format!("/admin{path}")), action);
        ways.insert(("GET", format!("/v1/admin{path}")), action);
    }
    for (path, action, _) in WishKind::ALL {
        ways.insert(("POST", format!("/admin{path}")), action);
        ways.insert(("POST", format!("/v1/admin{path}")), action);
    }
    ways
}
