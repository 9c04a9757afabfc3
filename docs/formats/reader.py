#!/usr/bin/python3
"""A second reader of snapshots, written from the pages beside it alone.

It opens everything, checks every rule of the pages, and gives the tree back: as a listing, or as files.

    reader.py --store DIR --user-key HEX --user-id HEX --record FILE [--chain FILE] [--into DIR]
"""
import argparse
import hashlib
import json
import os
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import blake3
from opening import FRAME, MIB, Fields, Keys, Pack, Refused, Sealed, open_chain, open_record, rule, unzstd

MAX_SIZE = (1 << 63) - 1

# manifest.md

TYPES = {0: "directory", 8: "opaque directory", 1: "file", 9: "torn file", 2: "symlink", 3: "hardlink", 4: "fifo",
         5: "character device", 6: "block device", 7: "whiteout", 11: "whiteout"}
DIRECTORIES, FILES, BARE, WHITEOUTS, REMOVED = (0, 8), (1, 9), (3, 7), (7, 11), 10


class Entries:
    """Reads entries one after the other: each may lean on the one before."""

    def __init__(self, fields):
        self.fields, self.path, self.end, self.runs, self.attributes = fields, b"", (0, 0, 0), 8 * MIB, 4 * MIB

    def next(self, number_of_target):
        fields, entry = self.fields, SimpleNamespace(type=self.fields.number("B", "type"))
        rule(entry.type in TYPES or entry.type == REMOVED and not number_of_target, f"type: {entry.type} is not known")
        shared = fields.varint(4095, "shared part of a path")
        rule(shared <= len(self.path), "shared part of a path: longer than the path before")
        rest = fields.text(4095, "rest of a path")
        rule(not rest or self.path[shared : shared + 1] != rest[:1], "shared part of a path: shorter than it could be")
        self.path = entry.path = self.path[:shared] + rest
        if entry.type == REMOVED:
            return entry
        if entry.type not in BARE:
            self.meta(entry)
        if entry.type in FILES:
            entry.size = fields.varint(MAX_SIZE, "size of a file")
            count = fields.count(self.runs, 2, "number of runs")
            self.runs -= count
            entry.runs = [self.run() for _ in range(count)]
        elif entry.type == 2:
            entry.target = fields.text(4095, "target of a symlink")
        elif entry.type == 3 and number_of_target:
            entry.target = fields.varint(2 * MIB, "target of a hardlink")
        elif entry.type == 3:
            entry.target = fields.text(4095, "target of a hardlink")
        elif entry.type in (5, 6):
            entry.device = [fields.varint((1 << 32) - 1, "device number") for _ in range(2)]
        return entry

    def meta(self, entry):
        fields = self.fields
        entry.mode = fields.varint(0o7777, "mode")
        entry.uid, entry.gid = (fields.varint((1 << 32) - 1, "owner or group") for _ in range(2))
        entry.mtime = [fields.zigzag("time"), fields.varint(999_999_999, "nanoseconds")]
        count = fields.count(min(1024, self.attributes), 2, "number of attributes")
        self.attributes -= count
        entry.xattrs = [(fields.text(255, "attribute"), fields.text(65536, "attribute")) for _ in range(count)]

    def run(self):
        """(pack, frame, offset, length), or (None, None, None, length) of a hole."""
        fields, tag = self.fields, self.fields.number("B", "tag of a run")
        rule(tag <= 2, f"tag of a run: {tag} is not known")
        if tag == 0:
            return None, None, None, fields.varint(MAX_SIZE, "length of a hole")
        pack, frame, offset = self.end
        if tag == 2:
            pack, frame = (fields.varint((1 << 32) - 1, "pack or frame of a run") for _ in range(2))
            offset = fields.varint(FRAME, "offset of a run")
            rule((pack, frame, offset) != self.end, "run: it follows the one before and does not say so")
        length = fields.varint(FRAME, "length of a run")
        rule(offset + length <= FRAME, "run: it ends beyond its frame")
        self.end = (pack, frame, offset + length)
        return pack, frame, offset, length


def packs_of(fields):
    return [(fields.take(32, "pack"), fields.varint((1 << 64) - 1, "size of a pack"))
            for _ in range(fields.count(65536, 33, "number of packs"))]


