//! Records of pax headers: what ustar cannot say about an entry.
//!
//! The `tar` crate splits these at line ends, and values of attributes hold any bytes, so that is done here.
//!
//! Source: POSIX.1-2017, pax, "pax Extended Header"; GNU tar manual, "Storing Sparse Files"; tar(5) of libarchive.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use snapshot::manifest::{Time, Xattr};

/// What libarchive writes: base64 without `=` at the end.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Most runs of one file, so that a small header takes little memory.
pub(super) const MAX_RUNS: usize = snapshot::manifest::MAX_RUNS;
/// Most attributes of an entry.
const MAX_XATTRS: usize = snapshot::manifest::MAX_XATTRS;

/// A record that does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// What records say. A record with an empty value takes back what an earlier one said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) access: Option<Vec<u8>>,
    pub(super) default: Option<Vec<u8>>,
    /// Attributes as star and GNU tar write them.
    pub(super) xattrs: Vec<Xattr>,
    /// The same as libarchive writes them, exact for every name.
    pub(super) libarchive: Vec<Xattr>,
    pub(super) sparse: SparseRecords,
}

/// What GNU tar says about holes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SparseRecords {
    pub(super) major: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    /// Versions 0.0 and 0.1: places and lengths of data, one after the other.
    pub(super) map: Vec<u64>,
}

impl Pax {
    /// Adds the records of one header.
    pub(super) fn add(&mut self, mut records: &[u8]) -> Result<(), Malformed> {
        while !records.is_empty() {
            let space = records
                .iter()
                .position(|&byte| byte == b' ')
                .ok_or(Malformed)?;
            let (digits, _) = records.split_at(space);
            let length = usize::try_from(number(digits)?).map_err(|_| Malformed)?;
            let (record, rest) = records.split_at_checked(length).ok_or(Malformed)?;
            let body = record
                .get(space + 1..)
                .and_then(|body| body.strip_suffix(b"\n"));
            let body = body.ok_or(Malformed)?;
            let equals = body
                .iter()
                .position(|&byte| byte == b'=')
                .ok_or(Malformed)?;
            let (key, value) = body.split_at(equals);
            self.record(key, value.get(1..).unwrap_or_default())?;
            records = rest;
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let text = || (!value.is_empty()).then(|| value.to_vec());
        let decimal = || match value {
            [] => Ok(None),
            _ => number(value).map(Some),
        };
        match key {
            b"path" => self.path = text(),
            b"linkpath" => self.link = text(),
            b"size" => self.size = decimal()?,
            b"uid" => self.uid = decimal()?,
            b"gid" => self.gid = decimal()?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(time(value)?),
            b"SCHILY.devmajor" => self.major = decimal()?,
            b"SCHILY.devminor" => self.minor = decimal()?,
            b"SCHILY.acl.access" => self.access = text(),
            b"SCHILY.acl.default" => self.default = text(),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.real_size = decimal()?,
            b"GNU.sparse.major" => self.sparse.major = decimal()?,
            b"GNU.sparse.name" => self.sparse.name = text(),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.run(number(value)?)?,
            b"GNU.sparse.map" => {
                self.sparse.map.clear();
                for part in value
                    .split(|&byte| byte == b',')
                    .filter(|part| !part.is_empty())
                {
                    self.run(number(part)?)?;
                }
            }
            _ => self.attribute(key, value)?,
        }
        Ok(())
    }

    fn run(&mut self, value: u64) -> Result<(), Malformed> {
        if self.sparse.map.len() >= 2 * MAX_RUNS {
            return Err(Malformed);
        }
        self.sparse.map.push(value);
        Ok(())
    }

    fn attribute(&mut self, key: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let (list, name, value) = if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            (&mut self.xattrs, decoded(name, b"%="), value.to_vec())
        } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            let value = BASE64.decode(value).map_err(|_| Malformed)?;
            (&mut self.libarchive, decoded(name, &[]), value)
        } else {
            return Ok(());
        };
        if let Some(before) = list.iter_mut().find(|xattr| xattr.name == name) {
            before.value = value;
        } else if list.len() < MAX_XATTRS {
            list.push(Xattr { name, value });
        } else {
            return Err(Malformed);
        }
        Ok(())
    }
}

