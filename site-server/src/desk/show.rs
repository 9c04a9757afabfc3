//! Views → pages.

mod names;
mod plain;

use super::{
    page::{Bar, Cell, Form, Input, Page, Part, Table},
    words::{self as w, Language, Word},
};
use crate::{
    admin::{
        Action, AuditPage, Overview, PolicyLine, Relays, ReleaseList, Role, SiteList, StaffLine,
        UserList, UserSheet, View, allow, per_mille,
    },
    app::Site,
    portal::{size, when},
    store::{Pc, Policy},
};

use self::names::{policy_word, role_word, stage_word, transfer_state};
pub(super) use self::plain::{after, code, confirm, failed, sign_in};

/// What a page needs besides its view.
#[derive(Clone, Copy)]
struct Eye<'a> {
    language: Language,
    role: Role,
    site: &'a Site,
}

impl Eye<'_> {
    fn say(self, word: Word) -> &'static str {
        word.of(self.language)
    }

    fn may(self, action: Action) -> bool {
        allow(self.role, action)
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

    fn head<const N: usize>(self, words: [Word; N]) -> Vec<&'static str> {
        words.iter().map(|word| self.say(*word)).collect()
    }

    fn table<const N: usize>(self, caption: Word, head: [Word; N], rows: Vec<Vec<Cell>>) -> Part {
        Part::Table(Table {
            caption: self.say(caption).to_owned(),
            head: self.head(head),
            rows,
            empty: self.say(w::NOTHING),
        })
    }

    fn page(self, title: impl Into<String>, parts: Vec<Part>) -> Page {
        Page {
            language: self.language,
            site: self.site.config.name.clone(),
            title: title.into(),
            parts,
        }
    }
}

fn user_link(user: impl std::fmt::Display) -> Cell {
    let text = user.to_string();
    let to = format!("/admin/user?user={text}");
    Cell {
        code: true,
        ..Cell::link(text, to)
    }
}

/// The page of a view.
pub(super) fn page(site: &Site, view: &View, (language, role): (Language, Role)) -> Page {
    let eye = Eye {
        language,
        role,
        site,
    };
    match view {
        View::Overview(view) => overview(eye, view),
        View::Users(view) => users(eye, view),
        View::User(view) => sheet(eye, view),
        View::Sites(view) => sites(eye, view),
        View::Pcs(view) => pcs(eye, view),
        View::Releases(view) => releases(eye, view),
        View::Policies(view) => policies(eye, view),
        View::Relays(view) => relays(eye, view),
        View::Audit(view) => audit(eye, view),
        View::Staff(view) => staff(eye, view),
    }
}

fn overview(eye: Eye<'_>, view: &Overview) -> Page {
    let meter = &view.meter;
    let facts = vec![
        (eye.say(w::SITE_ID), Cell::code(view.site)),
        (eye.say(w::USERS), Cell::text(view.users)),
        (
            eye.say(w::OBJECTS),
            Cell::text(format!("{} ({})", view.objects, size(view.object_bytes))),
        ),
        (eye.say(w::OTHER_SITES), Cell::text(view.sites)),
        (eye.say(w::RELAYS_OPEN), Cell::text(view.relays)),
        (eye.say(w::FAILED_PCS), Cell::text(view.failed_pcs)),
    ];
    let mut parts = vec![Part::Facts(facts)];
    let kinds = [
        (
            w::METER_MOVED,
            size(meter.moved_bytes),
            size(meter.mirroring_moved_bytes),
            per_mille(meter.moved_bytes, meter.mirroring_moved_bytes),
        ),
        (
            w::METER_STORED,
            size(meter.stored_bytes),
            size(meter.mirroring_stored_bytes),
            per_mille(meter.stored_bytes, meter.mirroring_stored_bytes),
        ),
        (
            w::METER_REQUESTS,
            meter.requests.to_string(),
            meter.mirroring_requests.to_string(),
            per_mille(meter.requests, meter.mirroring_requests),
        ),
    ];
    for (what, ours, mirroring, part) in kinds {
        parts.push(Part::Bar(Bar {
            label: format!(
                "{}: {ours} / {mirroring} ({}.{} %)",
                eye.say(what),
                part / 10,
                part % 10
            ),
            per_mille: part,
        }));
    }
    parts.push(Part::Note(eye.say(w::METER)));
    eye.page(eye.say(w::OVERVIEW), parts)
}