def open_manifest(keys, data, before=None, onto=None):
    """A base; or the delta that follows the object `before` and changes the manifest `onto`."""
    plain = Fields(Sealed(data, b"FKMF", keys, "manifest").last(data[80:], "manifest"))
    size = plain.varint(128 * MIB, "length of the manifest")
    stored = plain.text(128 * MIB, "compressed manifest")
    plain.padding()
    fields = Fields(unzstd(stored, size, "compressed manifest"))
    kind = fields.number("B", "kind")
    rule(kind == (0 if onto is None else 1), f"kind: {kind} is not what is wanted here")
    new = SimpleNamespace(baseline=fields.take(32, "baseline"), name=fields.text(64, "name of the baseline"))
    if onto is None:
        new.packs, entries = packs_of(fields), Entries(fields)
        new.entries = [entries.next(True) for _ in range(fields.count(2 * MIB, 3, "number of entries"))]
        for at, entry in enumerate(new.entries):
            if entry.type == 3:
                rule(entry.target < at, "hardlink: its target does not come before it")
                entry.target = new.entries[entry.target].path
    else:
        rule(fields.take(32, "manifest it follows") == before, "manifest it follows: another")
        change(fields, onto, new)
    fields.end("manifest")
    check(new)
    return new


def change(fields, old, new):
    """Reads what a delta says, and does it."""
    numbers, place, kept = {}, 0, []
    for run in range(fields.count(65536, 2, "number of runs of kept packs")):
        left_out, count = (fields.varint(65536, "kept packs") for _ in range(2))
        rule(count and (left_out or not run), "kept packs: runs are not joined, or empty")
        rule(place + left_out + count <= len(old.packs), "kept packs: more than there are")
        for place in range(place + left_out, place + left_out + count):
            numbers[place] = len(kept)
            kept.append(old.packs[place])
        place += 1
    new.packs, entries = kept + packs_of(fields), Entries(fields)
    changes = [entries.next(False) for _ in range(fields.count(2 * MIB, 3, "number of changes"))]
    rule(all(a.path < b.path for a, b in zip(changes, changes[1:])), "changes: not sorted, or one twice")
    there, merged = {entry.path for entry in old.entries}, {entry.path: entry for entry in changes}
    rule(all(c.path in there for c in changes if c.type == REMOVED), "removed entry: it was not there")
    for entry in old.entries:
        if entry.path in merged:
            continue
        merged[entry.path] = entry = SimpleNamespace(**vars(entry))
        if entry.type in FILES:
            packs = {run[0] for run in entry.runs} - {None}
            rule(packs <= numbers.keys(), "kept packs: an entry that did not change needs another")
            entry.runs = [(numbers.get(run[0]), *run[1:]) for run in entry.runs]
    new.entries = sorted((e for e in merged.values() if e.type != REMOVED), key=lambda e: e.path)


