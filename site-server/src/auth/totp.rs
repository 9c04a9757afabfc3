//! Codes of an authenticator app: a secret of 160 bits, six digits every 30 seconds (RFC 6238, SHA-1), and the picture that
//! brings the secret into the app.

use qrcodegen::{QrCode, QrCodeEcc};
use totp_rs::{Builder, Secret, Totp};
use zeroize::Zeroizing;

use crate::{clock::now_ms, error::ApiError, store::random};

/// Bytes of a secret (RFC 4226 §4 asks for at least 16 and recommends 20).
const SECRET_BYTES: usize = 20;

/// A new secret, in base 32.
pub(crate) fn new_secret() -> Zeroizing<String> {
    let bytes = Zeroizing::new(random::<SECRET_BYTES>());
    Zeroizing::new(Secret::from(bytes.to_vec()).to_base32())
}

/// What was typed without the spaces people put between digits.
pub(crate) fn digits(typed: &str) -> String {
    typed.chars().filter(char::is_ascii_digit).collect()
}

/// Whether this is six digits and nothing else that counts: a code of the app, not a recovery code.
pub(crate) fn looks_like_one(typed: &str) -> bool {
    let letters = typed.chars().filter(char::is_ascii_alphanumeric).count();
    letters == 6 && digits(typed).len() == 6
}

/// The time step of a right code: now, or 30 seconds to either side. `None` also for a secret that is none.
pub(crate) fn step(secret_b32: &str, typed: &str) -> Option<u64> {
    let seconds = u64::try_from(now_ms() / 1000).ok()?;
    totp(secret_b32)?.check(&digits(typed), seconds)
}

fn totp(secret_b32: &str) -> Option<Totp> {
    let secret = Secret::try_from_base32(secret_b32).ok()?;
    Builder::new().with_secret(secret).with_skew(1).build().ok()
}

/// How a secret comes into an app: scanned, or typed. Whoever sees it has the secret.
pub(crate) struct Enrolment {
    /// Side of the picture in modules.
    pub(crate) side: i32,
    /// The picture as a path of an SVG.
    pub(crate) path: String,
    /// The secret in groups of four.
    pub(crate) spaced: String,
}

impl std::fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Enrolment")
    }
}

impl Enrolment {
    /// For an account of this name, which is plain ASCII.
    ///
    /// # Errors
    /// 400: the name is too long for a picture.
    ///
    /// Source: <https://github.com/google/google-authenticator/wiki/Key-Uri-Format>.
    pub(crate) fn new(account: &str, secret_b32: &str) -> Result<Self, ApiError> {
        let (side, path) = qr(&format!(
            "otpauth://totp/Furoshiki:{account}?secret={secret_b32}&issuer=Furoshiki"
        ))?;
        let groups: Vec<&str> = (0..secret_b32.len())
            .step_by(4)
            .filter_map(|at| secret_b32.get(at..(at + 4).min(secret_b32.len())))
            .collect();
        Ok(Self {
            side,
            path,
            spaced: groups.join(" "),
        })
    }
}

/// A QR code as an SVG path, and its side with the quiet zone of 4 modules (ISO/IEC 18004).
fn qr(text: &str) -> Result<(i32, String), ApiError> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium)
        .map_err(|_| ApiError::bad("The name is too long for a code to scan."))?;
    let mut path = String::new();
    for y in 0..code.size() {
        for x in 0..code.size() {
            if code.get_module(x, y) {
                path.push_str(&format!("M{} {}h1v1h-1z", x + 4, y + 4));
            }
        }
    }
    Ok((code.size() + 8, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_rfc_6238() {
        // Appendix B, SHA-1, the last six of eight digits.
        let secret = Secret::from(b"12345678901234567890".to_vec()).to_base32();
        assert_eq!(secret, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let totp = totp(&secret).unwrap();
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(totp.check(code, seconds), Some(seconds / 30), "{seconds}");
            assert!(totp.check(code, seconds + 90).is_none());
        }
    }

    #[test]
    fn six_digits_are_a_code_and_a_recovery_code_is_not() {
        for typed in ["123456", "123 456", "123-456"] {
            assert!(looks_like_one(typed), "{typed}");
            assert_eq!(digits(typed), "123456");
        }
        for typed in ["", "12345", "1234567", "12345A", "ABCDE-12345"] {
            assert!(!looks_like_one(typed), "{typed}");
        }
        assert_eq!(step("not base 32!", "123456"), None);
    }

    #[test]
    fn a_code_to_scan_has_its_quiet_zone() {
        let (side, path) =
            qr("otpauth://totp/Furoshiki:hanako?secret=GEZDGNBV&issuer=Furoshiki").unwrap();
        assert!(
            (29..=60).contains(&side) && path.starts_with("M4 4h1v1h-1z"),
            "{side}"
        );
    }
}
