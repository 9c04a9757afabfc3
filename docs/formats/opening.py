"""Opens sealed objects and records: what the pages keys, chunk, pack and record say.

Needs Debian's python3-cryptography and python3-zstandard.
"""
import hmac
import struct
from types import SimpleNamespace

import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import blake3

MIB = 1 << 20
FRAME = 4 * MIB


class Refused(Exception):
    """What is wrong with the bytes."""


def rule(kept, what):
    if not kept:
        raise Refused(what)


class Fields:
    """Reads field after field. Nothing is used before it is known to be there."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def left(self):
        return len(self.data) - self.at

    def take(self, size, what):
        rule(size <= self.left(), f"{what}: cut short")
        self.at += size
        return bytes(self.data[self.at - size : self.at])

    def number(self, form, what):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form), what))[0]

    def varint(self, limit, what):
        value = 0
        for shift in range(0, 70, 7):
            byte = self.number("B", what)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                rule(byte or not shift, f"{what}: not the shortest form")
                rule(value <= limit, f"{what}: {value} is more than {limit}")
                return value
        raise Refused(f"{what}: more than ten bytes")

    def zigzag(self, what):
        value = self.varint((1 << 64) - 1, what)
        return value >> 1 ^ -(value & 1)

    def count(self, limit, each, what):
        """A varint that counts things of at least `each` bytes."""
        value = self.varint(limit, what)
        rule(value * each <= self.left(), f"{what}: cut short")
        return value

    def text(self, limit, what):
        return self.take(self.varint(limit, what), what)

    def head(self, magic, known=0):
        """Gives the incompatible features, which must be among those known."""
        rule(self.take(4, "magic") == magic, "magic: not this kind of object")
        rule(self.number("H", "version") == 1, "version: use a newer program")
        features = self.number("H", "features")
        rule(not features & ~known, "incompatible features: use a newer program")
        self.take(4, "read-only and compatible features")
        return features

    def end(self, what):
        rule(not self.left(), f"{what}: bytes left over")

    def padding(self):
        rule(not any(self.take(self.left(), "padding")), "padding: not zero")


def unzstd(stored, size, what):
    """One zstd frame of exactly `size` bytes; never makes more."""
    try:
        rule(zstandard.frame_content_size(stored) in (size, -1), f"{what}: another length")
        plain = zstandard.ZstdDecompressor().decompress(stored, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Refused(f"{what}: not one zstd frame") from error
    rule(len(plain) == size, f"{what}: another length")
    return plain


# keys.md

def extract(salt, key):
    """HKDF-Extract of RFC 5869 with SHA-256."""
    return hmac.digest(salt, key, "sha256")


def expand(prk, info):
    """HKDF-Expand of RFC 5869 with SHA-256, the first 32 bytes."""
    return hmac.digest(prk, info + b"\1", "sha256")


class Keys:
    NAMES = ("chunk id", "chunker", "pack", "manifest", "record")

    def __init__(self, user, epoch, keys):
        self.user, self.epoch, self.earlier = user, epoch, []
        self.chunk_id, chunker, self.pack, self.manifest, seed = keys
        self.signer = Ed25519PrivateKey.from_private_bytes(seed)
        self.gear = struct.unpack("<256Q", blake3.digest(b"furoshiki gear table v1", chunker, 2048))

    @classmethod
    def derive(cls, user_key, user, epoch):
        prk, context = extract(b"furoshiki user key v1", user_key), b"\0" + user + struct.pack("<I", epoch)
        return cls(user, epoch, [expand(prk, name.encode() + context) for name in cls.NAMES])

    @classmethod
    def parse(cls, data):
        def one():
            epoch = fields.number("I", "epoch")
            return cls(user, epoch, [fields.take(32, name) for name in cls.NAMES])

        fields = Fields(data)
        mixed, user = fields.head(b"FKKY", 1), fields.take(16, "user id")
        keys = one()
        while mixed and (fields.left() or not keys.earlier):
            keys.earlier.append(one())
            epochs = [read.epoch for read in [keys, *keys.earlier]]
            rule(epochs[-1] < epochs[-2], "set of keys: an epoch is not earlier than the one before")
        fields.end("set of keys")
        return keys

    def of(self, epoch, earlier=False):
        """The keys of an epoch, perhaps with those of all earlier ones."""
        every = [self, *self.earlier]
        for keys in every:
            if keys.epoch == epoch:
                if earlier:
                    keys.earlier = [read for read in every if read.epoch < epoch]
                return keys
        raise Refused(f"epoch: sealed in {epoch}, these keys are of {self.epoch}")

    def name_of(self, chunk):
        return blake3.digest(chunk, self.chunk_id)[:16]

    def public(self):
        return self.signer.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def open_chain(data, user_key):
    """The keys of the chain's epoch, with those of all earlier ones."""
    fields = Fields(data)
    fields.head(b"FKCH")
    user, epoch, links = fields.take(16, "user id"), fields.number("I", "epoch"), []
    while fields.left() or not links:
        links.append((fields.take(32, "record key"), fields.take(48, "sealed user key")))
    rule(len(links) <= 64, "key chain: more than 64 links")
    rule(epoch > len(links), "key chain: epochs begin at 1")
    keys = Keys.derive(user_key, user, epoch)
    for later, (public, sealed) in zip(range(epoch, 0, -1), links):
        context = user + struct.pack("<I", later)
        link = expand(extract(b"furoshiki user key v1", user_key), b"chain\0" + context)
        try:
            user_key = AESGCM(link).decrypt(bytes(12), sealed, b"furoshiki key chain v1" + context + public)
        except InvalidTag as error:
            raise Refused(f"key chain: epoch {later - 1} does not open") from error
        keys.earlier.append(Keys.derive(user_key, user, later - 1))
        rule(keys.earlier[-1].public() == public, f"key chain: epoch {later - 1} has another record key")
    return keys


