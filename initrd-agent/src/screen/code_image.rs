//! The code of an error as a QR code, for the telephone of whoever helps: drawn in half blocks, which every font of
//! the kernel's screens has.

use qrcodegen::{QrCode, QrCodeEcc};

/// Light modules around the code. ISO/IEC 18004 asks for four; two keep it on a screen of 25 lines, and readers
/// of today need no more.
const QUIET: i32 = 2;

/// The lines of the code for `text`; light modules are drawn, dark ones are the screen's background. Digits, capital
/// letters, space and `$%*+-./:` take least room. `None` when it does not fit into `columns` and `rows`.
pub(super) fn lines(text: &str, columns: usize, rows: usize) -> Option<Vec<String>> {
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    let (first, end) = (-QUIET, code.size() + QUIET);
    let light = |x: i32, y: i32| y < end && !code.get_module(x, y);
    let lines: Vec<String> = (first..end)
        .step_by(2)
        .map(|y| {
            (first..end)
                .map(|x| match (light(x, y), light(x, y + 1)) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                })
                .collect()
        })
        .collect();
    let wide = usize::try_from(end - first).ok()?;
    (wide <= columns && lines.len() <= rows).then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_code_fits_beside_its_four_lines_on_a_small_screen() {
        let text = "FUROSHIKI RESTORE-ALTERED-BASELINE PC-525400667501 0A2FBBC9979F";
        let lines = lines(text, 80, 19).unwrap();
        let width = lines[0].chars().count();
        assert!(width <= 37 && lines.iter().all(|line| line.chars().count() == width));
        assert!(lines[0].chars().all(|c| c == '█'), "quiet zone");
    }

    #[test]
    fn what_does_not_fit_is_not_drawn() {
        assert_eq!(lines("SITE-DOWN", 20, 19), None);
        assert_eq!(lines("SITE-DOWN", 80, 9), None);
        assert_eq!(lines(&"long".repeat(2000), 8000, 8000), None);
    }
}
