//! Signed data with one signer. Source: RFC 2315 (PKCS #7 1.5), 9.

use sha2::{Digest, Sha256};

use super::{
    SecureBootError,
    der::{self, INTEGER, OCTET_STRING, SEQUENCE, SET, context, tlv},
    keys::Signer,
};

/// SignedData over content that is elsewhere, without attributes: what firmware wants with its variables.
pub(super) fn detached(signer: &Signer, content: &[u8]) -> Result<Vec<u8>, SecureBootError> {
    let info = tlv(SEQUENCE, &[&der::oid(der::oid::DATA)]);
    signed(signer, &info, None, content)
}

/// ContentInfo with SignedData over `content`, DER of this type; its digest is an attribute.
pub(super) fn enveloping(
    signer: &Signer,
    content_type: &[u8],
    content: &[u8],
) -> Result<Vec<u8>, SecureBootError> {
    let info = tlv(
        SEQUENCE,
        &[&der::oid(content_type), &tlv(context(0), &[content])],
    );
    // What is signed is the content without its own tag and length (RFC 2315, 9.3).
    let digest = Sha256::digest(inside(content));
    let attribute = |id: &[u8], value: &[u8]| tlv(SEQUENCE, &[&der::oid(id), &tlv(SET, &[value])]);
    // In the order of their encodings, as a DER SET OF is.
    let attributes = [
        attribute(der::oid::CONTENT_TYPE, &der::oid(content_type)),
        attribute(der::oid::MESSAGE_DIGEST, &tlv(OCTET_STRING, &[&digest])),
    ]
    .concat();
    let data = signed(signer, &info, Some(&attributes), &tlv(SET, &[&attributes]))?;
    Ok(tlv(
        SEQUENCE,
        &[&der::oid(der::oid::SIGNED_DATA), &tlv(context(0), &[&data])],
    ))
}

/// `to_sign` is what the key signs: the content, or the attributes as a SET.
fn signed(
    signer: &Signer,
    info: &[u8],
    attributes: Option<&[u8]>,
    to_sign: &[u8],
) -> Result<Vec<u8>, SecureBootError> {
    let one = tlv(INTEGER, &[&[1]]);
    let sha256 = der::algorithm(der::oid::SHA256);
    let who = tlv(
        SEQUENCE,
        &[signer.issuer(), &tlv(INTEGER, &[signer.serial()])],
    );
    let attributes = attributes.map_or_else(Vec::new, |bytes| tlv(context(0), &[bytes]));
    let signature = tlv(OCTET_STRING, &[&signer.sign(to_sign)?]);
    let signer_info = tlv(
        SEQUENCE,
        &[
            &one,
            &who,
            &sha256,
            &attributes,
            &der::algorithm(der::oid::RSA),
            &signature,
        ],
    );
    Ok(tlv(
        SEQUENCE,
        &[
            &one,
            &tlv(SET, &[&sha256]),
            info,
            &tlv(context(0), &[signer.certificate()]),
            &tlv(SET, &[&signer_info]),
        ],
    ))
}

/// What follows tag and length.
fn inside(der: &[u8]) -> &[u8] {
    let header = match der.get(1) {
        Some(length) if *length >= 0x80 => 2 + usize::from(length & 0x7f),
        _ => 2,
    };
    der.get(header..).unwrap_or_default()
}
