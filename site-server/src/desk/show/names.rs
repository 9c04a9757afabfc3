//! What is counted in code → the word people read.

use site_api::{TransferState, pc::Stage};

use super::super::{
    page::Mood,
    words::{self as w, Word},
};
use crate::{
    admin::{Role, WishKind},
    store::Policy,
};

pub(super) const fn transfer_mood(state: TransferState) -> Mood {
    match state {
        TransferState::Waiting | TransferState::Running => Mood::Waiting,
        TransferState::Done => Mood::Good,
        TransferState::Failed => Mood::Bad,
    }
}

pub(super) const fn stage_mood(stage: Stage) -> Mood {
    match stage {
        Stage::Failed => Mood::Bad,
        Stage::InUse => Mood::Good,
        Stage::Booting | Stage::PoweringOff => Mood::Plain,
        Stage::Wiping
        | Stage::Restoring
        | Stage::SigningIn
        | Stage::Applying
        | Stage::Saving
        | Stage::Delivering => Mood::Waiting,
    }
}

/// What a sign-in is of; `None`: a kind of later programs.
pub(super) fn kind_word(kind: &str) -> Option<Word> {
    Some(match kind {
        "pc" => w::PC,
        "portal" => w::K_PORTAL,
        "delivery" => w::K_DELIVERY,
        "code" => w::K_CODE,
        _ => return None,
    })
}

pub(super) const fn transfer_state(state: TransferState) -> Word {
    match state {
        TransferState::Waiting => w::T_WAITING,
        TransferState::Running => w::T_RUNNING,
        TransferState::Done => w::T_DONE,
        TransferState::Failed => w::T_FAILED,
    }
}

pub(super) const fn stage_word(stage: Stage) -> Word {
    match stage {
        Stage::Booting => w::S_BOOTING,
        Stage::Wiping => w::S_WIPING,
        Stage::Restoring => w::S_RESTORING,
        Stage::SigningIn => w::S_SIGNING_IN,
        Stage::Applying => w::S_APPLYING,
        Stage::InUse => w::S_IN_USE,
        Stage::Saving => w::S_SAVING,
        Stage::Delivering => w::S_DELIVERING,
        Stage::PoweringOff => w::S_POWERING_OFF,
        Stage::Failed => w::S_FAILED,
    }
}

pub(super) const fn policy_word(policy: Policy) -> Word {
    match policy {
        Policy::QuotaBytes => w::P_QUOTA,
        Policy::WalkIn => w::P_WALK_IN,
        Policy::RegisterAtPc => w::P_REGISTER,
        Policy::Passphrases => w::P_PASSPHRASES,
        Policy::RelayWindow => w::P_WINDOW,
        Policy::RelayBytesPerS => w::P_RATE,
        Policy::DropCopiesAfterDays => w::P_DROP,
        Policy::KeepNewest => w::P_NEWEST,
        Policy::KeepDays => w::P_DAYS,
    }
}

pub(super) const fn policy_help(policy: Policy) -> Word {
    match policy {
        Policy::QuotaBytes => w::P_QUOTA_WHY,
        Policy::WalkIn => w::P_WALK_IN_WHY,
        Policy::RegisterAtPc => w::P_REGISTER_WHY,
        Policy::Passphrases => w::P_PASSPHRASES_WHY,
        Policy::RelayWindow => w::P_WINDOW_WHY,
        Policy::RelayBytesPerS => w::P_RATE_WHY,
        Policy::DropCopiesAfterDays => w::P_DROP_WHY,
        Policy::KeepNewest => w::P_NEWEST_WHY,
        Policy::KeepDays => w::P_DAYS_WHY,
    }
}

/// What a wish does that asks for a name first.
pub(super) const fn wish_help(kind: WishKind) -> Word {
    match kind {
        WishKind::RemoveUser => w::REMOVE_WHY,
        WishKind::RevokeCard => w::REVOKE_CARD_WHY,
        WishKind::ResetUserStep | WishKind::ResetStaffStep => w::RESET_STEP_WHY,
        WishKind::ExpelSite => w::EXPEL_WHY,
        WishKind::RevokePc => w::REVOKE_PC_WHY,
        WishKind::WithdrawRelease => w::WITHDRAW_WHY,
        _ => w::SURE,
    }
}

/// A field as its page calls it.
pub(in crate::desk) fn field_word(field: &str) -> Option<Word> {
    Some(match field {
        "bytes" => w::QUOTA,
        "registration" => w::REGISTRATION,
        "user" => w::USER,
        "card" => w::CARD,
        "site" => w::SITE,
        "pc" | "name" => w::NAME,
        "key" => w::KEY_HEX,
        "release" => w::RELEASE,
        "policy" => w::POLICIES,
        "value" => w::VALUE,
        "role" => w::ROLE,
        _ => return None,
    })
}

pub(in crate::desk) const fn role_word(role: Role) -> Word {
    match role {
        Role::Operator => w::ROLE_OPERATOR,
        Role::HelpDesk => w::ROLE_HELP_DESK,
        Role::Auditor => w::ROLE_AUDITOR,
        Role::User => w::ROLE_USER,
    }
}
