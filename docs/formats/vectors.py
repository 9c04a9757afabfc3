#!/usr/bin/python3
"""Reads golden vectors with the second reader: one line for each, `ok …` or why it is refused.

    vectors.py DIR          where DIR has keys/v1, chunk/v1, pack/v1, manifest/v1, …

What good vectors must say is in the `expected.txt` of each folder. Needs Debian's python3-argon2 beside what the
reader needs.
"""
import json
import struct
import sys
from pathlib import Path

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import blake3
from opening import Fields, Keys, Pack, Refused, cuts, expand, extract, open_chain, open_record, rule
from reader import BARE, FILES, open_manifest

KEYS = Keys.derive(b"\1" * 32, b"\2" * 16, 3)


def keys(data):
    return keys_told(Keys.parse(data))


def chain(data):
    return keys_told(open_chain(data, b"\1" * 32))


def keys_told(read):
    line = f"user {read.user.hex()} epoch {read.epoch} record key {read.public().hex()}"
    line += f" chunk id of tulip {read.name_of(b'tulip').hex()}"
    return line + "".join(f" epoch {one.epoch} record key {one.public().hex()}" for one in read.earlier)


def slot(data):
    fields = Fields(data)
    fields.head(b"FKSL")
    user, number = fields.take(16, "user id"), fields.number("I", "number of the slot")
    card, epoch, kind = fields.take(16, "card id"), fields.number("I", "epoch"), fields.number("B", "kind")
    if kind == 4:
        key = stretched(fields)
    else:
        rule(kind in CARDS, "kind: 1, 2, 3 or 4")
        key = CARDS[kind]
    aad = data[: fields.at]
    enc, sealed = fields.take(key.size, "encapsulated key"), fields.take(48, "sealed user key")
    fields.end("key slot")
    opened = key.open(enc, b"furoshiki key slot v1", aad, sealed).hex()
    names = f"user: UserId({user.hex()}), slot: {number}, card: CardId({card.hex()}), epoch: {epoch}"
    return f"SlotContext {{ {names} }} kind {kind} user key {opened}"


def stretched(fields):
    """The key that a passphrase becomes."""
    memory, passes = fields.number("I", "memory"), fields.number("I", "passes")
    rule(19456 <= memory <= 1 << 20, "memory: 19 MiB to 1 GiB")
    rule(2 <= passes <= 64, "passes: 2 to 64")
    rule(memory * passes <= 8 << 20, "memory times passes: at most 8 GiB")
    salt = fields.take(16, "salt")
    typed = b"correct horse battery staple"
    return X25519(hash_secret_raw(typed, salt, passes, memory, 1, 32, Type.ID))


def settings(data):
    fields = Fields(data)
    fields.head(b"FKST")
    user, part = fields.take(16, "user id"), fields.number("B", "part")
    rule(part in PARTS, "part: 1, 2 or 3")
    version, origin = fields.number("Q", "version"), fields.take(16, "origin")
    count = fields.number("B", "cards")
    rule(1 <= count <= 16, "cards: 1 to 16")
    keys = [wrapped_key(fields) for _ in range(count)]
    sealed = fields.take(fields.left(), "document")
    wrapped = [key for key in keys if key[0] == b"\5" * 16]
    rule(wrapped, "cards: not this one")
    card, key, enc, wrap = wrapped[0]
    content = key.open(enc, b"furoshiki settings v1", data[:53] + card, wrap)
    try:
        plain = AESGCM(content).decrypt(bytes(12), sealed, data[:53])
    except InvalidTag as error:
        raise Refused("altered") from error
    rule(json.loads(plain)["settings"]["part"] == PARTS[part], "part: another one is inside")
    names = f"user {user.hex()} version {version} origin {origin.hex()} cards {count}"
    return f"{names} {plain.decode()}"


PARTS = {1: "mail", 2: "input", 3: "browser"}


def wrapped_key(fields):
    card, kind = fields.take(16, "card id"), fields.number("B", "kind")
    rule(kind in CARDS, "kind: 1, 2 or 3")
    key = CARDS[kind]
    return card, key, fields.take(key.size, "encapsulated key"), fields.take(48, "wrapped key")


def opening(open_sealed):
    """Whatever is wrong with it, it is refused alike."""
    def opened(*sealed):
        try:
            return open_sealed(*sealed)
        except (InvalidTag, ValueError) as error:
            raise Refused("altered, or for another card or purpose") from error
    return opened


class P256:
    """p256-hpke, with the private scalar."""
    size = 65

    def __init__(self, private):
        self.key = ec.derive_private_key(int.from_bytes(private, "big"), ec.SECP256R1())

    @opening
    def open(self, enc, info, aad, sealed):
        shared = self.key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(self.key.curve, enc))
        public = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return hpke(b"\0\x10", shared, enc + public, info, aad, sealed)


class X25519:
    """x25519-hpke, with the private key."""
    size = 32

    def __init__(self, private):
        self.key = X25519PrivateKey.from_private_bytes(private)

    @opening
    def open(self, enc, info, aad, sealed):
        shared = self.key.exchange(X25519PublicKey.from_public_bytes(enc))
        public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return hpke(b"\0\x20", shared, enc + public, info, aad, sealed)


