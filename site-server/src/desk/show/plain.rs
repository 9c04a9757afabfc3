//! Pages without a view: sign-in, a name to type, a code, a failure; and where the browser goes next.

use super::{
    super::{
        CSRF, TYPED,
        page::{Form, Input, Page, Part},
        words::{self as w, Language},
    },
    query,
};
use crate::{
    admin::{Fields, WishKind},
    app::Site,
};

/// The page before what cannot be taken back: the same form once more, with a name to type.
pub(in crate::desk) fn confirm(
    site: &Site,
    path: &str,
    fields: &Fields,
    (name, language): (&str, Language),
) -> Page {
    let mut form = Form::to(path, w::GO_ON, language).danger();
    for (field, value) in fields {
        if field != CSRF && field != TYPED {
            form = form.with(field, value);
        }
    }
    let label = w::CONFIRM_TYPE.of(language);
    let form = form.input(Input::text(TYPED, label, "").required());
    Page {
        language,
        site: site.config.name.clone(),
        title: name.to_owned(),
        parts: vec![
            Part::Warning(w::CONFIRM.of(language).to_owned()),
            Part::Form(form),
        ],
    }
}

/// The page with a code that is shown this once.
pub(in crate::desk) fn code(site: &Site, subject: &str, code: &str, language: Language) -> Page {
    Page {
        language,
        site: site.config.name.clone(),
        title: w::RECOVER.of(language).to_owned(),
        parts: vec![
            Part::Warning(w::CODE.of(language).to_owned()),
            Part::Code(code.to_owned()),
            Part::Link {
                to: format!("/admin/user?user={subject}"),
                text: w::BACK.of(language),
            },
        ],
    }
}

/// The sign-in; `wrong`: the name that did not fit its password.
pub(in crate::desk) fn sign_in(site: &Site, language: Language, wrong: Option<&str>) -> Page {
    let form = Form {
        to: "/admin".to_owned(),
        button: w::SIGN_IN.of(language),
        ..Form::default()
    }
    .input(
        Input::text("name", w::NAME.of(language), wrong.unwrap_or_default())
            .kind("text", "username")
            .required(),
    )
    .input(
        Input::text("password", w::PASSWORD.of(language), "")
            .kind("password", "current-password")
            .required(),
    );
    let mut parts = vec![Part::Form(form)];
    if wrong.is_some() {
        parts.insert(0, Part::Warning(w::WRONG.of(language).to_owned()));
    }
    Page {
        language,
        site: site.config.name.clone(),
        title: w::SIGN_IN.of(language).to_owned(),
        parts,
    }
}

/// The page that says why there is none.
pub(in crate::desk) fn failed(site: &Site, language: Language, detail: &str) -> Page {
    Page {
        language,
        site: site.config.name.clone(),
        title: w::NOT_POSSIBLE.of(language).to_owned(),
        parts: vec![
            Part::Warning(detail.to_owned()),
            Part::Link {
                to: "/admin/overview".to_owned(),
                text: w::BACK.of(language),
            },
        ],
    }
}

/// Where the browser goes when a wish was done.
pub(in crate::desk) fn after(kind: WishKind, fields: &Fields) -> String {
    let user = || {
        let user = fields.get("user").map_or("", String::as_str);
        query("/admin/user", &[("user", user)])
    };
    match kind {
        WishKind::DisableUser
        | WishKind::EnableUser
        | WishKind::RecoverUser
        | WishKind::SetQuota
        | WishKind::RevokeCard => user(),
        WishKind::RemoveUser | WishKind::ReplaceCards => "/admin/users".to_owned(),
        WishKind::ExpelSite => "/admin/sites".to_owned(),
        WishKind::EnrolPc | WishKind::RevokePc => "/admin/pcs".to_owned(),
        WishKind::StartRelease | WishKind::WithdrawRelease => "/admin/releases".to_owned(),
        WishKind::SetPolicy => "/admin/policies".to_owned(),
        WishKind::DisableStaff | WishKind::EnableStaff => "/admin/staff".to_owned(),
    }
}
