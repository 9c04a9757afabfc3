//! An image index and bytes that are already here → a slot that holds the image.
//!
//! Every chunk is taken from where it costs least: it is in its place, another slot has it, or the site sends it,
//! packed with what this disk has. The hash tree is made here; its root must be the signed one.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::mpsc::sync_channel,
    thread,
};

use site_api::MAX_CHUNKS;
use snapshot::{
    baseline::Image,
    delta,
    id::Digest,
    image_index::{ImageChunk, ImageIndex, MAX_CHUNK_BYTES},
    verity::Tree,
};

use super::{RestoreError, io as io_error};
use crate::screen::Progress;

/// A slot that begins with so many zeroes holds nothing.
const HEAD_BYTES: usize = 1 << 20;

/// An image on this disk that the new one may resemble.
#[derive(Debug)]
pub(super) struct Seed {
    /// Its slot.
    pub(super) device: File,
    /// What it consists of.
    pub(super) index: ImageIndex,
}

/// Where the bytes of the image came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Filled {
    /// Were in their place.
    pub(crate) kept_bytes: u64,
    /// Were somewhere else on this disk.
    pub(crate) copied_bytes: u64,
    /// Came from the site.
    pub(crate) fetched_bytes: u64,
    /// The same, as they travelled.
    pub(crate) received_bytes: u64,
    /// Written, with the hash tree.
    pub(crate) written_bytes: u64,
}

/// What goes wrong in here, without the name of the device.
#[derive(Debug)]
pub(super) enum FillError<E> {
    /// Reading or writing a slot.
    Io(io::Error),
    /// The site did not send it.
    Fetch(E),
    /// The site sent something else.
    Altered(&'static str),
}

impl<E> From<io::Error> for FillError<E> {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A request: chunks of the image, and what is here to pack them with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) want: Vec<ImageChunk>,
    pub(crate) have: Vec<ImageChunk>,
}

/// A frame that arrived, with the length it travelled in.
pub(crate) struct Frame {
    /// The wanted chunks, one after another.
    pub(crate) content: Vec<u8>,
    /// Bytes received.
    pub(crate) received_bytes: u64,
}

/// Asks the site for wanted chunks of so many bytes together, with names and bytes of a dictionary.
pub(super) type Fetch<'a, E> =
    dyn FnMut(&[Digest], usize, &[Digest], &[u8]) -> Result<Frame, E> + Send + 'a;

/// Makes `target` hold the image.
pub(super) fn fill<E: Send>(
    image: &Image,
    index: &ImageIndex,
    target: &File,
    seeds: &[Seed],
    fetch: &mut Fetch<'_, E>,
    progress: &mut Progress,
) -> Result<Filled, FillError<E>> {
    let mut filled = Filled::default();
    let wanted = keep_and_copy(index, target, seeds, &mut filled, progress)?;
    let mut places: HashMap<Digest, Vec<u64>> = HashMap::new();
    for chunk in &wanted {
        places.entry(chunk.digest).or_default().push(chunk.offset);
    }
    let seed = seeds.first();
    let requests = requests(index, &wanted, seed.map(|seed| &seed.index));
    thread::scope(|scope| {
        // One frame is on its way while the one before is checked and written.
        let (sender, frames) = sync_channel(1);
        scope.spawn(move || {
            for request in requests {
                let frame = one(&request, seed, fetch);
                let failed = frame.is_err();
                // The writer is gone when writing failed.
                if sender.send((request.want, frame)).is_err() || failed {
                    return;
                }
            }
        });
        for (want, frame) in frames {
            let frame = frame?;
            filled.received_bytes += frame.received_bytes;
            let mut rest = frame.content.as_slice();
            for chunk in want {
                let Some((data, after)) = rest.split_at_checked(chunk.bytes) else {
                    return Err(FillError::Altered("a frame of chunks is too short"));
                };
                rest = after;
                if Digest::of(data) != chunk.digest {
                    return Err(FillError::Altered("a chunk does not have its digest"));
                }
                for place in places.get(&chunk.digest).into_iter().flatten() {
                    target.write_all_at(data, *place)?;
                    filled.fetched_bytes += data.len() as u64;
                    filled.written_bytes += data.len() as u64;
                    progress.add(data.len() as u64);
                }
            }
        }
        Ok(())
    })?;
    filled.written_bytes += write_tree(image, index, target)?;
    target.sync_data()?;
    Ok(filled)
}

