//! What is counted in code → the word people read.

use site_api::{TransferState, pc::Stage};

use super::super::words::{self as w, Word};
use crate::{admin::Role, store::Policy};

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
        Policy::RelayWindow => w::P_WINDOW,
        Policy::RelayBytesPerS => w::P_RATE,
        Policy::DropCopiesAfterDays => w::P_DROP,
    }
}

pub(super) const fn role_word(role: Role) -> Word {
    match role {
        Role::Operator => w::ROLE_OPERATOR,
        Role::HelpDesk => w::ROLE_HELP_DESK,
        Role::Auditor => w::ROLE_AUDITOR,
        Role::User => w::ROLE_USER,
    }
}
