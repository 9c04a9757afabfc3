//! Rows of `routes::leases`.

use site_api::{
    ProblemCode,
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
    rows.add(delete(path::LEASE, Who::Pc, "Ends the session's lease").answers(204, "It is over."));
}