/// A number in decimal digits, nothing else.
fn number(digits: &[u8]) -> Result<u64, Malformed> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).map_err(|_| Malformed)?;
    text.parse().ok().filter(|_| plain).ok_or(Malformed)
}

/// Seconds since 1970 as a decimal number. What is finer than nanoseconds is dropped, as the file system would.
fn time(text: &[u8]) -> Result<Time, Malformed> {
    let (minus, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let point = text.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = text.split_at(point.unwrap_or(text.len()));
    let fraction = fraction.strip_prefix(b".").unwrap_or_default();
    let seconds = i64::try_from(number(whole)?).map_err(|_| Malformed)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    let nanos = (0..9).fold(0u32, |nanos, at| {
        let digit = fraction.get(at).map_or(0, |digit| u32::from(digit - b'0'));
        nanos * 10 + digit
    });
    Ok(match (minus, nanos) {
        (false, _) => Time { seconds, nanos },
        (true, 0) => Time {
            seconds: -seconds,
            nanos: 0,
        },
        (true, _) => Time {
            seconds: -seconds - 1,
            nanos: 1_000_000_000 - nanos,
        },
    })
}

/// Takes back `%XX`; of other bytes than `only`, when it names some, the writer left it as it was.
fn decoded(name: &[u8], only: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, tail)) = rest.split_first() {
        let byte = match (first, tail) {
            (b'%', [high, low, ..]) => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let both = digit(*high).zip(digit(*low));
                let byte = both.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                byte.filter(|byte| only.is_empty() || only.contains(byte))
            }
            _ => None,
        };
        out.push(byte.unwrap_or(first));
        rest = match byte {
            Some(_) => tail.get(2..).unwrap_or_default(),
            None => tail,
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(records: &[u8]) -> Result<Pax, Malformed> {
        let mut pax = Pax::default();
        pax.add(records)?;
        Ok(pax)
    }

    #[test]
    fn values_hold_any_bytes_and_an_empty_one_takes_back() {
        let pax = read(b"12 path=a\nb\n27 SCHILY.xattr.user.a%3D=\n27 SCHILY.xattr.user.b=1\n2\n")
            .unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"a\nb"[..]));
        let names: Vec<_> = pax
            .xattrs
            .iter()
            .map(|x| (x.name.as_slice(), x.value.as_slice()))
            .collect();
        assert_eq!(names, [(&b"user.a="[..], &b""[..]), (b"user.b", b"1\n2")]);
        let taken_back = read(b"10 path=a\n8 path=\n").unwrap();
        assert_eq!(taken_back, Pax::default());
        let other = read(b"39 LIBARCHIVE.xattr.user.a%25b=aGVsbG8\n").unwrap();
        assert_eq!(other.libarchive[0].name, b"user.a%b");
        assert_eq!(other.libarchive[0].value, b"hello");
    }

    #[test]
    fn times_are_decimal_numbers() {
        for (text, seconds, nanos) in [
            ("5", 5, 0),
            ("5.25", 5, 250_000_000),
            ("-4.000000001", -5, 999_999_999),
            ("-0.5", -1, 500_000_000),
            ("-20", -20, 0),
            ("10.0000000019", 10, 1),
            ("1.", 1, 0),
        ] {
            assert_eq!(time(text.as_bytes()), Ok(Time { seconds, nanos }), "{text}");
        }
        for bad in [
            "",
            "-",
            "1.x",
            "x",
            "1e5",
            "--1",
            "99999999999999999999",
            ".5",
        ] {
            assert_eq!(time(bad.as_bytes()), Err(Malformed), "{bad}");
        }
    }

    #[test]
    fn what_is_no_record_is_told() {
        for bad in [
            &b"path=a\n"[..],
            b"8 path=a\n",
            b"11 path=a\n",
            b"10 path=a ",
            b"10 path:a\n",
            b"99999999999999999999 path=a\n",
            b"+10 path=a\n",
            b"0 path=a\n",
            b"12 size=0x1\n",
            b"20 GNU.sparse.map=a\n",
        ] {
            assert_eq!(read(bad), Err(Malformed), "{}", bad.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }
    }
}
