//! Numbers and words out of a seed.

use blake3::OutputReader;

/// A stream of bytes named by seed and purpose.
pub(super) struct Rng(OutputReader);

impl Rng {
    pub(super) fn new(seed: u64, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("furoshiki tree fixture v1");
        hasher
            .update(&seed.to_le_bytes())
            .update(purpose.as_bytes());
        Self(hasher.finalize_xof())
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    pub(super) fn bytes(&mut self, count: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(usize::MAX)];
        self.fill(&mut bytes);
        bytes
    }

    pub(super) fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Below `limit`, which is not zero. The bias of a remainder does not matter to a fixture.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit.max(1)
    }

    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True `percent` times in a hundred.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    #[expect(clippy::cast_precision_loss, reason = "53 bits are all a fraction has")]
    fn fraction(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(usize::try_from(self.below(from.len() as u64)).unwrap_or(0))
    }

    /// Sizes of files are log-normal: many small, few large.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "clamped to its limits"
    )]
    pub(super) fn size(&mut self, median: u64, sigma: f64, low: u64, high: u64) -> u64 {
        // Irwin–Hall: twelve uniform numbers make a normal one.
        let normal: f64 = (0..12).map(|_| self.fraction()).sum::<f64>() - 6.0;
        ((median as f64 * (normal * sigma).exp()) as u64).clamp(low, high)
    }
}

/// Words with the frequencies of a language: compresses about three times, as mail text does.
pub(super) struct Text {
    words: Vec<String>,
    /// Running sum of Zipf weights, scaled to whole numbers.
    sums: Vec<u64>,
}

impl Text {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed, "words");
        let heads = "b c d f g h j k l m n p r s t v w z sh ch th st tr pr kl";
        let tails = "a e i o u ai ou en er in";
        let syllables: Vec<String> = heads
            .split(' ')
            .flat_map(|a| tails.split(' ').map(move |b| format!("{a}{b}")))
            .collect();
        let mut words = std::collections::BTreeSet::new();
        while words.len() < 12_000 {
            let count = *rng.pick(&[1, 1, 2, 2, 2, 3, 3, 4]).unwrap_or(&2);
            words.insert(
                (0..count)
                    .filter_map(|_| rng.pick(&syllables).cloned())
                    .collect::<String>(),
            );
        }
        let mut words: Vec<String> = words.into_iter().collect();
        for at in (1..words.len()).rev() {
            words.swap(at, usize::try_from(rng.below(at as u64 + 1)).unwrap_or(0));
        }
        let sums = (0..words.len() as u64)
            .scan(0, |sum, rank| {
                *sum += 1_000_000_000 / (10 * rank + 27);
                Some(*sum)
            })
            .collect();
        Self { words, sums }
    }

    pub(super) fn word(&self, rng: &mut Rng) -> &str {
        let at = rng.below(self.sums.last().copied().unwrap_or(1));
        let index = self.sums.partition_point(|sum| *sum <= at);
        self.nth(index as u64)
    }

    pub(super) fn nth(&self, index: u64) -> &str {
        let index = usize::try_from(index).unwrap_or(0) % self.words.len();
        self.words.get(index).map_or("", String::as_str)
    }

    pub(super) fn words(&self, rng: &mut Rng, count: u64, between: &str) -> String {
        (0..count)
            .map(|_| self.word(rng))
            .collect::<Vec<_>>()
            .join(between)
    }

    /// Lines of at most 72 letters.
    pub(super) fn paragraph(&self, rng: &mut Rng, count: u64) -> String {
        let mut text = String::new();
        let mut column = 0;
        for _ in 0..count {
            let word = self.word(rng);
            if column + word.len() > 72 {
                text.push('\n');
                column = 0;
            } else if column > 0 {
                text.push(' ');
            }
            text.push_str(word);
            column += word.len() + 1;
        }
        text.push('\n');
        text
    }

    /// Exactly `bytes` bytes of text.
    pub(super) fn bytes(&self, rng: &mut Rng, bytes: u64) -> Vec<u8> {
        let want = usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut text = String::new();
        while text.len() < want {
            text.push_str(&self.paragraph(rng, ((want - text.len()) as u64 / 6).clamp(12, 400)));
            text.push('\n');
        }
        text.truncate(want);
        text.into_bytes()
    }

    pub(super) fn url(&self, rng: &mut Rng) -> String {
        let depth = rng.between(1, 5);
        format!(
            "https://{}.example/{}?id={:x}",
            self.words(rng, 2, "."),
            self.words(rng, depth, "/"),
            rng.number() >> 16
        )
    }
}