def check(manifest):
    """What must be true of a whole manifest."""
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
    rule(manifest.name and set(manifest.name) <= set(plain) and manifest.name[0] != ord("."), "name of the baseline")
    rule(len(set(name for name, _ in manifest.packs)) == len(manifest.packs) <= 65536, "packs: too many, or one twice")
    entries = manifest.entries
    rule(entries and not entries[0].path and entries[0].type in DIRECTORIES, "root: the first entry, a directory")
    rule(len(entries) <= 2 * MIB, "entries: too many")
    rule(sum(len(getattr(e, "runs", ())) for e in entries) <= 8 * MIB, "runs: too many")
    rule(sum(len(getattr(e, "xattrs", ())) for e in entries) <= 4 * MIB, "attributes: too many")
    seen, before = {}, None
    for entry in entries:
        path, names = entry.path, entry.path.split(b"/")
        if before is not None:
            rule(before < path, "paths: not sorted, or one twice")
            rule(len(path) <= 4095 and b"\0" not in path, "path: too long, or a zero byte")
            rule(all(0 < len(name) <= 255 for name in names), "path: a name is empty or too long")
            rule(not {b".", b".."} & set(names), "path: a name is . or ..")
            above = seen.get(path.rpartition(b"/")[0])
            rule(above and above.type in DIRECTORIES, "path: not beneath a directory")
        seen[path], before = entry, path
        attributes = getattr(entry, "xattrs", [])
        rule(all(a[0] < b[0] for a, b in zip(attributes, attributes[1:])), "attributes: not sorted, or one twice")
        rule(all(name and b"\0" not in name for name, _ in attributes), "attribute: no name, or a zero byte in it")
        if entry.type in FILES:
            data = [run for run in entry.runs if run[0] is not None]
            rule(all(run[3] for run in entry.runs), "run: empty")
            rule(all(run[0] < len(manifest.packs) and run[1] < 4096 for run in data), "run: its pack or frame is not there")
            rule(sum(run[3] for run in entry.runs) == entry.size, "runs: not as long as the file")
        elif entry.type == 2:
            rule(entry.target and b"\0" not in entry.target, "symlink: no target, or a zero byte in it")
        elif entry.type == 3:
            target = seen.get(entry.target)
            rule(target and target is not entry, "hardlink: its target does not come before it")
            rule(target.type not in DIRECTORIES + WHITEOUTS + (3,), "hardlink: its target is a directory, hardlink or whiteout")
        elif entry.type == 11:
            found = entry.mode, entry.uid, entry.gid, *entry.mtime, *attributes
            rule(any(found), "whiteout: its type promises metadata")


class Snapshot:
    """A verified record with its manifest, and the contents of its files."""

    def __init__(self, store, user_key, user, signed, chain=None):
        """Without a chain the user key must be that of the record's epoch."""
        epoch = open_record(signed).epoch
        self.keys = open_chain(chain, user_key).of(epoch, True) if chain else Keys.derive(user_key, user, epoch)
        self.record = open_record(signed, self.keys.signer.public_key())
        rule(self.record.user == user, "record: another user's")
        self.store, self.opened, self.plain, before = Path(store), {}, {}, None
        self.manifest = None
        for listed in self.record.manifests:
            self.manifest = open_manifest(self.keys, self.fetch(*listed), before, self.manifest)
            before = listed[0]
        rule(self.manifest.baseline == self.record.baseline, "manifest: another baseline than the record's")
        rule(set(self.manifest.packs) <= set(self.record.packs), "manifest: a pack the record does not list")

    def fetch(self, name, size):
        """An object from `DIR/name`, or `DIR/na/name` as a site keeps it."""
        text = name.hex()
        for path in (self.store / text, self.store / text[:2] / text):
            if path.exists():
                data = path.read_bytes()
                rule(len(data) == size and blake3.digest(data) == name, f"object {text}: altered")
                return data
        raise Refused(f"object {text}: not there")

    def frame(self, pack, frame):
        if pack not in self.opened:
            self.opened = {pack: Pack(self.keys, self.fetch(*self.manifest.packs[pack]))}
        if (pack, frame) not in self.plain:
            if len(self.plain) >= 64:
                self.plain.pop(next(iter(self.plain)))
            plain = self.opened[pack].frame(frame)
            self.plain[pack, frame] = plain, {at: size for _, at, size in self.opened[pack].frames[frame].chunks}
        return self.plain[pack, frame]

    def extents(self, entry):
        """(where, data) between holes."""
        at, start, data = 0, 0, b""
        for pack, frame, offset, length in entry.runs + [(None, None, None, 0)]:
            if pack is not None:
                plain, chunks = self.frame(pack, frame)
                rule(offset + length <= len(plain), "run: it ends beyond its frame")
                end = offset
                while end < offset + length:
                    rule(end in chunks, "run: it is not whole chunks")
                    end += chunks[end]
                rule(end == offset + length, "run: it is not whole chunks")
                data += plain[offset:end]
            elif data:
                yield start, data
            at += length
            if pack is None:
                start, data = at, b""


def escaped(text):
    """Bytes as text: what is not printable ASCII, quotes and backslashes are escaped."""
    known = {9: "\\t", 10: "\\n", 13: "\\r", 34: '\\"', 39: "\\'", 92: "\\\\"}
    return "".join(known.get(b) or (chr(b) if 32 <= b < 127 else f"\\x{b:02x}") for b in text)