# chunk.md

def cuts(keys, data, pages):
    """Lengths of the chunks of a run."""
    lengths, at = [], 0
    while at < len(data):
        rest = len(data) - at
        if pages:
            length = min(4096, rest)
        else:
            length = rest if rest <= 32768 else content_cut(keys.gear, memoryview(data)[at : at + 131072])
        lengths.append(length)
        at += length
    return lengths


def content_cut(gear, data):
    value = 0
    for i in range(16384, len(data)):
        value = ((value << 1) + gear[data[i]]) & 0xFFFFFFFFFFFFFFFF
        if not value & (0x0000D9030353F000 if i < 32768 else 0x0000D90303530000):
            return i + 1
    return len(data)


# pack.md

class Sealed:
    """Head, epoch, salt and commitment; then parts."""

    def __init__(self, data, magic, keys, purpose):
        fields = Fields(data)
        fields.head(magic)
        sealed = fields.number("I", "epoch")
        salt, commitment = fields.take(32, "salt"), fields.take(32, "key commitment")
        self.keys = keys.of(sealed)
        prk = extract(salt, getattr(self.keys, purpose))
        rule(expand(prk, b"furoshiki seal v1 commitment") == commitment, "key commitment: another key")
        self.aead, self.header = AESGCM(expand(prk, b"furoshiki seal v1 key")), bytes(data[:80])

    def part(self, nonce, context, sealed, what):
        try:
            return self.aead.decrypt(nonce, bytes(sealed), self.header + context)
        except (InvalidTag, ValueError) as error:
            raise Refused(f"{what}: altered") from error

    def frame(self, number, codec, sealed):
        return self.part(struct.pack(">QI", 0, number), struct.pack("<IBB", number, codec, 0), sealed, f"frame {number}")

    def last(self, sealed, what):
        return self.part(b"\xff" * 12, b"\xff\xff\xff\xff\0\1", sealed, what)