/// Chunks that are neither in their place nor in a seed, in order; the others are in their place afterwards.
fn keep_and_copy(
    index: &ImageIndex,
    target: &File,
    seeds: &[Seed],
    filled: &mut Filled,
    progress: &mut Progress,
) -> io::Result<Vec<ImageChunk>> {
    let mut elsewhere: HashMap<Digest, (&File, u64)> = HashMap::new();
    for seed in seeds {
        for chunk in seed.index.chunks() {
            let place = (&seed.device, chunk.offset);
            elsewhere.entry(chunk.digest).or_insert(place);
        }
    }
    let mut buffer = vec![0; HEAD_BYTES.max(MAX_CHUNK_BYTES)];
    let head = buffer.get_mut(..HEAD_BYTES).unwrap_or_default();
    // A slot may be shorter than its head; then it holds nothing either.
    let empty = target.read_exact_at(head, 0).is_err() || head.iter().all(|byte| *byte == 0);
    let mut wanted = Vec::new();
    for chunk in index.chunks() {
        let data = buffer.get_mut(..chunk.bytes).unwrap_or_default();
        let bytes = chunk.bytes as u64;
        if !empty && holds(target, chunk.offset, chunk, data) {
            filled.kept_bytes += bytes;
        } else if let Some((file, offset)) = elsewhere.get(&chunk.digest)
            && holds(file, *offset, chunk, data)
        {
            target.write_all_at(data, chunk.offset)?;
            filled.copied_bytes += bytes;
            filled.written_bytes += bytes;
        } else {
            wanted.push(*chunk);
            continue;
        }
        progress.add(bytes);
    }
    Ok(wanted)
}

/// Whether a file has the chunk at `offset`; `data` is the chunk then. What does not read is not there.
fn holds(file: &File, offset: u64, chunk: &ImageChunk, data: &mut [u8]) -> bool {
    file.read_exact_at(data, offset).is_ok() && Digest::of(data) == chunk.digest
}

/// Groups wanted chunks, each once, in the order of the image, with what the seed has of that part of it that the
/// new image has not: there is what they became of.
pub(crate) fn requests(
    index: &ImageIndex,
    wanted: &[ImageChunk],
    seed: Option<&ImageIndex>,
) -> Vec<Request> {
    let stays = index.digests();
    let mut seen = HashSet::new();
    let gone: Vec<ImageChunk> = seed
        .map_or(&[][..], ImageIndex::chunks)
        .iter()
        .filter(|chunk| !stays.contains(&chunk.digest) && seen.insert(chunk.digest))
        .copied()
        .collect();
    let old_bytes = seed.map_or(0, ImageIndex::data_bytes);
    let new_bytes = index.data_bytes().max(1);
    let mut seen = HashSet::new();
    let once = wanted.iter().filter(|chunk| seen.insert(chunk.digest));
    let mut requests: Vec<Request> = Vec::new();
    let mut bytes = 0;
    for chunk in once {
        match requests.last_mut() {
            Some(last)
                if last.want.len() < MAX_CHUNKS && bytes + chunk.bytes <= delta::MAX_BYTES =>
            {
                bytes += chunk.bytes;
                last.want.push(*chunk);
            }
            _ => {
                bytes = chunk.bytes;
                requests.push(Request {
                    want: vec![*chunk],
                    have: Vec::new(),
                });
            }
        }
    }
    for request in &mut requests {
        let first = request.want.first().map_or(0, |chunk| chunk.offset);
        let last = request.want.last().map_or(0, |chunk| chunk.offset);
        let middle = u128::from(first / 2 + last / 2) * u128::from(old_bytes);
        let middle = u64::try_from(middle / u128::from(new_bytes)).unwrap_or(old_bytes);
        request.have = around(&gone, middle);
    }
    requests
}