def listing(snapshot):
    """All there is to know of each entry, ready for JSON."""
    for entry in snapshot.manifest.entries:
        line = {"path": escaped(entry.path), "type": TYPES[entry.type]}
        if entry.type not in BARE:
            line |= {"mode": entry.mode, "uid": entry.uid, "gid": entry.gid, "mtime": entry.mtime}
            line["xattrs"] = {escaped(name): value.hex() for name, value in entry.xattrs}
        if entry.type in FILES:
            content, data, end = hashlib.sha256(), [], 0
            for at, piece in snapshot.extents(entry):
                zeros(content, at - end)
                content.update(piece)
                end = at + len(piece)
                data.append([at, end])
            zeros(content, entry.size - end)
            line |= {"size": entry.size, "data": data, "sha256": content.hexdigest()}
        if hasattr(entry, "target"):
            line["target"] = escaped(entry.target)
        if hasattr(entry, "device"):
            line["device"] = entry.device
        yield line


def zeros(content, count):
    for at in range(0, count, MIB):
        content.update(bytes(min(MIB, count - at)))


def restore(snapshot, into):
    """Writes the tree as the overlay's upper, with the plain home in it. As root, to an empty directory."""
    into, directories = os.fsencode(into), []
    rule(not os.listdir(into), f"{os.fsdecode(into)}: not empty")
    for entry in snapshot.manifest.entries:
        path = os.path.join(into, entry.path) if entry.path else into
        if entry.type in DIRECTORIES:
            if entry.path:
                os.mkdir(path, 0o700)
            directories.append((path, entry))
            continue
        if entry.type in FILES:
            with open(path, "xb") as file:
                for at, piece in snapshot.extents(entry):
                    file.seek(at)
                    file.write(piece)
                file.truncate(entry.size)
        elif entry.type == 2:
            os.symlink(entry.target, path)
        elif entry.type == 3:
            os.link(os.path.join(into, entry.target), path, follow_symlinks=False)
        else:
            kind = {4: stat.S_IFIFO, 5: stat.S_IFCHR, 6: stat.S_IFBLK, 7: stat.S_IFCHR, 11: stat.S_IFCHR}[entry.type]
            os.mknod(path, kind | 0o600, os.makedev(*getattr(entry, "device", (0, 0))))
        if entry.type not in BARE:
            describe(path, entry)
    for path, entry in reversed(directories):
        describe(path, entry)


def describe(path, entry):
    """Owner before mode and attributes, which it would reset; times last."""
    os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
    if entry.type != 2:
        os.chmod(path, entry.mode)
    upper = not (entry.path + b"/").startswith(b"home/")
    for name, value in entry.xattrs:
        if upper and name.startswith(b"trusted.overlay."):
            name = name.replace(b"trusted.overlay.", b"trusted.overlay.overlay.", 1)
        os.setxattr(path, name, value, follow_symlinks=False)
    if entry.type == 8:
        os.setxattr(path, b"trusted.overlay.opaque", b"y")
    time = entry.mtime[0] * 10**9 + entry.mtime[1]
    os.utime(path, ns=(time, time), follow_symlinks=False)


def main():
    parser = argparse.ArgumentParser(description="Read a snapshot; prints a listing as JSON.")
    parser.add_argument("--store", required=True, help="folder of sealed objects, named by their ids")
    parser.add_argument("--user-key", required=True, type=bytes.fromhex)
    parser.add_argument("--user-id", required=True, type=bytes.fromhex)
    parser.add_argument("--record", required=True, help="file with the signed record")
    parser.add_argument("--chain", help="file with the key chain of the user key, for a record or packs of earlier epochs")
    parser.add_argument("--into", help="write the tree to this empty folder, as root, and print nothing")
    options = parser.parse_args()
    try:
        signed = Path(options.record).read_bytes()
        chain = Path(options.chain).read_bytes() if options.chain else None
        snapshot = Snapshot(options.store, options.user_key, options.user_id, signed, chain)
        if options.into:
            restore(snapshot, options.into)
        else:
            json.dump(list(listing(snapshot)), sys.stdout, indent=1)
    except Refused as error:
        sys.exit(f"reader.py: refused: {error}")


if __name__ == "__main__":
    main()