fn users(eye: Eye<'_>, view: &UserList) -> Page {
    let search = Form {
        search: true,
        ..eye.form("/users", w::SEARCH_BUTTON)
    }
    .input(Input::text("search", eye.say(w::SEARCH), &*view.search).kind("search", "off"));
    let rows = view.users.iter().map(|line| {
        let state = if line.disabled {
            w::DISABLED
        } else {
            w::ACTIVE
        };
        vec![
            Cell::link(&line.name, format!("/admin/user?user={}", line.user)),
            Cell::text(eye.say(state)),
            Cell::text(line.cards),
            Cell::text(eye.when(line.saved_ms.unwrap_or(0))),
        ]
    });
    let mut parts = vec![
        Part::Form(search),
        eye.table(
            w::USERS,
            [w::NAME, w::STATE, w::CARDS, w::LAST_SAVED],
            rows.collect(),
        ),
    ];
    if let Some(next) = &view.next {
        parts.push(Part::Link {
            to: query("/admin/users", &[("search", &view.search), ("after", next)]),
            text: eye.say(w::NEXT_PAGE),
        });
    }
    if eye.may(Action::ReplaceCards) {
        let form = eye.form("/cards/replace", w::REPLACE).input(
            Input::text("registration", eye.say(w::REGISTRATION), "")
                .kind("area", "off")
                .required(),
        );
        parts.push(Part::Form(Form {
            title: eye.say(w::REPLACE).to_owned(),
            ..form
        }));
    }
    eye.page(eye.say(w::USERS), parts)
}

fn sheet(eye: Eye<'_>, view: &UserSheet) -> Page {
    let state = if view.disabled {
        w::DISABLED
    } else {
        w::ACTIVE
    };
    let quota = view
        .quota_bytes
        .map_or_else(|| eye.say(w::NO_LIMIT).to_owned(), size);
    let mut facts = vec![
        (eye.say(w::USER), Cell::code(view.user)),
        (eye.say(w::STATE), Cell::text(eye.say(state))),
        (eye.say(w::QUOTA), Cell::text(quota)),
        (eye.say(w::USED), Cell::text(size(view.used_bytes))),
    ];
    if let Some(head) = &view.head {
        let said = format!("{} · {} · {}", head.seq, eye.when(head.saved_ms), head.pc);
        facts.push((eye.say(w::SNAPSHOT), Cell::text(said)));
        let here = if view.here { w::YES } else { w::NO };
        facts.push((eye.say(w::COPY_HERE), Cell::text(eye.say(here))));
    }
    let cards = view.cards.iter().map(|line| {
        let state = if line.revoked { w::REVOKED } else { w::GOOD };
        let mut forms = Vec::new();
        if !line.revoked && eye.may(Action::RevokeCard) {
            forms.push(
                eye.form("/cards/revoke", w::REVOKE)
                    .with("user", view.user)
                    .with("card", line.card)
                    .about(line.card)
                    .danger(),
            );
        }
        vec![
            Cell::code(line.card),
            Cell::text(eye.say(state)),
            Cell::forms(forms),
        ]
    });
    let next = view.next_sites.iter().map(|next| {
        vec![
            Cell::code(next.site),
            Cell::text(eye.say(transfer_state(next.state))),
            Cell::text(format!(
                "{} / {}",
                size(next.bytes_done),
                size(next.bytes_total)
            )),
        ]
    });
    let sessions = view
        .sessions
        .iter()
        .map(|one| vec![Cell::text(&one.kind), Cell::text(eye.when(one.expires_ms))]);
    let mut parts = vec![
        Part::Facts(facts),
        eye.table(w::CARDS, [w::CARD, w::STATE, w::ACTIONS], cards.collect()),
        eye.table(
            w::NEXT_SITES,
            [w::SITE_ID, w::STATE, w::PROGRESS],
            next.collect(),
        ),
        eye.table(w::SESSIONS, [w::KIND, w::ENDS], sessions.collect()),
    ];
    let form = |path, button| eye.form(path, button).with("user", view.user);
    if eye.may(Action::SetQuota) {
        let value = view.quota_bytes.map(|bytes| bytes.to_string());
        let input = Input::text("bytes", eye.say(w::BYTES), value.unwrap_or_default());
        parts.push(Part::Form(form("/users/quota", w::SET_QUOTA).input(input)));
    }
    if eye.may(Action::RecoverUser) {
        parts.push(Part::Form(form("/users/recover", w::RECOVER)));
    }
    if eye.may(Action::SwitchUser) {
        parts.push(Part::Form(if view.disabled {
            form("/users/enable", w::ENABLE)
        } else {
            form("/users/disable", w::DISABLE)
        }));
    }
    if eye.may(Action::RemoveUser) {
        parts.push(Part::Form(form("/users/remove", w::REMOVE).danger()));
    }
    eye.page(&*view.name, parts)
}

