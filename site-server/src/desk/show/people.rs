//! Users, what they were invited with, and staff.

use super::{
    super::{
        page::{Cell, Form, Input, Link, Mood, Page, Part},
        words as w,
    },
    Eye,
    names::{kind_word, role_word, transfer_mood, transfer_state},
    progress, query, user_link,
};
use crate::{
    admin::{Action, InvitationLine, Role, StaffLine, UserList, UserSheet},
    clock::now_ms,
    portal::size,
    store::Actor,
};

pub(super) fn users(eye: Eye<'_>, view: &UserList) -> Page {
    let search = Form {
        search: true,
        ..eye.form("/users", w::SEARCH_BUTTON)
    }
    .input(Input::text("search", eye.say(w::SEARCH), &*view.search).kind("search", "off"));
    let rows = view.users.iter().map(|line| {
        vec![
            Cell::link(&line.name, format!("/admin/user?user={}", line.user)),
            state(eye, line.disabled),
            Cell::text(line.cards),
            Cell::text(eye.when(line.saved_ms.unwrap_or(0))),
        ]
    });
    let head = [w::NAME, w::STATE, w::CARDS, w::LAST_SAVED];
    let mut parts = vec![
        Part::Form(search),
        eye.table(w::USERS, head, rows.collect()),
    ];
    if let Some(next) = &view.next {
        parts.push(Part::Link(Link {
            to: query("/admin/users", &[("search", &view.search), ("after", next)]),
            text: eye.say(w::NEXT_PAGE),
            button: true,
        }));
    }
    let registration = || {
        Input::text("registration", eye.say(w::REGISTRATION), "")
            .kind("area", "off")
            .required()
    };
    if eye.may(Action::AddUser) {
        let form = eye.form("/users/add", w::ADD_USER).input(registration());
        parts.push(Part::Form(
            form.titled(eye.say(w::ADD_USER), eye.say(w::ADD_USER_WHY)),
        ));
    }
    if eye.may(Action::ReplaceCards) {
        let form = eye.form("/cards/replace", w::REPLACE).quiet();
        parts.push(Part::Form(
            form.input(registration())
                .titled(eye.say(w::REPLACE), eye.say(w::REPLACE_WHY)),
        ));
    }
    eye.page(eye.say(w::USERS), w::USERS_WHY, parts)
}

fn state(eye: Eye<'_>, disabled: bool) -> Cell {
    if disabled {
        eye.tag(Mood::Bad, w::DISABLED)
    } else {
        eye.tag(Mood::Good, w::ACTIVE)
    }
}

pub(super) fn sheet(eye: Eye<'_>, view: &UserSheet) -> Page {
    let mut parts = vec![
        Part::Facts(facts(eye, view)),
        cards(eye, view),
        next_sites(eye, view),
    ];
    let sessions = view.sessions.iter().map(|one| {
        vec![
            Cell::text(kind_word(&one.kind).map_or(one.kind.as_str(), |word| eye.say(word))),
            Cell::text(eye.when(one.expires_ms)),
        ]
    });
    parts.push(eye.table(w::SESSIONS, [w::KIND, w::ENDS], sessions.collect()));
    let act = |path, button, help| eye.act(path, button, help).with("user", view.user);
    let mut forms = Vec::new();
    if eye.may(Action::SetQuota) {
        let value = view.own_quota_bytes.map(|bytes| bytes.to_string());
        let input = Input::text("bytes", eye.say(w::BYTES), value.unwrap_or_default());
        forms.push(act("/users/quota", w::SET_QUOTA, w::SET_QUOTA_WHY).input(input));
    }
    if eye.may(Action::RecoverUser) {
        forms.push(act("/users/recover", w::RECOVER, w::RECOVER_WHY));
        if view.second_step {
            forms.push(act("/users/reset-step", w::RESET_STEP, w::RESET_STEP_WHY).danger());
        }
    }
    if eye.may(Action::SwitchUser) {
        forms.push(if view.disabled {
            act("/users/enable", w::ENABLE, w::ENABLE_WHY)
        } else {
            act("/users/disable", w::DISABLE, w::DISABLE_WHY)
        });
    }
    if eye.may(Action::RemoveUser) {
        forms.push(act("/users/remove", w::REMOVE, w::REMOVE_WHY).danger());
    }
    if !forms.is_empty() {
        parts.push(Part::Actions(eye.say(w::ACTIONS), forms));
    }
    eye.page(&*view.name, w::USER_WHY, parts)
}

fn facts(eye: Eye<'_>, view: &UserSheet) -> Vec<(&'static str, Cell)> {
    let quota = view
        .quota_bytes
        .map_or_else(|| eye.say(w::NO_LIMIT).to_owned(), size);
    let step = if view.second_step { w::ON } else { w::OFF };
    let mut facts = vec![
        (eye.say(w::STATE), state(eye, view.disabled)),
        (eye.say(w::USED), Cell::text(size(view.used_bytes))),
        (eye.say(w::QUOTA), Cell::text(quota)),
        (eye.say(w::SECOND_STEP), Cell::text(eye.say(step))),
    ];
    if let Some(head) = &view.head {
        let said = format!("{} · {}", eye.when(head.saved_ms), head.pc);
        facts.push((eye.say(w::SNAPSHOT), Cell::text(head.seq).below(said)));
        let here = if view.here {
            eye.tag(Mood::Good, w::YES)
        } else {
            eye.tag(Mood::Plain, w::NO)
        };
        facts.push((eye.say(w::COPY_HERE), here));
    }
    facts.push((eye.say(w::USER_ID), Cell::code(view.user)));
    facts
}

