//! A browser at one of the two doors, the portal and the desk: one cookie for each, and forms only from its own pages.
//!
//! [`Door::form`] and [`Door::upload`] are the only ways to what a browser posts: a form carries a token that only the page
//! of the same browser has, and one that says it comes from another origin is refused before it is read (as in Go 1.25's
//! `CrossOriginProtection`). A handler cannot forget it, because without it there are no fields.

mod cookie;
mod csrf;
mod fields;
mod upload;
pub(crate) mod way;

use axum::{
    extract::{FromRequest as _, Request, rejection::FormRejection},
    http::StatusCode,
    response::IntoResponse as _,
};

pub(crate) use self::{
    cookie::{Cookie, token_named},
    fields::Fields,
    upload::UPLOAD_BYTES,
};
use crate::error::ApiError;

/// The field with the token.
pub(crate) const TOKEN: &str = "csrf";

/// Where browsers come in.
#[derive(Debug)]
pub(crate) struct Door {
    /// `__Host-`: browsers take it only over HTTPS, for this host alone and the whole of it (RFC 6265bis §4.1.3.2).
    cookie: &'static str,
    rules: &'static str,
    /// What tokens of its forms are derived for.
    context: &'static str,
}

/// Where users come in, also by a link from elsewhere.
pub(crate) static PORTAL: Door = Door {
    cookie: "__Host-furoshiki",
    rules: "Path=/; Secure; HttpOnly; SameSite=Lax",
    context: "furoshiki portal csrf v1",
};

/// Where staff comes in; its cookie is never sent from another site's page.
pub(crate) static DESK: Door = Door {
    cookie: "__Host-furoshiki-desk",
    rules: "Path=/; Secure; HttpOnly; SameSite=Strict",
    context: "furoshiki desk csrf v1",
};

/// What a browser posted from a page of this door.
pub(crate) struct Form {
    /// The browser's.
    pub(crate) cookie: Cookie,
    /// What was typed.
    pub(crate) fields: Fields,
}

impl Door {
    /// Reads a form.
    ///
    /// # Errors
    /// 403 when another site's page sent it, or its token is not that of the cookie; 4xx for what is no form.
    pub(crate) async fn form(&'static self, request: Request) -> Result<Form, ApiError> {
        self.checked(request, async |request| {
            #[allow(
                clippy::disallowed_types,
                reason = "what it gives is checked by the caller"
            )]
            let read = axum::Form::<Vec<(String, String)>>::from_request(request, &()).await;
            Ok(Fields::of_pairs(read.map_err(not_a_form)?.0))
        })
        .await
    }

    /// Reads a form with files.
    ///
    /// # Errors
    /// As [`Self::form`]; 413 and 503 beside.
    pub(crate) async fn upload(&'static self, request: Request) -> Result<Form, ApiError> {
        self.checked(request, upload::read).await
    }

    async fn checked<R: Future<Output = Result<Fields, ApiError>>>(
        &'static self,
        request: Request,
        read: impl FnOnce(Request) -> R,
    ) -> Result<Form, ApiError> {
        let (uri, headers) = (request.uri().clone(), request.headers().clone());
        csrf::check_origin(&uri, &headers)?;
        let fields = read(request).await?;
        let cookie = csrf::check(self, &headers, fields.text(TOKEN))?;
        Ok(Form { cookie, fields })
    }
}

/// What the browser sent is not the form of the page.
fn no_form(status: StatusCode) -> ApiError {
    ApiError::bad("The browser did not send the form of this page. Open the page again and repeat.")
        .japanese("フォームを受け取れませんでした。ページを開き直して、もう一度お試しください。")
        .with_status(status)
}

fn not_a_form(error: FormRejection) -> ApiError {
    let status = error.into_response().status();
    no_form(status)
}
