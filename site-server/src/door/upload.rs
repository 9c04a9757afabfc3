//! Forms with files (multipart/form-data, RFC 7578), bounded: so many at a time, so many bytes each.

use axum::{
    extract::{FromRequest as _, Multipart, Request},
    http::StatusCode,
};
use site_api::ProblemCode;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::Fields;
use crate::{error::ApiError, imports::MAX_FILE_BYTES};

/// Largest form with two files and its texts, in bytes.
pub(crate) const UPLOAD_BYTES: usize = 2 * MAX_FILE_BYTES + (64 << 10);
/// Most fields.
const MOST_FIELDS: usize = 64;
/// Longest text in a field, in bytes.
const TEXT_BYTES: usize = 4 << 10;
/// Forms that are in memory at a time.
static UPLOADS: Semaphore = Semaphore::const_new(4);

/// Reads a form with files. A file over [`MAX_FILE_BYTES`] is kept one byte longer than that, so that its reader says so.
pub(super) async fn read(request: Request) -> Result<Fields, ApiError> {
    let _place = UPLOADS.try_acquire().map_err(|_| {
        ApiError::new(
            ProblemCode::TooManyTries,
            "Many forms are sent to this site at the moment. Try again in a minute.",
        )
        .japanese("フォームの送信が集中しています。1分ほど待ってからやり直してください。")
        .with_status(StatusCode::SERVICE_UNAVAILABLE)
    })?;
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|error| not_a_form(error.status()))?;
    let mut fields = Fields::default();
    let mut number = 0;
    while let Some(mut field) = form
        .next_field()
        .await
        .map_err(|error| not_a_form(error.status()))?
    {
        number += 1;
        if number > MOST_FIELDS {
            return Err(not_a_form(StatusCode::BAD_REQUEST));
        }
        let Some(name) = field.name().map(str::to_owned) else {
            continue;
        };
        let is_file = field.file_name().is_some();
        let limit = if is_file {
            MAX_FILE_BYTES + 1
        } else {
            TEXT_BYTES
        };
        let mut bytes = Zeroizing::new(Vec::new());
        while let Some(piece) = field
            .chunk()
            .await
            .map_err(|error| not_a_form(error.status()))?
        {
            let left = limit.saturating_sub(bytes.len());
            match piece.get(..left.min(piece.len())) {
                Some(taken) if is_file || taken.len() == piece.len() => {
                    bytes.extend_from_slice(taken);
                }
                _ => return Err(not_a_form(StatusCode::PAYLOAD_TOO_LARGE)),
            }
        }
        if is_file {
            fields.put_file(name, bytes);
        } else {
            let text =
                std::str::from_utf8(&bytes).map_err(|_| not_a_form(StatusCode::BAD_REQUEST))?;
            fields.put(name, text.to_owned());
        }
    }
    Ok(fields)
}

fn not_a_form(status: StatusCode) -> ApiError {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        let detail = "The form is too large: a file may have 4 MB. Nothing was saved.";
        return ApiError::new(ProblemCode::TooLarge, detail)
            .japanese("フォームが大きすぎます。ファイルは4MBまでです。何も保存されていません。");
    }
    super::no_form(status)
}
