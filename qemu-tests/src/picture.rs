//! What a PC's screen shows, as a picture.

use anyhow::{Context, Result, ensure};

/// A picture QEMU took (`screendump`, PPM). Source: ppm(5), P6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    pixels: Vec<[u8; 3]>,
}

/// Red, green and blue of the splash: `SetBackgroundTopColor` in furoshiki.script.
const SPLASH: [u8; 3] = [32, 64, 32];
/// Rounding of plymouth and of the screen.
const TOLERANCE: u8 = 2;
/// Rows of text of the splash.
const ROWS: usize = 22;

/// One character as it is drawn: its pixels, row by row.
pub type Cell = Vec<[u8; 3]>;

impl Picture {
    /// # Errors
    /// Not a whole PPM.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut rest = bytes.strip_prefix(b"P6").context("not a PPM")?;
        let mut numbers = [0_usize; 3];
        for number in &mut numbers {
            let start = rest.iter().position(u8::is_ascii_digit).context("torn")?;
            rest = rest.get(start..).context("torn")?;
            let end = rest
                .iter()
                .position(u8::is_ascii_whitespace)
                .context("torn")?;
            let (digits, after) = rest.split_at(end);
            *number = std::str::from_utf8(digits)?.parse()?;
            rest = after;
        }
        let [width, height, depth] = numbers;
        ensure!(depth == 255, "{depth} levels");
        let (pixels, _) = rest.get(1..).context("torn")?.as_chunks::<3>();
        ensure!(pixels.len() == width * height, "a torn picture");
        Ok(Self {
            width,
            height,
            pixels: pixels.to_vec(),
        })
    }

    fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let inside = x < self.width && y < self.height;
        let pixel = inside.then(|| self.pixels.get(y * self.width + x));
        pixel.flatten().copied().unwrap_or_default()
    }

    /// Whether all four corners have the colour of the splash.
    #[must_use]
    pub fn is_splash(&self) -> bool {
        let (right, bottom) = (self.width - 1, self.height - 1);
        let corners = [(0, 0), (right, 0), (0, bottom), (right, bottom)];
        corners
            .iter()
            .all(|(x, y)| is_background(self.pixel(*x, *y)))
    }

    /// The rows of the splash as characters of full width, such as kana and kanji, up to the first that is empty. The
    /// places are those of furoshiki.script.
    #[must_use]
    pub fn full_width_rows(&self) -> Vec<Vec<Cell>> {
        let size = (self.width / 50).min(self.height / 32).max(8);
        let line_height = size * 14 / 10;
        let (left, top) = (self.width / 16, line_height / 2);
        let cell = |row: usize, column: usize| -> Cell {
            let (x, y) = (left + column * size, top + row * line_height);
            let lines = y..y + line_height;
            lines
                .flat_map(|y| (x..x + size).map(move |x| (x, y)))
                .map(|(x, y)| self.pixel(x, y))
                .collect()
        };
        let is_empty = |cell: &Cell| cell.iter().copied().all(is_background);
        let row = |row| {
            let cells = (0..).map(|column| cell(row, column));
            cells.take(80).take_while(|cell| !is_empty(cell)).collect()
        };
        (0..ROWS).map(row).collect()
    }
}

fn is_background(pixel: [u8; 3]) -> bool {
    let mut both = pixel.iter().zip(SPLASH);
    both.all(|(have, want)| have.abs_diff(want) <= TOLERANCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_read_whole_or_not_at_all() {
        let mut bytes = b"P6\n2 1\n255\n".to_vec();
        bytes.extend([32, 64, 32, 31, 64, 33]);
        let picture = Picture::parse(&bytes).unwrap();
        assert_eq!((picture.width, picture.height), (2, 1));
        assert!(picture.is_splash());
        for length in 0..bytes.len() {
            assert!(Picture::parse(&bytes[..length]).is_err(), "{length}");
        }
    }
}
