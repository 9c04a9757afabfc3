//! Rows of `routes::releases` and `routes::chunks`.

use site_api::{ChunksRequest, ProblemCode, ReleaseInfo, path};

use super::row::{Rows, Who, get, post, put};

pub(super) fn rows(rows: &mut Rows) {
    rows.add(
        get(path::RELEASES, Who::Anybody, "Releases, newest first")
            .json_list::<ReleaseInfo>(200, "All that are listed."),
    );
    rows.add(
        get(
            "/v1/baselines/{baseline}",
            Who::Anybody,
            "The newest release with a baseline",
        )
        .json::<ReleaseInfo>(200, "The release.")
        .fails(&[ProblemCode::NotFound]),
    );
    rows.add(
        get(
            "/v1/names/{name}/release",
            Who::Anybody,
            "The release PCs of a name should start",
        )
        .json::<ReleaseInfo>(200, "The release.")
        .fails(&[ProblemCode::NotFound]),
    );
    rows.add(
        get(
            "/v1/releases/{release}/{file}",
            Who::Anybody,
            "One file of a listed release",
        )
        .file("The file."),
    );
    rows.add(
        put(
            "/v1/releases/{release}/{file}",
            Who::Operator,
            "Takes one file of a release",
        )
        .takes_bytes()
        .answers(201, "Taken.")
        .answers(200, "Taken; the release is listed already.")
        .fails(&[
            ProblemCode::NotFound,
            ProblemCode::WrongHash,
            ProblemCode::SiteFull,
        ]),
    );
    rows.add(
        post(
            "/v1/releases/{release}/commit",
            Who::Operator,
            "Checks and lists a release",
        )
        .json::<ReleaseInfo>(201, "It is listed.")
        .json::<ReleaseInfo>(200, "It was listed.")
        .fails(&[
            ProblemCode::ObjectsMissing,
            ProblemCode::WrongHash,
            ProblemCode::WrongSignature,
        ]),
    );
    let frame = "One frame of chunks.";
    rows.add(
        get(
            "/v1/releases/{release}/index-from/{from}",
            Who::Anybody,
            "The index of a release for a PC with that of another",
        )
        .bytes(200, frame)
        .fails(&[ProblemCode::NotFound]),
    );
    rows.add(
        get(
            "/v1/releases/{release}/boot-index-from/{from}",
            Who::Anybody,
            "The index of a boot file for a PC with that of another release",
        )
        .bytes(200, frame)
        .fails(&[ProblemCode::NotFound]),
    );
    rows.add(
        post(path::CHUNKS, Who::Anybody, "Chunks of baseline images")
            .takes::<ChunksRequest>()
            .bytes(200, frame)
            .fails(&[ProblemCode::NotFound, ProblemCode::ObjectsMissing]),
    );
}
