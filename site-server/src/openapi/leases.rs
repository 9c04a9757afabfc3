//! Rows of `routes::leases` and `routes::settings`.

use site_api::{
    ProblemCode, SettingsAnswer,
    lease::{LeaseRequest, LeaseState},
    path,
};

use super::row::{Rows, Who, delete, get, put};

pub(super) fn rows(rows: &mut Rows) {
    rows.add(
        get(
            path::LEASE,
            Who::Pc,
            "How the session stands, and where else its user is signed in",
        )
        .json::<LeaseState>(200, "The session.")
        .fails(&[ProblemCode::NotFound]),
    );
    rows.add(
        put(
            path::LEASE,
            Who::Pc,
            "A sign of life of the session, that may take over from all others",
        )
        .takes::<LeaseRequest>()
        .json::<LeaseState>(200, "The session.")
        .fails(&[ProblemCode::NotFound]),
    );
    rows.add(
        get(
            path::SETTINGS,
            Who::Pc,
            "What the user registered, sealed to the cards",
        )
        .json::<SettingsAnswer>(200, "At most one of each part.")
        .answers(304, "The same as the ETag sent."),
    );
    rows.add(delete(path::LEASE, Who::Pc, "Ends the session's lease").answers(204, "It is over."));
}