class Pack:
    def __init__(self, keys, data):
        rule(len(data) <= 64 * MIB, "pack: longer than 64 MiB")
        self.data, self.sealed = data, Sealed(data, b"FKPK", keys, "pack")
        self.keys = self.sealed.keys
        outer = Fields(data)
        outer.take(80, "header")
        outer.take(max(0, outer.left() - 4), "frames")
        start = len(data) - 4 - outer.number("I", "length of the table")
        rule(start >= 80, "length of the table: more than there is")
        table = Fields(self.sealed.last(data[start : len(data) - 4], "table"))
        self.frames, at = [], 80
        for number in range(table.count(4096, 4, "number of frames")):
            codec = table.number("B", "codec")
            rule(codec in (0, 1), f"codec: {codec} is not known")
            sealed = table.varint(FRAME + 16, "sealed length of a frame")
            plain = table.varint(FRAME, "plain length of a frame")
            chunks, filled = [], 0
            for _ in range(table.count(4096, 17, "number of chunks")):
                name, size = table.take(16, "chunk id"), table.varint(FRAME, "length of a chunk")
                rule(size, "length of a chunk: empty")
                chunks.append((name, filled, size))
                filled += size
            rule(filled == plain, "chunks: they do not fill their frame")
            self.frames.append(SimpleNamespace(codec=codec, at=at, sealed=sealed, plain=plain, chunks=chunks))
            at += sealed
        rule(at == start, "frames: they do not reach the table")
        table.padding()

    def frame(self, number):
        """The plain bytes of a frame, every chunk of it checked."""
        rule(number < len(self.frames), f"frame {number}: there are {len(self.frames)}")
        frame = self.frames[number]
        plain = self.sealed.frame(number, frame.codec, self.data[frame.at : frame.at + frame.sealed])
        if frame.codec:
            plain = unzstd(plain, frame.plain, f"frame {number}")
        rule(len(plain) == frame.plain, f"frame {number}: another length")
        for name, at, size in frame.chunks:
            rule(self.keys.name_of(plain[at : at + size]) == name, f"frame {number}: a chunk has another name")
        return plain


# record.md

def open_record(data, public_key=None):
    """The record; with a public key its signature is verified."""
    fields, record = Fields(data), SimpleNamespace(id=blake3.digest(data))
    mixed = fields.head(b"FKRC", 1)
    record.user, record.epoch = fields.take(16, "user id"), fields.number("I", "epoch")
    record.oldest = fields.number("I", "earliest epoch") if mixed else record.epoch
    rule(not mixed or record.oldest < record.epoch, "earliest epoch: not before the record's own")
    record.seq, flag = fields.number("Q", "sequence number"), fields.number("B", "previous record")
    rule(flag in (0, 1), "previous record: neither 0 nor 1")
    record.previous = fields.take(32, "previous record") if flag else None
    record.baseline = fields.take(32, "baseline")
    record.build_timestamp, record.created = fields.number("q", "build timestamp"), fields.number("q", "time")
    try:
        record.pc = fields.text(64, "name of the PC").decode()
    except UnicodeDecodeError as error:
        raise Refused("name of the PC: not UTF-8") from error
    lists = [[(fields.take(32, what), fields.number("Q", what)) for _ in range(fields.count(limit, 40, what))]
             for what, limit in (("manifests", 17), ("packs", 65536))]
    record.manifests, record.packs = lists
    signed, signature = data[: fields.at], fields.take(64, "signature")
    fields.end("signature")
    rule(not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in record.pc), "name of the PC: a control character")
    rule(record.seq > 0, "sequence number: it begins at 1")
    rule((record.seq == 1) == (record.previous is None), "previous record: the first alone has none")
    rule(record.manifests, "manifests: none")
    rule(len({name for name, _ in sum(lists, [])}) == len(sum(lists, [])), "objects: one is listed twice")
    if public_key:
        try:
            public_key.verify(signature, b"furoshiki record v1\0" + signed)
        except InvalidSignature as error:
            raise Refused("signature: altered, or another user's") from error
    return record
