//! Sites, PCs, releases, and what moves between them.

use super::{
    super::{
        page::{Cell, Input, Mood, Page, Part},
        words as w,
    },
    Eye,
    names::{stage_mood, stage_word, transfer_mood, transfer_state},
    progress, user_link,
};
use crate::{
    admin::{Action, PcLine, Relays, ReleaseList, SiteList},
    store::Pc,
};

pub(super) fn sites(eye: Eye<'_>, view: &SiteList) -> Page {
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
        let state = match &site.error {
            Some(error) => eye.tag(Mood::Bad, w::ERROR).below(error),
            None => eye.tag(Mood::Good, w::ANSWERS),
        };
        vec![
            Cell::text(&site.name).below(&site.url),
            state,
            Cell::text(eye.when(site.synced_ms)),
            Cell::text(site.waiting),
            Cell::code(site.site),
            Cell::forms(forms),
        ]
    });
    let here = vec![
        (eye.say(w::THIS_SITE), Cell::text(&view.name)),
        (eye.say(w::SITE_ID), Cell::code(view.here)),
    ];
    let head = [
        w::NAME,
        w::STATE,
        w::EXCHANGE,
        w::WAITING,
        w::SITE_ID,
        w::ACTIONS,
    ];
    let table = eye.table(w::OTHER_SITES, head, rows.collect());
    eye.page(
        eye.say(w::SITES),
        w::SITES_WHY,
        vec![Part::Facts(here), table],
    )
}

pub(super) fn pcs(eye: Eye<'_>, view: &[PcLine]) -> Page {
    let rows = view.iter().map(|line| {
        let pc = &line.pc;
        let key = match (&pc.key, pc.revoked) {
            (Some(_), false) => eye.tag(Mood::Good, w::ENROLLED),
            (Some(_), true) => eye.tag(Mood::Bad, w::REVOKED),
            (None, _) => eye.tag(Mood::Plain, w::NOT_ENROLLED),
        };
        let stage = pc.stage.map(|stage| {
            let said = if pc.proven { w::PROVEN } else { w::CLAIMED };
            let below = if pc.error.is_empty() {
                eye.say(said).to_owned()
            } else {
                format!("{} · {}", eye.say(said), pc.error)
            };
            eye.tag(stage_mood(stage), stage_word(stage)).below(below)
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
        let user = pc.user.map(|user| user_link(user, line.user_name.as_ref()));
        vec![
            Cell::text(&pc.name),
            stage.unwrap_or_default(),
            user.unwrap_or_default(),
            Cell::text(eye.when(pc.seen_ms)),
            key,
            Cell::forms(forms),
        ]
    });
    let head = [w::PC, w::STAGE, w::USER, w::SEEN, w::KEY, w::ACTIONS];
    let mut parts = vec![eye.table(w::PCS, head, rows.collect())];
    if eye.may(Action::EnrolPc) {
        let form = eye
            .form("/pcs/enrol", w::ENROL)
            .input(Input::text("pc", eye.say(w::NAME), "").required())
            .input(Input::text("key", eye.say(w::KEY_HEX), "").required());
        parts.push(Part::Form(
            form.titled(eye.say(w::ENROL), eye.say(w::ENROL_WHY)),
        ));
    }
    eye.page(eye.say(w::PCS), w::PCS_WHY, parts)
}

fn key_is_good(pc: &Pc) -> bool {
    pc.key.is_some() && !pc.revoked
}

pub(super) fn releases(eye: Eye<'_>, view: &ReleaseList) -> Page {
    let rows = view.releases.iter().map(|info| {
        let started = view.started == Some(info.release);
        let mut forms = Vec::new();
        if !started && eye.may(Action::StartRelease) {
            forms.push(
                eye.form("/releases/start", w::START)
                    .with("release", info.release)
                    .about(info.release)
                    .quiet(),
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
        let state = if started {
            eye.tag(Mood::Good, w::STARTED)
        } else {
            eye.tag(Mood::Plain, w::LISTED)
        };
        vec![
            Cell::text(&info.name),
            state,
            Cell::text(eye.when(info.build_timestamp.saturating_mul(1000))),
            Cell::code(info.release),
            Cell::forms(forms),
        ]
    });
    let head = [w::NAME, w::STATE, w::BUILT, w::RELEASE, w::ACTIONS];
    let mut parts = vec![eye.table(w::RELEASES, head, rows.collect())];
    if eye.may(Action::StartRelease) && !view.releases.is_empty() {
        let form = eye.act("/releases/start", w::START_NEWEST, w::START_NEWEST_WHY);
        parts.push(Part::Actions(eye.say(w::ACTIONS), vec![form]));
    }
    eye.page(eye.say(w::RELEASES), w::RELEASES_WHY, parts)
}

pub(super) fn relays(eye: Eye<'_>, view: &Relays) -> Page {
    let rows = view.relays.iter().map(|relay| {
        let transfer = &relay.transfer;
        let from = match &relay.from_name {
            Some(name) => Cell::text(name),
            None => Cell::code(transfer.from),
        };
        let state = eye.tag(
            transfer_mood(transfer.state),
            transfer_state(transfer.state),
        );
        vec![
            user_link(relay.user, relay.name.as_ref()),
            from,
            state.below(transfer.error.as_deref().unwrap_or_default()),
            Cell::text(progress(transfer.bytes_done, transfer.bytes_total)),
        ]
    });
    let head = [w::USER, w::FROM, w::STATE, w::PROGRESS];
    let table = eye.table(w::RELAYS_OPEN, head, rows.collect());
    eye.page(eye.say(w::RELAYS), w::RELAYS_WHY, vec![table])
}