fn cards(eye: Eye<'_>, view: &UserSheet) -> Part {
    let rows = view.cards.iter().map(|line| {
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
        let state = if line.revoked {
            eye.tag(Mood::Bad, w::REVOKED)
        } else {
            eye.tag(Mood::Good, w::GOOD)
        };
        vec![Cell::code(line.card), state, Cell::forms(forms)]
    });
    eye.table(w::CARDS, [w::CARD, w::STATE, w::ACTIONS], rows.collect())
}

fn next_sites(eye: Eye<'_>, view: &UserSheet) -> Part {
    let rows = view.next_sites.iter().map(|next| {
        let site = match &next.name {
            Some(name) => Cell::text(name),
            None => Cell::code(next.site),
        };
        vec![
            site,
            eye.tag(transfer_mood(next.state), transfer_state(next.state)),
            Cell::text(progress(next.bytes_done, next.bytes_total)),
        ]
    });
    let head = [w::SITE, w::STATE, w::PROGRESS];
    eye.table(w::NEXT_SITES, head, rows.collect())
}

pub(super) fn invitations(eye: Eye<'_>, view: &[InvitationLine]) -> Page {
    let now = now_ms();
    let rows = view.iter().map(|one| {
        let mut forms = Vec::new();
        if one.is_good(now) && eye.may(Action::WithdrawInvitation) {
            let form = eye.form("/invitations/withdraw", w::TAKE_BACK);
            forms.push(
                form.with("user", one.user)
                    .about(one.name.as_deref().unwrap_or_default())
                    .danger(),
            );
        }
        let state = match (one.used_ms, one.withdrawn_ms) {
            (Some(used), _) => eye.tag(Mood::Plain, w::USED_UP).below(eye.when(used)),
            (None, Some(taken)) => eye.tag(Mood::Bad, w::TAKEN_BACK).below(eye.when(taken)),
            (None, None) if one.is_good(now) => eye.tag(Mood::Good, w::NOT_USED),
            (None, None) => eye.tag(Mood::Bad, w::EXPIRED),
        };
        vec![
            user_link(one.user, one.name.as_ref()),
            state,
            Cell::text(eye.when(one.made_ms)).below(&one.made_by),
            Cell::text(eye.when(one.expires_ms)),
            Cell::forms(forms),
        ]
    });
    let head = [w::USER, w::STATE, w::MADE, w::GOOD_UNTIL, w::ACTIONS];
    let table = eye.table(w::INVITATIONS, head, rows.collect());
    eye.page(eye.say(w::INVITATIONS), w::INVITATIONS_WHY, vec![table])
}

pub(super) fn staff(eye: Eye<'_>, view: &[StaffLine]) -> Page {
    let roles = || {
        let words = Role::STAFF.iter();
        words
            .map(|role| (role.name(), eye.say(role_word(*role))))
            .collect::<Vec<_>>()
    };
    let rows = view.iter().map(|one| {
        let step = if one.second_step { w::ON } else { w::OFF };
        vec![
            Cell::text(&one.name),
            Cell::text(eye.say(role_word(one.role))),
            state(eye, one.disabled),
            Cell::text(eye.say(step)),
            Cell::forms(staff_forms(eye, one, roles())),
        ]
    });
    let head = [w::NAME, w::ROLE, w::STATE, w::SECOND_STEP, w::ACTIONS];
    let mut parts = vec![eye.table(w::STAFF, head, rows.collect())];
    if eye.may(Action::AddStaff) {
        let form = eye
            .form("/staff/add", w::ADD_STAFF)
            .input(
                Input::text("name", eye.say(w::NAME), "")
                    .hint(eye.say(w::STAFF_NAME_HINT))
                    .required(),
            )
            .input(Input::choice(
                "role",
                eye.say(w::ROLE),
                Role::HelpDesk.name(),
                roles(),
            ));
        parts.push(Part::Form(
            form.titled(eye.say(w::ADD_STAFF), eye.say(w::ADD_STAFF_WHY)),
        ));
    }
    eye.page(eye.say(w::STAFF), w::STAFF_WHY, parts)
}

fn staff_forms(
    eye: Eye<'_>,
    one: &StaffLine,
    roles: Vec<(&'static str, &'static str)>,
) -> Vec<Form> {
    let form = |path, button| {
        let form = eye.form(path, button).with("name", &one.name);
        form.about(&one.name).quiet()
    };
    let mut forms = Vec::new();
    // Nobody does this to himself.
    if eye.caller.actor == Actor::Staff(one.name.clone()) {
        return forms;
    }
    if eye.may(Action::AddStaff) {
        let choice = Input::choice("role", eye.say(w::ROLE), one.role.name(), roles);
        forms.push(form("/staff/role", w::SET_ROLE).input(choice));
    }
    if eye.may(Action::RecoverStaff) {
        forms.push(form("/staff/password", w::NEW_PASSWORD));
        if one.second_step {
            forms.push(form("/staff/reset-step", w::RESET_STEP).danger());
        }
    }
    if eye.may(Action::SwitchStaff) {
        forms.push(if one.disabled {
            form("/staff/enable", w::ENABLE)
        } else {
            form("/staff/disable", w::DISABLE)
        });
    }
    forms
}
