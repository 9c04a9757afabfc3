//! Rows of `routes::objects`, `routes::heads` and `routes::deliveries`.

use site_api::{
    Delivery, DeliveryRequest, Head, Missing, MissingRequest, ProblemCode, PutHead, Transfer, path,
};

use super::row::{Rows, Who, get, post, put};

pub(super) fn rows(rows: &mut Rows) {
    rows.add(
        post(
            path::OBJECTS_MISSING,
            Who::Pusher,
            "Which of these objects lack",
        )
        .takes::<MissingRequest>()
        .json::<Missing>(200, "Those that lack, in the order asked.")
        .fails(&[ProblemCode::NotGranted]),
    );
    rows.add(
        put(
            "/v1/objects/{object}",
            Who::Pusher,
            "Takes one sealed object",
        )
        .takes_bytes()
        .answers(201, "Kept.")
        .answers(200, "It was here.")
        .fails(&[
            ProblemCode::NotGranted,
            ProblemCode::WrongHash,
            ProblemCode::SiteFull,
            ProblemCode::TooManyRequests,
            ProblemCode::Busy,
        ]),
    );
    rows.add(
        get(
            "/v1/objects/{object}",
            Who::Pc,
            "One sealed object of the user",
        )
        .file("The object.")
        .fails(&[ProblemCode::TooManyRequests, ProblemCode::Busy]),
    );
    rows.add(
        get(path::HEAD, Who::Pc, "The newest snapshot of the user")
            .json::<Head>(200, "The head; with its record when every object is here.")
            .fails(&[ProblemCode::NotFound]),
    );
    rows.add(
        put(
            path::HEAD,
            Who::Pusher,
            "Advances the head: compare-and-swap",
        )
        .takes::<PutHead>()
        .json::<Head>(201, "The new head.")
        .json::<Head>(200, "It was the head.")
        .fails(&[
            ProblemCode::NotGranted,
            ProblemCode::HeadMoved,
            ProblemCode::Fenced,
            ProblemCode::OldEpoch,
            ProblemCode::ObjectsMissing,
            ProblemCode::WrongSignature,
            ProblemCode::SiteFull,
        ]),
    );
    rows.add(
        post(
            path::HEAD_FETCH,
            Who::Pc,
            "Asks this site to fetch the head from the site that has it",
        )
        .json::<Transfer>(202, "It fetches.")
        .json::<Transfer>(200, "It has it.")
        .fails(&[ProblemCode::NotFound, ProblemCode::PeerDown]),
    );
    rows.add(
        get(path::HEAD_FETCH, Who::Pc, "How far the fetching is")
            .json::<Transfer>(200, "The transfer.")
            .fails(&[ProblemCode::NotFound]),
    );
    rows.add(
        post(
            path::DELIVERIES,
            Who::Anybody,
            "Leave to deliver a signed record without its user",
        )
        .takes::<DeliveryRequest>()
        .json::<Delivery>(201, "Leave, and what lacks.")
        .json::<Delivery>(200, "It is here already.")
        .fails(&[
            ProblemCode::HeadMoved,
            ProblemCode::OldEpoch,
            ProblemCode::WrongSignature,
        ]),
    );
}
