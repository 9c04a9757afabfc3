//! A page of the desk as parts: facts, tables, forms. One template draws all of them and escapes every text.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{Html, IntoResponse as _, Response},
};

use super::{
    Caller,
    words::{self, Language, Word},
};
use crate::{
    admin::{Action, allow},
    auth::totp::Enrolment,
    error::{ApiError, ApiResult},
    store::Actor,
};

/// A page.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) language: Language,
    pub(super) site: String,
    pub(super) title: String,
    /// A sentence below the title.
    pub(super) lead: Option<&'static str>,
    /// Whether something was done just now.
    pub(super) done: bool,
    pub(super) parts: Vec<Part>,
}

/// A part of a page.
#[derive(Debug)]
pub(super) enum Part {
    Warning(String),
    /// What is shown only now.
    Codes(Vec<String>),
    /// A secret to scan.
    Picture(Enrolment),
    Facts(Vec<(&'static str, Cell)>),
    Table(Table),
    Form(Form),
    /// Buttons, each with a sentence that says what it does.
    Actions(&'static str, Vec<Form>),
    Bars(Bars),
    Link(Link),
    /// A way to another page, and what it is good for.
    Offer(&'static str, &'static str, Link),
}

/// A way to another page or to a file.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) to: String,
    pub(super) text: &'static str,
    /// Looks like a button.
    pub(super) button: bool,
}

/// A table; on a small screen each row becomes a block.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) caption: String,
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<Cell>>,
    pub(super) empty: &'static str,
}

impl Table {
    /// The head above a cell. Templates pass references.
    fn label(&self, column: &usize) -> &'static str {
        self.head.get(*column).copied().unwrap_or_default()
    }
}

/// How a state feels; its word says which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    Waiting,
    Bad,
    Plain,
}

impl Mood {
    const fn class(self) -> &'static str {
        match self {
            Self::Good => "done",
            Self::Waiting => "waiting",
            Self::Bad => "failed",
            Self::Plain => "plain",
        }
    }
}

/// A cell: text, perhaps a link, an id or a state, a line below it, and forms.
#[derive(Debug, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) to: Option<String>,
    pub(super) code: bool,
    pub(super) mood: Option<Mood>,
    pub(super) below: String,
    pub(super) forms: Vec<Form>,
}

impl Cell {
    pub(super) fn text(text: impl std::fmt::Display) -> Self {
        Self {
            text: text.to_string(),
            ..Self::default()
        }
    }

    pub(super) fn code(text: impl std::fmt::Display) -> Self {
        Self {
            code: true,
            ..Self::text(text)
        }
    }

    pub(super) fn link(text: impl std::fmt::Display, to: String) -> Self {
        Self {
            to: Some(to),
            ..Self::text(text)
        }
    }

    pub(super) fn tag(mood: Mood, text: &'static str) -> Self {
        Self {
            mood: Some(mood),
            ..Self::text(text)
        }
    }

    pub(super) fn forms(forms: Vec<Form>) -> Self {
        Self {
            forms,
            ..Self::default()
        }
    }

    /// With a smaller line below.
    pub(super) fn below(self, below: impl std::fmt::Display) -> Self {
        Self {
            below: below.to_string(),
            ..self
        }
    }

    fn class(&self) -> &'static str {
        self.mood.map_or("", Mood::class)
    }

    const fn is_empty(&self) -> bool {
        self.text.is_empty() && self.below.is_empty() && self.forms.is_empty()
    }
}

/// A form. `about` makes one button differ from the next for who cannot see where it stands.
#[derive(Debug, Default)]
pub(super) struct Form {
    pub(super) to: String,
    pub(super) search: bool,
    pub(super) title: String,
    pub(super) hidden: Vec<(String, String)>,
    pub(super) inputs: Vec<Input>,
    pub(super) button: &'static str,
    pub(super) about: String,
    /// What it does, for people.
    pub(super) help: &'static str,
    pub(super) danger: bool,
    /// Not the first thing one does on this page.
    pub(super) quiet: bool,
}

impl Form {
    pub(super) fn to(path: &str, button: Word, language: Language) -> Self {
        Self {
            to: format!("/admin{path}"),
            button: button.of(language),
            ..Self::default()
        }
    }

    pub(super) fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.hidden.push((name.to_owned(), value.to_string()));
        self
    }

    pub(super) fn input(mut self, input: Input) -> Self {
        self.inputs.push(input);
        self
    }

    pub(super) fn about(self, about: impl std::fmt::Display) -> Self {
        Self {
            about: about.to_string(),
            ..self
        }
    }

    pub(super) fn danger(self) -> Self {
        Self {
            danger: true,
            ..self
        }
    }

    pub(super) fn quiet(self) -> Self {
        Self {
            quiet: true,
            ..self
        }
    }

    pub(super) fn titled(self, title: &'static str, help: &'static str) -> Self {
        Self {
            title: title.to_owned(),
            help,
            ..self
        }
    }

    const fn class(&self) -> &'static str {
        match (self.danger, self.quiet) {
            (true, _) => "danger",
            (false, true) => "quiet",
            (false, false) => "",
        }
    }

    /// Whether this field is described by the sentence of the form.
    fn has_help(&self) -> bool {
        !self.help.is_empty()
    }
}

/// A field to fill in.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) value: String,
    pub(super) kind: &'static str,
    pub(super) complete: &'static str,
    pub(super) required: bool,
    pub(super) hint: &'static str,
    /// Values and words to choose from.
    pub(super) options: Vec<(&'static str, &'static str)>,
}