fn sites(eye: Eye<'_>, view: &SiteList) -> Page {
    let rows = view.sites.iter().map(|site| {
        let mut forms = Vec::new();
        if eye.may(Action::ExpelSite) {
            forms.push(
                eye.form("/sites/expel", w::EXPEL)
                    .with("site", site.site)
                    .about(&site.name)
                    .danger(),
            );
        }
        vec![
            Cell::text(&site.name),
            Cell::code(site.site),
            Cell::text(&site.url),
            Cell::text(eye.when(site.synced_ms)),
            Cell::text(site.waiting),
            Cell::text(site.error.as_deref().unwrap_or_default()),
            Cell::forms(forms),
        ]
    });
    let here = vec![
        (eye.say(w::NAME), Cell::text(&view.name)),
        (eye.say(w::THIS_SITE), Cell::code(view.here)),
    ];
    let head = [
        w::NAME,
        w::SITE_ID,
        w::ADDRESS,
        w::EXCHANGE,
        w::WAITING,
        w::ERROR,
        w::ACTIONS,
    ];
    let table = eye.table(w::OTHER_SITES, head, rows.collect());
    eye.page(eye.say(w::SITES), vec![Part::Facts(here), table])
}

fn pcs(eye: Eye<'_>, view: &[Pc]) -> Page {
    let rows = view.iter().map(|pc| {
        let key = match (&pc.key, pc.revoked) {
            (Some(_), false) => w::ENROLLED,
            (Some(_), true) => w::REVOKED,
            (None, _) => w::NOT_ENROLLED,
        };
        let stage = pc.stage.map(|stage| {
            let said = if pc.proven { w::PROVEN } else { w::CLAIMED };
            format!("{} ({})", eye.say(stage_word(stage)), eye.say(said))
        });
        let mut forms = Vec::new();
        if key_is_good(pc) && eye.may(Action::RevokePc) {
            forms.push(
                eye.form("/pcs/revoke", w::REVOKE)
                    .with("pc", &pc.name)
                    .about(&pc.name)
                    .danger(),
            );
        }
        vec![
            Cell::text(&pc.name),
            Cell::text(stage.unwrap_or_default()),
            pc.user.map(user_link).unwrap_or_default(),
            Cell::text(eye.when(pc.seen_ms)),
            Cell::text(&pc.error),
            Cell::text(eye.say(key)),
            Cell::forms(forms),
        ]
    });
    let head = [
        w::PC,
        w::STAGE,
        w::USER,
        w::SEEN,
        w::ERROR,
        w::KEY,
        w::ACTIONS,
    ];
    let mut parts = vec![eye.table(w::PCS, head, rows.collect())];
    if eye.may(Action::EnrolPc) {
        let form = eye
            .form("/pcs/enrol", w::ENROL)
            .input(Input::text("pc", eye.say(w::NAME), "").required())
            .input(Input::text("key", eye.say(w::KEY_HEX), "").required());
        parts.push(Part::Form(Form {
            title: eye.say(w::ENROL).to_owned(),
            ..form
        }));
    }
    eye.page(eye.say(w::PCS), parts)
}

fn key_is_good(pc: &Pc) -> bool {
    pc.key.is_some() && !pc.revoked
}

fn releases(eye: Eye<'_>, view: &ReleaseList) -> Page {
    let rows = view.releases.iter().map(|info| {
        let started = view.started == Some(info.release);
        let mut forms = Vec::new();
        if !started && eye.may(Action::StartRelease) {
            forms.push(
                eye.form("/releases/start", w::START)
                    .with("release", info.release)
                    .about(info.release),
            );
        }
        if eye.may(Action::WithdrawRelease) {
            forms.push(
                eye.form("/releases/withdraw", w::WITHDRAW)
                    .with("release", info.release)
                    .about(info.release)
                    .danger(),
            );
        }
        vec![
            Cell::text(&info.name),
            Cell::code(info.release),
            Cell::text(eye.when(info.build_timestamp.saturating_mul(1000))),
            Cell::text(eye.say(if started { w::STARTED } else { w::LISTED })),
            Cell::forms(forms),
        ]
    });
    let head = [w::NAME, w::RELEASE, w::BUILT, w::STATE, w::ACTIONS];
    let mut parts = vec![eye.table(w::RELEASES, head, rows.collect())];
    if eye.may(Action::StartRelease) {
        parts.push(Part::Form(eye.form("/releases/start", w::START_NEWEST)));
    }
    eye.page(eye.say(w::RELEASES), parts)
}