/// As many chunks around a place as a dictionary holds, in order.
fn around(gone: &[ImageChunk], place: u64) -> Vec<ImageChunk> {
    let mut high = gone.partition_point(|chunk| chunk.offset < place);
    let mut low = high;
    let mut bytes = 0;
    loop {
        let below = low.checked_sub(1).and_then(|n| gone.get(n));
        let above = gone.get(high);
        let from = |chunk: &ImageChunk| chunk.offset.abs_diff(place);
        let next = match (below, above) {
            (Some(below), Some(above)) if from(below) < from(above) => Some((below, true)),
            (_, Some(above)) => Some((above, false)),
            (Some(below), None) => Some((below, true)),
            (None, None) => None,
        };
        let Some((chunk, is_below)) = next else { break };
        bytes += chunk.bytes;
        if bytes > delta::MAX_BYTES || high - low == MAX_CHUNKS {
            break;
        }
        if is_below {
            low -= 1;
        } else {
            high += 1;
        }
    }
    gone.get(low..high).unwrap_or_default().to_vec()
}

/// One request with its dictionary read from the seed.
fn one<E>(
    request: &Request,
    seed: Option<&Seed>,
    fetch: &mut Fetch<'_, E>,
) -> Result<Frame, FillError<E>> {
    let mut have = Vec::new();
    let mut had = Vec::new();
    let mut buffer = vec![0; MAX_CHUNK_BYTES];
    for (seed, chunk) in seed
        .into_iter()
        .flat_map(|seed| request.have.iter().map(move |chunk| (seed, chunk)))
    {
        let data = buffer.get_mut(..chunk.bytes).unwrap_or_default();
        // An altered place of the seed is not in the dictionary.
        if holds(&seed.device, chunk.offset, chunk, data) {
            have.push(chunk.digest);
            had.extend_from_slice(data);
        }
    }
    let want: Vec<Digest> = request.want.iter().map(|chunk| chunk.digest).collect();
    let bytes = request.want.iter().map(|chunk| chunk.bytes).sum();
    fetch(&want, bytes, &have, &had).map_err(FillError::Fetch)
}

/// Makes the hash tree of what is in `target` and writes it behind, where it differs.
fn write_tree<E>(image: &Image, index: &ImageIndex, target: &File) -> Result<u64, FillError<E>> {
    let mut tree = Tree::new(image.salt);
    let mut buffer = vec![0; MAX_CHUNK_BYTES];
    for chunk in index.chunks() {
        let data = buffer.get_mut(..chunk.bytes).unwrap_or_default();
        target.read_exact_at(data, chunk.offset)?;
        tree.blocks(data);
    }
    let (tree, root) = tree.finish();
    if root != image.root_hash || image.data_bytes + tree.len() as u64 != image.bytes {
        return Err(FillError::Altered(
            "the chunks of the index do not come to the signed root hash",
        ));
    }
    let mut there = vec![0; tree.len()];
    if target.read_exact_at(&mut there, image.data_bytes).is_ok() && there == tree {
        return Ok(0);
    }
    target.write_all_at(&tree, image.data_bytes)?;
    Ok(tree.len() as u64)
}

