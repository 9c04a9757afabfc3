//! Names of things: one type for each, so that one cannot stand in for another.
//!
//! Every id is a fixed number of bytes, written as lower-case hex. Parsing is the check: a value of
//! one of these types is safe to use as a file name or a path segment.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Text that is not the id it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {want} lower-case hex digits, got {have} characters")]
pub struct ParseIdError {
    what: &'static str,
    want: usize,
    have: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Length of the id in bytes.
            pub const BYTES: usize = $bytes;

            /// Takes the bytes as they are.
            #[must_use]
            pub const fn new(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The bytes of the id.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; $bytes * 2];
                hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
                f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let wrong = || ParseIdError { what: $what, want: $bytes * 2, have: text.chars().count() };
                if text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(wrong());
                }
                let mut bytes = [0; $bytes];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| wrong())?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                hex_schema($what, $bytes)
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}
    };
}

id!(
    /// A user, chosen at random when the first card is issued.
    UserId, 16, "user id"
);
id!(
    /// A card: the first 16 bytes of SHA-256 over the `SubjectPublicKeyInfo` of its 9D key.
    CardId, 16, "card id"
);
id!(
    /// A site, chosen at random by `furoshiki-site init`.
    SiteId, 16, "site id"
);
id!(
    /// A baseline image: what dm-verity proves plus its build timestamp. See [`crate::baseline`].
    BaselineId, 32, "baseline id"
);
id!(
    /// A release: BLAKE3 of the bytes of its `manifest.json`.
    ReleaseId, 32, "release id"
);
id!(
    /// A sealed object a site stores (pack or manifest): BLAKE3 of its sealed bytes.
    ObjectId, 32, "object id"
);
id!(
    /// A signed snapshot record: BLAKE3 of its encoded bytes, signature included.
    RecordId, 32, "record id"
);
id!(
    /// A chunk: keyed BLAKE3 of its plain bytes, cut to 128 bits. Never leaves a sealed footer.
    ChunkId, 16, "chunk id"
);
id!(
    /// BLAKE3 of a file of a release.
    Digest, 32, "digest"
);
id!(
    /// dm-verity root hash of a baseline (SHA-256).
    RootHash, 32, "root hash"
);
id!(
    /// dm-verity salt of a baseline.
    VeritySalt, 32, "verity salt"
);

/// What the OpenAPI document of a site says of an id.
#[cfg(feature = "openapi")]
fn hex_schema(what: &str, bytes: usize) -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
    let digits = bytes * 2;
    utoipa::openapi::schema::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .description(Some(format!("{what}: {digits} lower-case hex digits")))
        .pattern(Some(format!("^[0-9a-f]{{{digits}}}$")))
        .into()
}

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl ObjectId {
    /// The name of `sealed`.
    #[must_use]
    pub fn of(sealed: &[u8]) -> Self {
        Self(*blake3::hash(sealed).as_bytes())
    }
}

impl ReleaseId {
    /// The name of the release whose `manifest.json` has these bytes.
    #[must_use]
    pub fn of(manifest_json: &[u8]) -> Self {
        Self(*blake3::hash(manifest_json).as_bytes())
    }
}

impl RecordId {
    /// The name of the signed record with these bytes.
    #[must_use]
    pub fn of(signed: &[u8]) -> Self {
        Self(*blake3::hash(signed).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lower_case_hex_of_the_right_length_is_an_id() {
        let good = "00112233445566778899aabbccddeeff";
        assert_eq!(good.parse::<UserId>().unwrap().to_string(), good);
        for bad in [
            "",
            "00",
            "00112233445566778899AABBCCDDEEFF",
            "../../../../etc/passwd.........",
            "zz112233445566778899aabbccddeeff",
        ] {
            assert!(bad.parse::<UserId>().is_err(), "{bad}");
        }
    }
}
