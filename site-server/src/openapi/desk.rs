//! Rows of `desk` and of `routes::pcs`.

use site_api::{ProblemCode, pc::StageReport};

use super::row::{Rows, Who, get, post};
use crate::{
    admin::{ViewKind, WishKind},
    desk::{EXPORT, TokenAnswer, TokenRequest},
};

pub(super) fn rows(rows: &mut Rows) {
    rows.add(
        post(
            "/v1/pcs/{pc}/stage",
            Who::Anybody,
            "An enrolled PC says what it does",
        )
        .takes::<StageReport>()
        .answers(204, "It is on the board.")
        .fails(&[ProblemCode::WrongSignature]),
    );
    rows.add(
        post(
            "/v1/admin/sign-in",
            Who::Anybody,
            "A token for programs of the staff",
        )
        .takes::<TokenRequest>()
        .json::<TokenAnswer>(200, "The token.")
        .fails(&[ProblemCode::WrongPassword, ProblemCode::TooManyTries]),
    );
    rows.add(
        get(
            &format!("/v1/admin{EXPORT}"),
            Who::Operator,
            "The whole audit log",
        )
        .json_lines(200, "Its rows, one a line (docs/formats/audit.md).")
        .fails(&[ProblemCode::NotGranted]),
    );
    for (path, _, kind) in ViewKind::ALL {
        let mut row = get(&format!("/v1/admin{path}"), Who::Operator, kind.says());
        for name in kind.asks() {
            row = row.query(name, "See docs/formats/site-api.md.");
        }
        rows.add(row.any_json(200, "What there is to see.").fails(&[
            ProblemCode::BadRequest,
            ProblemCode::NotGranted,
            ProblemCode::NotFound,
        ]));
    }
    for (path, _, kind) in WishKind::ALL {
        rows.add(
            post(&format!("/v1/admin{path}"), Who::Operator, kind.says())
                .takes_texts(kind.fields())
                .any_json(200, "It is done.")
                .answers(409, "Somebody else has the name or the card.")
                .fails(&[ProblemCode::NotGranted, ProblemCode::NotFound]),
        );
    }
}
