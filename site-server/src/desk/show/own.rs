//! Signing in, and what staff does for itself.

use super::{
    super::{
        page::{Form, Input, Link, Mood, Page, Part},
        visit::Visit,
        words::{self as w, Language, Word},
    },
    Eye,
    names::role_word,
};
use crate::{app::Site, auth::totp::Enrolment, desk::page::Cell};

/// What the page of one's account says beside what it always shows.
pub(in crate::desk) enum Own {
    Asked,
    Changed,
    Wrong(Word),
}

fn alone(site: &Site, language: Language, title: Word, lead: Word, parts: Vec<Part>) -> Page {
    Page {
        language,
        site: site.config.name.clone(),
        title: title.of(language).to_owned(),
        lead: Some(lead.of(language)),
        done: false,
        parts,
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
    alone(site, language, w::SIGN_IN, w::SIGN_IN_WHY, parts)
}

fn code_input(language: Language, label: Word) -> Input {
    Input::text("code", label.of(language), "")
        .kind("text", "one-time-code")
        .required()
}

/// The page that asks for the second step.
pub(in crate::desk) fn ask_code(site: &Site, language: Language, wrong: bool) -> Page {
    let form = Form {
        to: "/admin/sign-in/code".to_owned(),
        button: w::CONTINUE.of(language),
        ..Form::default()
    }
    .input(code_input(language, w::CODE_FIELD));
    let mut parts = vec![Part::Form(form)];
    if wrong {
        parts.insert(0, Part::Warning(w::CODE_WRONG.of(language).to_owned()));
    }
    alone(site, language, w::SECOND_STEP, w::CODE_WHY, parts)
}

fn eye(visit: &Visit) -> Eye<'_> {
    Eye {
        language: visit.language,
        caller: &visit.caller,
        site: &visit.site,
    }
}

/// One's own account; `codes`: recovery codes left, when the second step is on.
pub(in crate::desk) fn account(visit: &Visit, codes: Option<usize>, own: Own) -> Page {
    let eye = eye(visit);
    let step = match codes {
        Some(left) => eye
            .tag(Mood::Good, w::ON)
            .below(format!("{}: {left}", eye.say(w::CODES_LEFT))),
        None => eye.tag(Mood::Plain, w::OFF),
    };
    let mut parts = vec![Part::Facts(vec![
        (eye.say(w::NAME), Cell::text(&visit.name)),
        (
            eye.say(w::ROLE),
            Cell::text(eye.say(role_word(visit.caller.role))),
        ),
        (eye.say(w::SECOND_STEP), step),
    ])];
    if let Own::Wrong(word) = own {
        parts.insert(0, Part::Warning(eye.say(word).to_owned()));
    }
    let field = |name, label, complete| {
        Input::text(name, eye.say(label), "")
            .kind("password", complete)
            .required()
    };
    let password = eye
        .form("/account/password", w::CHANGE_PASSWORD)
        .input(field("now", w::PASSWORD_NOW, "current-password"))
        .input(field("new", w::PASSWORD_NEW, "new-password"))
        .input(field("again", w::PASSWORD_AGAIN, "new-password"));
    parts.push(Part::Form(password.titled(
        eye.say(w::CHANGE_PASSWORD),
        eye.say(w::CHANGE_PASSWORD_WHY),
    )));
    if codes.is_some() {
        let form = eye.form("/account/second-step/off", w::TURN_OFF).danger();
        parts.push(Part::Form(
            form.input(code_input(visit.language, w::CODE_FIELD))
                .titled(eye.say(w::SECOND_STEP), eye.say(w::TURN_OFF_WHY)),
        ));
    } else {
        let link = Link {
            to: "/admin/account/second-step".to_owned(),
            text: eye.say(w::SET_UP),
            button: true,
        };
        let (title, help) = (eye.say(w::SECOND_STEP), eye.say(w::SECOND_STEP_WHY));
        parts.push(Part::Offer(title, help, link));
    }
    let page = eye.page(eye.say(w::MY_ACCOUNT), w::MY_ACCOUNT_WHY, parts);
    Page {
        done: matches!(own, Own::Changed),
        ..page
    }
}

/// A secret to bring into an app, and the field for the first code of it.
pub(in crate::desk) fn scan(
    visit: &Visit,
    secret: &str,
    enrolment: Enrolment,
    wrong: bool,
) -> Page {
    let eye = eye(visit);
    let form = eye
        .form("/account/second-step", w::TURN_ON)
        .with("secret", secret)
        .input(code_input(visit.language, w::CODE_CONFIRM));
    let mut parts = vec![Part::Picture(enrolment), Part::Form(form)];
    if wrong {
        parts.insert(0, Part::Warning(eye.say(w::CODE_WRONG).to_owned()));
    }
    eye.page(eye.say(w::SET_UP), w::SCAN, parts)
}

/// The recovery codes, this once.
pub(in crate::desk) fn recovery_codes(visit: &Visit, codes: Vec<String>) -> Page {
    let eye = eye(visit);
    let on = Link {
        to: "/admin/account".to_owned(),
        text: eye.say(w::CONTINUE),
        button: true,
    };
    eye.page(
        eye.say(w::RECOVERY),
        w::RECOVERY_WHY,
        vec![Part::Codes(codes), Part::Link(on)],
    )
}
