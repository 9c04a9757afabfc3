//! Rows of `routes::peers`.

use site_api::{
    ProblemCode, Transfer,
    peer::{Copies, Digest, DigestAnswer, JoinAnswer, JoinRequest, Records, TransferRequest, path},
};

use super::row::{Rows, Who, delete, get, post};

pub(super) fn rows(rows: &mut Rows) {
    rows.add(
        post(path::RECORDS, Who::Site, "Records to merge")
            .takes::<Records>()
            .answers(204, "Merged."),
    );
    rows.add(
        post(path::DIGEST, Who::Site, "Compares what two sites know")
            .takes::<Digest>()
            .json::<DigestAnswer>(200, "What is newer here, and what this site wants."),
    );
    rows.add(
        post(
            path::TRANSFERS,
            Who::Site,
            "Asks this site to fetch a snapshot",
        )
        .takes::<TransferRequest>()
        .json::<Transfer>(202, "It fetches.")
        .json::<Transfer>(200, "It has it.")
        .fails(&[ProblemCode::NotFound]),
    );
    rows.add(
        get(
            "/s/v1/transfers/{user}",
            Who::Site,
            "How far a transfer to this site is",
        )
        .json::<Transfer>(200, "The transfer.")
        .fails(&[ProblemCode::NotFound]),
    );
    rows.add(
        get(
            "/s/v1/users/{user}/records/{record}",
            Who::Site,
            "One signed record",
        )
        .bytes(200, "The record.")
        .fails(&[ProblemCode::NotFound]),
    );
    rows.add(
        get(
            "/s/v1/users/{user}/objects/{object}",
            Who::Site,
            "One sealed object",
        )
        .file("The object."),
    );
    rows.add(
        get(
            "/s/v1/users/{user}/copies",
            Who::Site,
            "The snapshots of a user that this site has whole",
        )
        .json::<Copies>(200, "The newest first."),
    );
    rows.add(
        delete(
            "/s/v1/users/{user}/copies",
            Who::Site,
            "The user wants no copies at this site",
        )
        .answers(204, "They are deleted.")
        .fails(&[ProblemCode::OnlyCopy]),
    );
    rows.add(
        delete(
            "/s/v1/transfers/{user}",
            Who::Site,
            "The user does not come after all",
        )
        .answers(204, "Nothing of it comes any more."),
    );
    rows.add(
        post(path::JOIN, Who::Anybody, "A new site, with its invitation")
            .takes::<JoinRequest>()
            .json::<JoinAnswer>(200, "Its certificate, and what it must know.")
            .json::<serde_json::Value>(202, "The operator has not signed yet.")
            .fails(&[ProblemCode::NotGranted]),
    );
}
