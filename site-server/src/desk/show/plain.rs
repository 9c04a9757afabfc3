//! Pages without a view: a name to type, a code, a failure; and where the browser goes next.

use super::{
    super::{
        TYPED,
        page::{Form, Input, Link, Page, Part},
        words::{self as w, Language},
    },
    names::wish_help,
    query,
};
use crate::{
    admin::{Fields, WishKind},
    app::Site,
    door::TOKEN,
};

fn back(to: String, language: Language) -> Part {
    Part::Link(Link {
        to,
        text: w::BACK.of(language),
        button: true,
    })
}

/// The page before what cannot be taken back: the same form once more, with a name to type.
pub(in crate::desk) fn confirm(
    site: &Site,
    (path, kind): (&str, WishKind),
    fields: &Fields,
    (name, language): (&str, Language),
) -> Page {
    let mut form = Form::to(path, w::GO_ON, language).danger();
    for (field, value) in fields {
        if field != TOKEN && field != TYPED {
            form = form.with(field, value);
        }
    }
    let label = w::CONFIRM_TYPE.of(language);
    let form = form.input(Input::text(TYPED, label, "").required());
    let says = wish_help(kind).of(language);
    Page {
        language,
        site: site.config.name.clone(),
        title: name.to_owned(),
        lead: None,
        done: false,
        parts: vec![
            Part::Warning(format!("{says} {}", w::CONFIRM.of(language))),
            Part::Form(form),
            back(before(kind, fields), language),
        ],
    }
}

/// The page with a code that is shown this once.
pub(in crate::desk) fn code(
    site: &Site,
    (kind, fields): (WishKind, &Fields),
    (subject, code): (&str, &str),
    language: Language,
) -> Page {
    let (title, says, to) = match kind {
        WishKind::AddStaff | WishKind::StaffPassword => {
            let title = format!("{}: {subject}", w::NEW_PASSWORD.of(language));
            (title, w::STAFF_PASSWORD, after(kind, fields))
        }
        WishKind::AddUser => (
            w::INVITATION.of(language).to_owned(),
            w::INVITATION_CODE,
            query("/admin/user", &[("user", subject)]),
        ),
        _ => (
            w::RECOVER.of(language).to_owned(),
            w::CODE,
            query("/admin/user", &[("user", subject)]),
        ),
    };
    Page {
        language,
        site: site.config.name.clone(),
        title,
        lead: Some(says.of(language)),
        done: false,
        parts: vec![Part::Codes(vec![code.to_owned()]), back(to, language)],
    }
}

/// The page that says why there is none.
pub(in crate::desk) fn failed(site: &Site, language: Language, detail: &str) -> Page {
    Page {
        language,
        site: site.config.name.clone(),
        title: w::NOT_POSSIBLE.of(language).to_owned(),
        lead: None,
        done: false,
        parts: vec![
            Part::Warning(detail.to_owned()),
            back("/admin/overview".to_owned(), language),
        ],
    }
}

/// Where the browser goes when a wish was thought better of.
fn before(kind: WishKind, fields: &Fields) -> String {
    match (kind, fields.get("user")) {
        (WishKind::RemoveUser, Some(user)) => query("/admin/user", &[("user", user)]),
        _ => after(kind, fields),
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
        | WishKind::ResetUserStep
        | WishKind::SetQuota
        | WishKind::RevokeCard => user(),
        WishKind::RemoveUser | WishKind::AddUser | WishKind::ReplaceCards => {
            "/admin/users".to_owned()
        }
        WishKind::WithdrawInvitation => "/admin/invitations".to_owned(),
        WishKind::ExpelSite => "/admin/sites".to_owned(),
        WishKind::EnrolPc | WishKind::RevokePc => "/admin/pcs".to_owned(),
        WishKind::StartRelease | WishKind::WithdrawRelease => "/admin/releases".to_owned(),
        WishKind::SetPolicy => "/admin/policies".to_owned(),
        WishKind::AddStaff
        | WishKind::SetStaffRole
        | WishKind::StaffPassword
        | WishKind::ResetStaffStep
        | WishKind::DisableStaff
        | WishKind::EnableStaff => "/admin/staff".to_owned(),
    }
}
