//! What is decided here, and what was done.

use super::{
    super::{
        page::{Cell, Form, Input, Link, Page, Part},
        words::{self as w, Word},
    },
    Eye,
    names::{policy_help, policy_word},
    query,
};
use crate::{
    admin::{Action, AuditPage, PolicyLine},
    portal::size,
    store::Policy,
};

pub(super) fn policies(eye: Eye<'_>, view: &[PolicyLine]) -> Page {
    let known = |line: &PolicyLine| Policy::from_name(line.policy);
    let facts = view.iter().filter_map(|line| {
        let policy = known(line)?;
        Some((eye.say(policy_word(policy)), value(eye, policy, line)))
    });
    let mut parts = vec![Part::Facts(facts.collect())];
    if eye.may(Action::SetPolicy) {
        let forms = view.iter().filter_map(|line| {
            let policy = known(line)?;
            let now = line.value.as_deref().unwrap_or_default();
            let (word, help) = (policy_word(policy), policy_help(policy));
            let label = eye.say(word);
            let input = if let Some([yes, no]) = choices(policy) {
                let options = [("", w::NOT_SET), ("yes", yes), ("no", no)];
                let said = options
                    .into_iter()
                    .map(|(value, word)| (value, eye.say(word)));
                Input::choice("value", label, now, said.collect())
            } else {
                Input::text("value", label, now)
            };
            let form = eye
                .form("/policies/set", w::SET)
                .with("policy", line.policy);
            Some(
                form.input(input)
                    .about(eye.say(word))
                    .titled(eye.say(word), eye.say(help))
                    .quiet(),
            )
        });
        parts.push(Part::Actions(eye.say(w::CHANGE), forms.collect()));
    }
    eye.page(eye.say(w::POLICIES), w::POLICIES_WHY, parts)
}

/// What yes and no mean where there is nothing else to say.
const fn choices(policy: Policy) -> Option<[Word; 2]> {
    match policy {
        Policy::WalkIn => Some([w::YES_ALLOWED, w::NO_REFUSED]),
        Policy::RegisterAtPc => Some([w::YES_OPEN, w::NO_CLOSED]),
        Policy::Passphrases => Some([w::YES_TAKEN, w::NO_CARDS]),
        _ => None,
    }
}

/// The value that holds, and whether somebody decided it.
fn value(eye: Eye<'_>, policy: Policy, line: &PolicyLine) -> Cell {
    let decided = line.value.is_some();
    let Some(value) = line.value.as_ref().or(line.otherwise.as_ref()) else {
        let nothing = match policy {
            Policy::DropCopiesAfterDays => w::NEVER,
            Policy::RelayWindow => w::ANY_TIME,
            _ => w::NO_LIMIT,
        };
        return Cell::text(eye.say(nothing)).below(eye.say(w::NOT_SET));
    };
    let bytes = || value.parse().map_or_else(|_| value.clone(), size);
    let text = match policy {
        Policy::QuotaBytes => bytes(),
        Policy::RelayBytesPerS => format!("{}/s", bytes()),
        Policy::WalkIn | Policy::RegisterAtPc | Policy::Passphrases => {
            let word = choices(policy).map(|[yes, no]| if value == "no" { no } else { yes });
            word.map_or_else(|| value.clone(), |word| eye.say(word).to_owned())
        }
        Policy::DropCopiesAfterDays | Policy::KeepDays => format!("{value} {}", eye.say(w::DAYS)),
        Policy::KeepNewest | Policy::RelayWindow => value.clone(),
    };
    let cell = Cell::text(text);
    if decided {
        cell
    } else {
        cell.below(eye.say(w::NOT_SET))
    }
}

pub(super) fn audit(eye: Eye<'_>, view: &AuditPage) -> Page {
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
            Cell::text(&row.action).below(&row.detail),
            Cell::code(&row.subject),
        ]
    });
    let head = [w::NUMBER, w::WHEN, w::WHO, w::WHAT, w::SUBJECT];
    let mut parts = vec![
        Part::Form(search),
        eye.table(w::AUDIT, head, rows.collect()),
    ];
    let link = |to, text| {
        Part::Link(Link {
            to,
            text: eye.say(text),
            button: true,
        })
    };
    if let Some(next) = view.next {
        let fields = [
            ("actor", filter.actor.as_str()),
            ("action", &filter.action),
            ("subject", &filter.subject),
            ("before", &next.to_string()),
        ];
        parts.push(link(query("/admin/audit", &fields), w::NEXT_PAGE));
    }
    if eye.may(Action::ExportAudit) {
        parts.push(link("/admin/audit/export".to_owned(), w::EXPORT));
    }
    eye.page(eye.say(w::AUDIT), w::AUDIT_WHY, parts)
}