impl FillError<RestoreError> {
    /// With the device and what the site was asked for.
    pub(super) fn at(
        self,
        device: &Path,
        altered: impl FnOnce(&'static str) -> RestoreError,
    ) -> RestoreError {
        match self {
            Self::Io(source) => io_error("write the baseline to", device)(source),
            Self::Fetch(error) => error,
            Self::Altered(what) => altered(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use snapshot::{
        baseline::{BLOCK_BYTES, BootFile},
        id::VeritySalt,
        image_index::Cutter,
    };

    use super::*;
    use crate::{
        events::Events,
        screen::{Label, Language, Screen},
    };

    const BLOCK: usize = 4096;

    fn noise(seed: u64, blocks: usize) -> Vec<u8> {
        let mut out = vec![0; blocks * BLOCK];
        blake3::Hasher::new()
            .update(&seed.to_le_bytes())
            .finalize_xof()
            .fill(&mut out);
        out
    }

    fn index_of(data: &[u8]) -> ImageIndex {
        let mut cutter = Cutter::default();
        data.chunks(BLOCK).for_each(|block| cutter.block(block));
        cutter.finish()
    }

    /// What a manifest says of this data, and the image with its tree.
    fn image_of(data: &[u8]) -> (Image, Vec<u8>) {
        let salt = VeritySalt::new([7; 32]);
        let mut tree = Tree::new(salt);
        tree.blocks(data);
        let (tree, root_hash) = tree.finish();
        let whole = [data, tree.as_slice()].concat();
        let digest = Digest::of(&whole);
        let image = Image {
            file: "baseline.img".into(),
            bytes: whole.len() as u64,
            blake3: digest,
            data_bytes: data.len() as u64,
            root_hash,
            salt,
            block_bytes: BLOCK_BYTES,
            index: BootFile {
                file: "baseline.index".into(),
                bytes: 0,
                blake3: digest,
            },
        };
        (image, whole)
    }

    fn slot(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 << 20).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file
    }

    /// A site that has `data`; every frame it sends goes through `spoil`.
    fn site<'a>(
        data: &'a [u8],
        index: &'a ImageIndex,
        spoil: impl Fn(&mut Vec<u8>) + Send + 'a,
    ) -> impl FnMut(&[Digest], usize, &[Digest], &[u8]) -> Result<Frame, String> + Send + 'a {
        move |want, bytes, have, had| {
            assert!(want.len() <= MAX_CHUNKS && have.len() <= MAX_CHUNKS);
            let chunk = |digest: &Digest| {
                let chunk = index.chunks().iter().find(|c| c.digest == *digest).unwrap();
                let at = usize::try_from(chunk.offset).unwrap();
                data[at..at + chunk.bytes].to_vec()
            };
            let content: Vec<u8> = want.iter().flat_map(chunk).collect();
            assert_eq!(content.len(), bytes);
            let frame = delta::pack(&content, had).unwrap();
            let mut content = delta::unpack(&frame, had, bytes).unwrap();
            spoil(&mut content);
            Ok(Frame {
                content,
                received_bytes: frame.len() as u64,
            })
        }
    }

    fn run(
        (image, index): (&Image, &ImageIndex),
        target: &File,
        seeds: &[Seed],
        fetch: &mut Fetch<'_, String>,
    ) -> Result<Filled, FillError<String>> {
        let screen = Screen::blind(Events::to(Path::new("/dev/null")), Language::English);
        let mut progress = screen.progress(Label::Restore, image.data_bytes);
        fill(image, index, target, seeds, fetch, &mut progress)
    }

    fn content(file: &File, bytes: usize) -> Vec<u8> {
        let mut out = vec![0; bytes];
        file.read_exact_at(&mut out, 0).unwrap();
        out
    }

    #[test]
    fn the_next_image_costs_what_changed_and_a_repair_costs_a_chunk() {
        let old = noise(1, 600);
        let mut new = old.clone();
        new[200 * BLOCK + 17] ^= 1;
        new.splice(400 * BLOCK..400 * BLOCK, noise(2, 1));
        let index = index_of(&new);
        let (image, whole) = image_of(&new);
        let seeds = [Seed {
            device: slot(&old),
            index: index_of(&old),
        }];
        let target = slot(&[]);
        let fetch = &mut site(&new, &index, |_| ());
        let filled = run((&image, &index), &target, &seeds, fetch).unwrap();
        assert_eq!(content(&target, whole.len()), whole);
        assert_eq!(filled.copied_bytes + filled.fetched_bytes, image.data_bytes);
        assert_eq!(filled.kept_bytes, 0);
        assert!(filled.received_bytes < 8192, "{filled:?}");
        // Again: nothing to do.
        let filled = run((&image, &index), &target, &[], fetch).unwrap();
        assert_eq!(
            (filled.kept_bytes, filled.written_bytes),
            (image.data_bytes, 0)
        );
        // A flipped bit in the data, another in the tree.
        for at in [300 * BLOCK + 5, new.len() + 77] {
            let mut byte = [0];
            target.read_exact_at(&mut byte, at as u64).unwrap();
            target.write_all_at(&[byte[0] ^ 4], at as u64).unwrap();
        }
        let filled = run((&image, &index), &target, &[], fetch).unwrap();
        assert_eq!(content(&target, whole.len()), whole);
        assert!(filled.fetched_bytes <= 32 * BLOCK_BYTES, "{filled:?}");
    }

    #[test]
    fn what_the_site_alters_is_not_written() {
        let new = noise(3, 100);
        let index = index_of(&new);
        let (image, _) = image_of(&new);
        let target = slot(&[]);
        let fetch = &mut site(&new, &index, |content| {
            let last = content.len() - 1;
            content[last] ^= 1;
        });
        let error = run((&image, &index), &target, &[], fetch).unwrap_err();
        assert!(matches!(error, FillError::Altered(_)), "{error:?}");
        let fetch = &mut site(&new, &index, |content| content.truncate(BLOCK));
        let error = run((&image, &index), &target, &[], fetch).unwrap_err();
        assert!(matches!(error, FillError::Altered(_)), "{error:?}");
        let end = usize::try_from(image.data_bytes).unwrap();
        assert_ne!(content(&target, end), new);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn prop_any_slot_and_any_seed_become_the_image(
            seed: u64,
            blocks in 1_usize..80,
            there in 0_usize..80,
            flips in prop::collection::vec(0_usize..80 * BLOCK, 0..5),
            seed_is_altered: bool,
        ) {
            let new = noise(seed, blocks);
            let index = index_of(&new);
            let (image, whole) = image_of(&new);
            // The slot holds a part of it, with flipped bits: as a power cut or a bad disk leaves it.
            let mut part = whole[..whole.len().min(there * BLOCK)].to_vec();
            for at in &flips {
                if let Some(byte) = part.get_mut(*at) {
                    *byte ^= 1;
                }
            }
            let mut old = noise(seed, blocks / 2);
            let seed_index = index_of(&old);
            if seed_is_altered {
                old.iter_mut().step_by(BLOCK).for_each(|byte| *byte ^= 1);
            }
            let seeds = [Seed { device: slot(&old), index: seed_index }];
            let target = slot(&part);
            let fetch = &mut site(&new, &index, |_| ());
            let filled = run((&image, &index), &target, &seeds, fetch).unwrap();
            prop_assert_eq!(content(&target, whole.len()), whole);
            let all = filled.kept_bytes + filled.copied_bytes + filled.fetched_bytes;
            prop_assert_eq!(all, image.data_bytes);
        }

        #[test]
        fn prop_a_dictionary_is_bounded_and_near(place in 0_u64..1 << 30, blocks in 0_usize..5000) {
            let gone: Vec<ImageChunk> = (0..blocks)
                .map(|n| ImageChunk { offset: n as u64 * 16 * BLOCK_BYTES, bytes: 16 * BLOCK, digest: Digest::new([0; 32]) })
                .collect();
            let have = around(&gone, place);
            prop_assert!(have.len() <= MAX_CHUNKS);
            prop_assert!(have.iter().map(|chunk| chunk.bytes).sum::<usize>() <= delta::MAX_BYTES);
            prop_assert_eq!(have.is_empty(), blocks == 0);
        }
    }
}