fn policies(eye: Eye<'_>, view: &[PolicyLine]) -> Page {
    let rows = view.iter().map(|line| {
        let word = Policy::from_name(line.policy).map(policy_word);
        let value = line.value.as_deref();
        let mut row = vec![
            Cell::text(word.map_or(line.policy, |word| eye.say(word))),
            Cell::text(value.unwrap_or_else(|| eye.say(w::NOT_SET))),
        ];
        if eye.may(Action::SetPolicy) {
            let input = Input::text("value", eye.say(w::VALUE), value.unwrap_or_default());
            row.push(Cell::forms(vec![
                eye.form("/policies/set", w::SET)
                    .with("policy", line.policy)
                    .input(input)
                    .about(line.policy),
            ]));
        }
        row
    });
    let rows = rows.collect();
    let table = if eye.may(Action::SetPolicy) {
        eye.table(w::POLICIES, [w::POLICY, w::VALUE, w::ACTIONS], rows)
    } else {
        eye.table(w::POLICIES, [w::POLICY, w::VALUE], rows)
    };
    eye.page(eye.say(w::POLICIES), vec![table])
}

fn relays(eye: Eye<'_>, view: &Relays) -> Page {
    let rows = view.relays.iter().map(|relay| {
        let transfer = &relay.transfer;
        vec![
            user_link(relay.user),
            Cell::code(transfer.from),
            Cell::text(eye.say(transfer_state(transfer.state))),
            Cell::text(format!(
                "{} / {}",
                size(transfer.bytes_done),
                size(transfer.bytes_total)
            )),
            Cell::text(transfer.error.as_deref().unwrap_or_default()),
        ]
    });
    let head = [w::USER, w::FROM, w::STATE, w::PROGRESS, w::ERROR];
    let table = eye.table(w::RELAYS_OPEN, head, rows.collect());
    eye.page(eye.say(w::RELAYS), vec![table])
}

fn audit(eye: Eye<'_>, view: &AuditPage) -> Page {
    let filter = &view.filter;
    let search = Form {
        search: true,
        ..eye.form("/audit", w::FILTER)
    }
    .input(Input::text("actor", eye.say(w::WHO), &*filter.actor))
    .input(Input::text("action", eye.say(w::WHAT), &*filter.action))
    .input(Input::text(
        "subject",
        eye.say(w::SUBJECT),
        &*filter.subject,
    ));
    let rows = view.rows.iter().map(|row| {
        vec![
            Cell::text(row.seq),
            Cell::text(eye.when(row.at_ms)),
            Cell::text(&row.actor),
            Cell::text(&row.action),
            Cell::code(&row.subject),
            Cell::text(&row.detail),
        ]
    });
    let head = [w::NUMBER, w::WHEN, w::WHO, w::WHAT, w::SUBJECT, w::DETAIL];
    let mut parts = vec![
        Part::Form(search),
        eye.table(w::AUDIT, head, rows.collect()),
    ];
    if let Some(next) = view.next {
        parts.push(Part::Link {
            to: query(
                "/admin/audit",
                &[
                    ("actor", &filter.actor),
                    ("action", &filter.action),
                    ("subject", &filter.subject),
                    ("before", &next.to_string()),
                ],
            ),
            text: eye.say(w::NEXT_PAGE),
        });
    }
    eye.page(eye.say(w::AUDIT), parts)
}

fn staff(eye: Eye<'_>, view: &[StaffLine]) -> Page {
    let rows = view.iter().map(|one| {
        let state = if one.disabled { w::DISABLED } else { w::ACTIVE };
        let mut forms = Vec::new();
        if eye.may(Action::SwitchStaff) {
            let (path, button) = if one.disabled {
                ("/staff/enable", w::ENABLE)
            } else {
                ("/staff/disable", w::DISABLE)
            };
            forms.push(
                eye.form(path, button)
                    .with("name", &one.name)
                    .about(&one.name),
            );
        }
        vec![
            Cell::text(&one.name),
            Cell::text(eye.say(role_word(one.role))),
            Cell::text(eye.say(state)),
            Cell::forms(forms),
        ]
    });
    let head = [w::NAME, w::ROLE, w::STATE, w::ACTIONS];
    let table = eye.table(w::STAFF, head, rows.collect());
    eye.page(eye.say(w::STAFF), vec![table])
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
