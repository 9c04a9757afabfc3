//! The frame buffer under the splash, and codes as files the theme loads.
//!
//! Source: Linux, Documentation/fb/api.rst and drivers/video/fbdev/core/fbsysfs.c.

use std::{fs, io::Read, path::Path};

use qrcodegen::{QrCode, QrCodeEcc};

const DEVICE: &str = "/dev/fb0";
const ABOUT: &str = "/sys/class/graphics/fb0";
/// Blue, green and red of the theme's background, from 0 to 255: `SetBackgroundTopColor` in furoshiki.script.
const BACKGROUND: [u8; 3] = [32, 64, 32];
/// Rounding of plymouth and of the screen.
const TOLERANCE: u8 = 2;
/// Light modules around a code: ISO/IEC 18004 §6.3.8.
const QUIET: i32 = 4;

/// Whether [`is_drawn`] can tell: a frame buffer of 32 bits, as firmware sets up today.
pub(super) fn is_known() -> bool {
    let depth = fs::read_to_string(Path::new(ABOUT).join("bits_per_pixel"));
    depth.is_ok_and(|depth| depth.trim() == "32")
}

/// Whether the screen's upper left corner has the theme's background: proof that plymouth draws.
pub(super) fn is_drawn() -> bool {
    let mut pixel = [0; 4];
    let corner = fs::File::open(DEVICE).and_then(|mut device| device.read_exact(&mut pixel));
    corner.is_ok() && is_background(pixel)
}

fn is_background(pixel: [u8; 4]) -> bool {
    let mut both = pixel.iter().zip(BACKGROUND);
    both.all(|(have, want)| have.abs_diff(want) <= TOLERANCE)
}

/// Room for a code in pixels: a third of the screen's height, but not what is beside it.
pub(super) fn room() -> Option<u32> {
    // `WIDTH,HEIGHT`
    let size = fs::read_to_string(Path::new(ABOUT).join("virtual_size")).ok()?;
    let (width, height) = size.trim().split_once(',')?;
    let (width, height): (u32, u32) = (width.parse().ok()?, height.parse().ok()?);
    Some((height / 3).min(width / 4))
}

/// The code of `text` as a PNG with sides of up to `room` pixels, or of the least that is readable.
pub(super) fn code(text: &str, room: u32) -> Option<Vec<u8>> {
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    let modules = code.size() + 2 * QUIET;
    let scale = i32::try_from(room).ok()?.checked_div(modules)?.clamp(2, 40);
    let side = modules * scale;
    let mut pixels = Vec::new();
    for y in 0..side {
        pixels.extend((0..side).map(
            |x| match code.get_module(x / scale - QUIET, y / scale - QUIET) {
                true => 0,
                false => u8::MAX,
            },
        ));
    }
    png(u32::try_from(side).ok()?, &pixels)
}

/// A square of grey levels, 8 bits each.
fn png(side: u32, pixels: &[u8]) -> Option<Vec<u8>> {
    let mut image = Vec::new();
    let mut encoder = png::Encoder::new(&mut image, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(pixels).ok()?;
    writer.finish().ok()?;
    Some(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_takes_the_room_there_is() {
        for room in [160_u32, 266, 360, 720] {
            let png = code("FUROSHIKI SITE-DOWN PC-1 0A2FBBC9979F", room).unwrap();
            let side = u32::from_be_bytes(png[16..20].try_into().unwrap());
            assert!(side <= room && side > room / 2, "{side} of {room}");
        }
        assert_eq!(code(&"long".repeat(2000), 800), None);
    }

    #[test]
    fn the_background_is_known_with_some_rounding() {
        assert!(is_background([31, 63, 32, 0]));
        assert!(!is_background([0, 0, 0, 0]));
        assert!(!is_background([255, 255, 255, 0]));
    }

    #[test]
    fn the_theme_has_the_same_background_and_rows() {
        let theme = include_str!(
            "../../../../image-recipes/common/splash/files/usr/share/plymouth/themes/furoshiki/furoshiki.script"
        );
        assert!(theme.contains("SetBackgroundTopColor (0.125, 0.25, 0.125)"));
        let rows: String = super::super::ROW_NAMES.iter().collect();
        assert!(theme.contains(&format!("LINES = \"{rows}\";")));
        assert!(theme.contains(&format!("i < {};", rows.len())));
    }
}
