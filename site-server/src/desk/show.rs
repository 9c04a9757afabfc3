//! Views → pages.

mod names;
mod own;
mod people;
mod places;
mod plain;
mod rules;

use super::{
    Caller,
    page::{Bar, Bars, Cell, Form, Mood, Page, Part, Table},
    words::{self as w, Language, Word},
};
use crate::{
    admin::{Action, Overview, View, allow, per_mille},
    app::Site,
    portal::{size, when},
};

pub(super) use self::{
    names::{field_word, role_word},
    own::{Own, account, ask_code, recovery_codes, scan, sign_in},
    plain::{after, code, confirm, failed},
};

/// What a page needs besides its view.
#[derive(Clone, Copy)]
struct Eye<'a> {
    language: Language,
    caller: &'a Caller,
    site: &'a Site,
}

impl Eye<'_> {
    fn say(self, word: Word) -> &'static str {
        word.of(self.language)
    }

    fn may(self, action: Action) -> bool {
        allow(self.caller.role, action)
    }

    fn when(self, ms: i64) -> String {
        if ms == 0 {
            return self.say(w::NEVER).to_owned();
        }
        when(ms, self.site.config.utc_offset_minutes)
    }

    fn form(self, path: &str, button: Word) -> Form {
        Form::to(path, button, self.language)
    }

    /// A button with a sentence that says what it does.
    fn act(self, path: &str, button: Word, help: Word) -> Form {
        let form = self.form(path, button);
        form.titled(self.say(button), self.say(help)).quiet()
    }

    fn tag(self, mood: Mood, word: Word) -> Cell {
        Cell::tag(mood, self.say(word))
    }

    fn table<const N: usize>(self, caption: Word, head: [Word; N], rows: Vec<Vec<Cell>>) -> Part {
        Part::Table(Table {
            caption: self.say(caption).to_owned(),
            head: head.iter().map(|word| self.say(*word)).collect(),
            rows,
            empty: self.say(w::NOTHING),
        })
    }

    fn page(self, title: impl Into<String>, lead: Word, parts: Vec<Part>) -> Page {
        Page {
            language: self.language,
            site: self.site.config.name.clone(),
            title: title.into(),
            lead: Some(self.say(lead)),
            done: false,
            parts,
        }
    }
}

/// A user as people know one; by the id when nobody does any more.
fn user_link(user: impl std::fmt::Display, name: Option<&String>) -> Cell {
    let id = user.to_string();
    let to = format!("/admin/user?user={id}");
    match name {
        Some(name) => Cell::link(name, to),
        None => Cell::code(id),
    }
}

/// Part of a whole in bytes, also while the whole is not known.
fn progress(done: u64, total: u64) -> String {
    if total == 0 {
        return String::new();
    }
    format!("{} / {}", size(done), size(total))
}

/// The page of a view.
pub(super) fn page(site: &Site, view: &View, (language, caller): (Language, &Caller)) -> Page {
    let eye = Eye {
        language,
        caller,
        site,
    };
    match view {
        View::Overview(view) => overview(eye, view),
        View::Users(view) => people::users(eye, view),
        View::User(view) => people::sheet(eye, view),
        View::Invitations(view) => people::invitations(eye, view),
        View::Sites(view) => places::sites(eye, view),
        View::Pcs(view) => places::pcs(eye, view),
        View::Releases(view) => places::releases(eye, view),
        View::Relays(view) => places::relays(eye, view),
        View::Policies(view) => rules::policies(eye, view),
        View::Audit(view) => rules::audit(eye, view),
        View::Staff(view) => people::staff(eye, view),
    }
}

fn overview(eye: Eye<'_>, view: &Overview) -> Page {
    let failed = Cell::link(view.failed_pcs, "/admin/pcs".to_owned());
    let facts = vec![
        (
            eye.say(w::USERS),
            Cell::link(view.users, "/admin/users".to_owned()),
        ),
        (
            eye.say(w::OTHER_SITES),
            Cell::link(view.sites, "/admin/sites".to_owned()),
        ),
        (
            eye.say(w::RELAYS_OPEN),
            Cell::link(view.relays, "/admin/relays".to_owned()),
        ),
        (eye.say(w::FAILED_PCS), failed),
        (
            eye.say(w::OBJECTS),
            Cell::text(size(view.object_bytes)).below(format!(
                "{} {}",
                view.objects,
                eye.say(w::PIECES)
            )),
        ),
        (eye.say(w::SITE_ID), Cell::code(view.site)),
    ];
    let meter = &view.meter;
    let bar = |label: Word, (ours, whole): (u64, u64), shown: fn(u64) -> String| {
        let part = per_mille(ours, whole);
        let (ours, whole) = (shown(ours), shown(whole));
        Bar {
            label: eye.say(label),
            says: format!("{ours} / {whole} ({}.{} %)", part / 10, part % 10),
            per_mille: part,
        }
    };
    let bars = vec![
        bar(
            w::METER_MOVED,
            (meter.moved_bytes, meter.mirroring_moved_bytes),
            size,
        ),
        bar(
            w::METER_STORED,
            (meter.stored_bytes, meter.mirroring_stored_bytes),
            size,
        ),
        bar(
            w::METER_REQUESTS,
            (meter.requests, meter.mirroring_requests),
            |number| number.to_string(),
        ),
    ];
    let meter = Part::Bars(Bars {
        title: eye.say(w::METER),
        help: eye.say(w::METER_WHY),
        bars,
    });
    eye.page(
        eye.say(w::OVERVIEW),
        w::OVERVIEW_WHY,
        vec![Part::Facts(facts), meter],
    )
}

/// An address with a query, its values percent-encoded (RFC 3986 §2.1).
fn query(path: &str, fields: &[(&str, &str)]) -> String {
    let mut address = path.to_owned();
    let filled = fields.iter().filter(|(_, value)| !value.is_empty());
    for (number, (name, value)) in filled.enumerate() {
        address.push(if number == 0 { '?' } else { '&' });
        address.push_str(name);
        address.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    address.push(char::from(byte));
                }
                other => address.push_str(&format!("%{other:02X}")),
            }
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_into_a_filter_stays_in_its_place_in_an_address() {
        let fields = [("actor", "staff:a&b=c"), ("action", ""), ("before", "7")];
        assert_eq!(
            query("/admin/audit", &fields),
            "/admin/audit?actor=staff%3Aa%26b%3Dc&before=7"
        );
        assert_eq!(query("/x", &[("a", "")]), "/x");
    }
}