class Rsa2048:
    """rsa2048-kem, with modulus and private exponent in hex, a line each."""
    size = 256

    def __init__(self, file):
        numbers = dict(line.split() for line in Path(file).read_text().splitlines())
        self.modulus, self.exponent = int(numbers["n"], 16), int(numbers["d"], 16)

    @opening
    def open(self, enc, info, aad, sealed):
        number = int.from_bytes(enc, "big")
        rule(number < self.modulus, "encapsulated key: not below the modulus")
        number = pow(number, self.exponent, self.modulus).to_bytes(256, "big")
        prk = extract(b"furoshiki rsa kem v1", number)
        key = expand(prk, info + b"\0" + enc + self.modulus.to_bytes(256, "big"))
        return AESGCM(key).decrypt(bytes(12), sealed, aad)


def hpke(kem, shared, kem_context, info, aad, sealed):
    """Opens in base mode with DHKEM(…, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, after the Diffie-Hellman: RFC 9180."""

    def labeled_extract(salt, label, key):
        return extract(salt, b"HPKE-v1" + suite + label + key)

    def labeled_expand(prk, label, text, size):
        return expand(prk, struct.pack(">H", size) + b"HPKE-v1" + suite + label + text)[:size]

    suite = b"KEM" + kem
    secret = labeled_expand(labeled_extract(b"", b"eae_prk", shared), b"shared_secret", kem_context, 32)
    suite = b"HPKE" + kem + b"\0\1\0\2"
    context = b"\0" + labeled_extract(b"", b"psk_id_hash", b"") + labeled_extract(b"", b"info_hash", info)
    prk = labeled_extract(secret, b"secret", b"")
    key, nonce = labeled_expand(prk, b"key", context, 32), labeled_expand(prk, b"base_nonce", context, 12)
    return AESGCM(key).decrypt(nonce, sealed, aad)


CARDS = {1: P256(b"\7" * 32), 2: Rsa2048(Path(sys.argv[1], "slot/rsa2048.txt")), 3: X25519(b"\7" * 32)}


def chunk(words):
    data = bytes(32768 if words == b"small" else 300001)
    if words != b"zeros":
        data = blake3.digest(words, size=len(data))
    if words == b"sqlite":
        data = b"SQLite format 3\0" + data[16:]
    return str(cuts(KEYS, data, words == b"sqlite"))


def pack(data):
    read = Pack(KEYS, data)
    frames = [f"frame {blake3.digest(read.frame(number)).hex()}" for number in range(len(read.frames))]
    chunks = [f"chunk {name.hex()} {at}+{size}" for frame in read.frames for name, at, size in frame.chunks]
    return " ".join(frames + chunks)


def manifest(data):
    return told(open_manifest(KEYS, data))


def manifest_delta(data):
    before = Path(sys.argv[1], "manifest/v1/good-every-kind.bin").read_bytes()
    return told(open_manifest(KEYS, data, b"\x30" * 32, open_manifest(KEYS, before)))


def told(read):
    return f"{len(read.entries)} entries, plain bytes {blake3.digest(encoded(read)).hex()}"


def encoded(read):
    """The plain bytes of a base: there is one way to write them."""
    out = [b"\0", read.baseline, sized(read.name), varint(len(read.packs))]
    out += [name + varint(size) for name, size in read.packs] + [varint(len(read.entries))]
    before, end, places = b"", (0, 0, 0), {entry.path: at for at, entry in enumerate(read.entries)}
    for entry in read.entries:
        pairs = list(zip(before, entry.path))
        shared = next((at for at, (a, b) in enumerate(pairs) if a != b), len(pairs))
        out += [bytes([entry.type]), varint(shared), sized(entry.path[shared:])]
        before = entry.path
        if entry.type not in BARE:
            seconds = entry.mtime[0]
            time = seconds << 1 if seconds >= 0 else (-seconds << 1) - 1
            out += map(varint, (entry.mode, entry.uid, entry.gid, time, entry.mtime[1], len(entry.xattrs)))
            out += [sized(part) for attribute in entry.xattrs for part in attribute]
        if entry.type in FILES:
            out += [varint(entry.size), varint(len(entry.runs))]
            for *place, length in entry.runs:
                if place[0] is None:
                    out += [b"\0", varint(length)]
                    continue
                out += [b"\1"] if tuple(place) == end else [b"\2", *map(varint, place)]
                out.append(varint(length))
                end = (place[0], place[1], place[2] + length)
        elif entry.type == 2:
            out.append(sized(entry.target))
        elif entry.type == 3:
            out.append(varint(places[entry.target]))
        elif entry.type in (5, 6):
            out += map(varint, entry.device)
    return b"".join(out)


def varint(value):
    return bytes([value & 0x7F | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([value])


def sized(data):
    return varint(len(data)) + data


def record(data):
    read = open_record(data, KEYS.signer.public_key())
    since = f" from epoch {read.oldest}" if read.oldest != read.epoch else ""
    return f"{read.id.hex()} seq {read.seq} packs {len(read.packs)}{since}"


FORMATS = {"keys": keys, "chain": chain, "slot": slot, "chunk": chunk, "pack": pack, "manifest": manifest,
           "manifest-delta": manifest_delta, "record": record, "settings": settings}


def main():
    for name, read in FORMATS.items():
        for path in sorted(Path(sys.argv[1], name, "v1").glob("*")):
            if path.name != "expected.txt":
                try:
                    answer = f"ok {read(path.read_bytes())}"
                except Refused as error:
                    answer = f"refused: {error}"
                print(f"{name}/{path.name}: {answer}")


if __name__ == "__main__":
    main()
