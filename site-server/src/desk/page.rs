//! A page of the desk as parts: facts, tables, forms. One template draws all of them and escapes every text.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{Html, IntoResponse as _, Response},
};

use super::words::{self, Language, Word};
use crate::{
    admin::{Action, Role, allow},
    error::{ApiError, ApiResult},
};

/// A page.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) language: Language,
    pub(super) site: String,
    pub(super) title: String,
    pub(super) parts: Vec<Part>,
}

/// A part of a page.
#[derive(Debug)]
pub(super) enum Part {
    Warning(String),
    Code(String),
    Note(&'static str),
    Facts(Vec<(&'static str, Cell)>),
    Table(Table),
    Form(Form),
    Bar(Bar),
    Link { to: String, text: &'static str },
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

/// A cell: text, perhaps a link or an id, and forms.
#[derive(Debug, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) to: Option<String>,
    pub(super) code: bool,
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

    pub(super) fn forms(forms: Vec<Form>) -> Self {
        Self {
            forms,
            ..Self::default()
        }
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
    pub(super) danger: bool,
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
        }
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

/// A part of a whole.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) per_mille: u64,
}

struct Room {
    path: &'static str,
    name: &'static str,
    here: bool,
}

const ROOMS: [(&str, Word, Action); 9] = [
    ("/overview", words::OVERVIEW, Action::SeeOverview),
    ("/users", words::USERS, Action::SeeUsers),
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
    desk: &'static str,
    skip: &'static str,
    rooms_name: &'static str,
    sign_out: &'static str,
    rooms: Vec<Room>,
    csrf: &'a str,
    page: &'a Page,
}

impl Page {
    /// With the rooms this role may enter.
    pub(super) fn render(
        &self,
        path: &str,
        role: Role,
        csrf: &str,
        status: StatusCode,
    ) -> ApiResult<Response> {
        let rooms = ROOMS
            .into_iter()
            .filter(|(_, _, action)| allow(role, *action))
            .map(|(to, name, _)| Room {
                path: to,
                name: name.of(self.language),
                here: to == path,
            })
            .collect();
        self.draw(rooms, csrf, status)
    }

    /// Without rooms: before the sign-in, and when something failed.
    pub(super) fn alone(&self, csrf: &str, status: StatusCode) -> ApiResult<Response> {
        self.draw(Vec::new(), csrf, status)
    }

    fn draw(&self, rooms: Vec<Room>, csrf: &str, status: StatusCode) -> ApiResult<Response> {
        let say = |word: Word| word.of(self.language);
        let drawn = Drawn {
            lang: self.language.tag(),
            desk: say(words::DESK),
            skip: say(words::SKIP),
            rooms_name: say(words::ROOMS),
            sign_out: say(words::SIGN_OUT),
            rooms,
            csrf,
            page: self,
        };
        let html = drawn.render().map_err(ApiError::internal)?;
        Ok((status, Html(html)).into_response())
    }
}
