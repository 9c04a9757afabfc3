//! The little DER that signatures need. Source: ITU-T X.690, 8.1 and 10.1.

/// OBJECT IDENTIFIERs, encoded.
pub(super) mod oid {
    /// 2.16.840.1.101.3.4.2.1, SHA-256.
    pub(crate) const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
    /// 1.2.840.113549.1.1.1, RSA.
    pub(crate) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    /// 1.2.840.113549.1.7.1, data.
    pub(crate) const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
    /// 1.2.840.113549.1.7.2, signed data.
    pub(crate) const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
    /// 1.2.840.113549.1.9.3, content type.
    pub(crate) const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
    /// 1.2.840.113549.1.9.4, message digest.
    pub(crate) const MESSAGE_DIGEST: &[u8] =
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
    /// 1.3.6.1.4.1.311.2.1.4, SPC_INDIRECT_DATA.
    pub(crate) const SPC_INDIRECT_DATA: &[u8] =
        &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x04];
    /// 1.3.6.1.4.1.311.2.1.15, SPC_PE_IMAGE_DATA.
    pub(crate) const SPC_PE_IMAGE_DATA: &[u8] =
        &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x0f];
}

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[n]`, constructed.
pub(super) const fn context(n: u8) -> u8 {
    0xa0 | n
}

/// Tag, length and these contents one behind the other.
pub(super) fn tlv(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let length: usize = contents.iter().map(|content| content.len()).sum();
    let mut out = vec![tag];
    let bytes = length.to_be_bytes();
    let from = bytes
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(bytes.len());
    let bytes = bytes.get(from..).unwrap_or_default();
    match bytes {
        [] => out.push(0),
        [one] if *one < 0x80 => out.push(*one),
        many => {
            out.push(0x80 | u8::try_from(many.len()).unwrap_or(0));
            out.extend_from_slice(many);
        }
    }
    for content in contents {
        out.extend_from_slice(content);
    }
    out
}

pub(super) fn oid(id: &[u8]) -> Vec<u8> {
    tlv(OBJECT_IDENTIFIER, &[id])
}

/// An AlgorithmIdentifier without parameters worth the name.
pub(super) fn algorithm(id: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[&oid(id), &tlv(NULL, &[])])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        assert_eq!(tlv(NULL, &[]), [5, 0]);
        assert_eq!(tlv(OCTET_STRING, &[&[1], &[2, 3]]), [4, 3, 1, 2, 3]);
        assert_eq!(tlv(OCTET_STRING, &[&[0; 127]])[..2], [4, 127]);
        assert_eq!(tlv(OCTET_STRING, &[&[0; 128]])[..3], [4, 0x81, 128]);
        assert_eq!(tlv(OCTET_STRING, &[&[0; 256]])[..4], [4, 0x82, 1, 0]);
    }
}