impl Input {
    pub(super) fn text(name: &'static str, label: &'static str, value: impl Into<String>) -> Self {
        Self {
            name,
            label,
            value: value.into(),
            kind: "text",
            complete: "off",
            required: false,
            hint: "",
            options: Vec::new(),
        }
    }

    /// One of a list.
    pub(super) fn choice(
        name: &'static str,
        label: &'static str,
        value: impl Into<String>,
        options: Vec<(&'static str, &'static str)>,
    ) -> Self {
        Self {
            options,
            ..Self::text(name, label, value)
        }
    }

    pub(super) fn hint(self, hint: &'static str) -> Self {
        Self { hint, ..self }
    }

    fn is_chosen(&self, value: &str) -> bool {
        self.value == value
    }

    pub(super) fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }

    pub(super) fn kind(self, kind: &'static str, complete: &'static str) -> Self {
        Self {
            kind,
            complete,
            ..self
        }
    }
}

/// Parts of wholes.
#[derive(Debug)]
pub(super) struct Bars {
    pub(super) title: &'static str,
    pub(super) help: &'static str,
    pub(super) bars: Vec<Bar>,
}

/// A part of a whole.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) label: &'static str,
    pub(super) says: String,
    pub(super) per_mille: u64,
}

struct Room {
    path: &'static str,
    name: &'static str,
    here: bool,
}

const ROOMS: [(&str, Word, Action); 10] = [
    ("/overview", words::OVERVIEW, Action::SeeOverview),
    ("/users", words::USERS, Action::SeeUsers),
    ("/invitations", words::INVITATIONS, Action::SeeUsers),
    ("/pcs", words::PCS, Action::SeePcs),
    ("/sites", words::SITES, Action::SeeSites),
    ("/relays", words::RELAYS, Action::SeeRelays),
    ("/releases", words::RELEASES, Action::SeeReleases),
    ("/policies", words::POLICIES, Action::SeePolicies),
    ("/audit", words::AUDIT, Action::SeeAudit),
    ("/staff", words::STAFF, Action::SeeStaff),
];

#[derive(Template)]
#[template(path = "admin.html")]
struct Drawn<'a> {
    lang: &'static str,
    say: Sayings,
    rooms: Vec<Room>,
    /// Name and role of who looks.
    who: Option<(String, &'static str)>,
    /// The page, for the choice of language.
    at: &'a str,
    csrf: &'a str,
    page: &'a Page,
}

impl Drawn<'_> {
    fn speaks(&self, language: &str) -> bool {
        self.lang == language
    }
}

/// What stands on every page.
struct Sayings {
    desk: &'static str,
    skip: &'static str,
    rooms: &'static str,
    sign_out: &'static str,
    account: &'static str,
    done: &'static str,
    qr: &'static str,
    key: &'static str,
}

impl Page {
    /// With the rooms this caller may enter.
    pub(super) fn render(
        &self,
        path: &str,
        caller: &Caller,
        csrf: &str,
        status: StatusCode,
    ) -> ApiResult<Response> {
        let rooms = ROOMS
            .into_iter()
            .filter(|(_, _, action)| allow(caller.role, *action))
            .map(|(to, name, _)| Room {
                path: to,
                name: name.of(self.language),
                here: to == room_of(path),
            })
            .collect();
        let name = match &caller.actor {
            Actor::Staff(name) => name.clone(),
            other => other.to_string(),
        };
        let role = super::show::role_word(caller.role).of(self.language);
        self.draw(rooms, Some((name, role)), (path, csrf), status)
    }

    /// Without rooms: before the sign-in, and when something failed.
    pub(super) fn alone(&self, csrf: &str, status: StatusCode) -> ApiResult<Response> {
        self.draw(Vec::new(), None, ("", csrf), status)
    }

    fn draw(
        &self,
        rooms: Vec<Room>,
        who: Option<(String, &'static str)>,
        (path, csrf): (&str, &str),
        status: StatusCode,
    ) -> ApiResult<Response> {
        let say = |word: Word| word.of(self.language);
        let drawn = Drawn {
            lang: self.language.tag(),
            say: Sayings {
                desk: say(words::DESK),
                skip: say(words::SKIP),
                rooms: say(words::ROOMS),
                sign_out: say(words::SIGN_OUT),
                account: say(words::MY_ACCOUNT),
                done: say(words::DONE),
                qr: say(words::QR),
                key: say(words::SECRET),
            },
            rooms,
            who,
            at: &format!("/admin{}", room_of(path)),
            csrf,
            page: self,
        };
        let html = drawn.render().map_err(ApiError::internal)?;
        Ok((status, Html(html)).into_response())
    }
}

/// The room a page belongs to: a user's sheet to the users, what is asked before a deed to where it was wished.
fn room_of(path: &str) -> &str {
    let first = path.get(1..).and_then(|rest| rest.split('/').next());
    match first {
        Some("user" | "cards") => "/users",
        Some(first) => path.get(..=first.len()).unwrap_or(path),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_belongs_to_a_room() {
        for (path, room) in [
            ("/users", "/users"),
            ("/user", "/users"),
            ("/users/remove", "/users"),
            ("/cards/revoke", "/users"),
            ("/staff/add", "/staff"),
            ("", ""),
        ] {
            assert_eq!(room_of(path), room, "{path}");
        }
    }
}
