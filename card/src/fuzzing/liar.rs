//! A reader and a card that answer whatever bytes say, and remember every secret they were given.

use std::sync::{Arc, Mutex};

use zeroize::Zeroizing;

use crate::{
    CardKey,
    apdu::{Protocol, Transport, TransportError, tlv::put},
    piv::{DATA, TEMPLATE, certificate},
};

/// Instructions that carry a PIN or PUK: VERIFY, CHANGE REFERENCE DATA, RESET RETRY COUNTER.
const SECRET_BEARING: [u8; 3] = [0x20, 0x24, 0x2C];

/// What a [`Liar`] saw.
#[derive(Clone, Default)]
pub(super) struct Told(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    exchanges: usize,
    secrets: Vec<Vec<u8>>,
}

impl Told {
    pub(super) fn exchanges(&self) -> usize {
        self.0.lock().unwrap().exchanges
    }

    /// Every secret a card was given is one that somebody typed for it, given once and in that order.
    pub(super) fn only(&self, typed: &[Vec<u8>]) {
        let seen = self.0.lock().unwrap();
        // One application pads, the other does not; nobody types FF.
        let bare = |padded: &[u8]| -> Vec<u8> {
            let bytes = padded.iter().filter(|byte| **byte != 0xFF);
            bytes.copied().collect()
        };
        let mut typed = typed.iter().map(|typed| bare(typed));
        for secret in &seen.secrets {
            let secret = bare(secret);
            assert!(
                typed.any(|typed| typed == secret),
                "a try was spent that nobody typed"
            );
        }
    }
}

/// The card. When its bytes end, it is taken out.
pub(super) struct Liar {
    bytes: Vec<u8>,
    at: usize,
    told: Told,
}

impl Liar {
    pub(super) fn new(bytes: &[u8], told: &Told) -> Self {
        Self {
            bytes: bytes.to_vec(),
            at: 1,
            told: told.clone(),
        }
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|one| one[0])
    }

    /// The first byte says how much the rest resembles an honest answer.
    fn answer(&mut self) -> Option<Vec<u8>> {
        let kind = self.byte()?;
        let good = |data: Vec<u8>| [data, vec![0x90, 0]].concat();
        Some(match kind % 12 {
            0..=2 => vec![0x90, 0],
            3 => self.take(2)?.to_vec(),
            4 => {
                let length = usize::from(self.byte()?);
                self.take(length)?.to_vec()
            }
            5 => {
                let length = usize::from(self.byte()?) * 300;
                [vec![kind; length], vec![0x90, 0]].concat()
            }
            6 => vec![0x63, 0xC0 | self.byte()? & 0x0F],
            7 => vec![0x61, self.byte()?],
            8 => vec![0x6C, self.byte()?],
            9 => good(object()),
            10 => match self.byte()? % 4 {
                0 | 2 => good(put(TEMPLATE, &[&put(0x82, &[self.take(32)?])])),
                1 => good(put(TEMPLATE, &[&put(0x80, &[self.take(16)?])])),
                _ => good(self.take(32)?.to_vec()), // an OpenPGP card's secret
            },
            _ => match self.byte()? % 4 {
                0 | 2 => good(put(0x7F49, &[&put(0x86, &[key().point()?])])),
                // What an OpenPGP card says of itself, and the tries of its PINs.
                1 => good(about()),
                _ => {
                    let tries = self.take(2)?;
                    good(vec![1, 0x40, 0x40, 0x40, tries[0] & 3, 0, tries[1] & 3])
                }
            },
        })
    }
}

impl Transport for Liar {
    fn transmit(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, TransportError> {
        if SECRET_BEARING.contains(&command[1]) && command.len() > 5 {
            let mut seen = self.told.0.lock().unwrap();
            seen.secrets.push(command[5..].to_vec());
        }
        let answer = self.answer().ok_or(TransportError::Removed(None))?;
        self.told.0.lock().unwrap().exchanges += 1;
        Ok(Zeroizing::new(answer))
    }

    fn power_cycle(&mut self) -> Result<(), TransportError> {
        match self.byte() {
            None => Err(TransportError::Removed(None)),
            Some(0) => Err(TransportError::Reset(pcsc::Error::ResetCard)),
            Some(_) => Ok(()),
        }
    }

    fn protocol(&self) -> Protocol {
        if self.bytes.len().is_multiple_of(2) {
            Protocol::T0
        } else {
            Protocol::T1
        }
    }
}

/// One key for all: a fuzzer has better things to compute.
fn key() -> &'static CardKey {
    static KEY: std::sync::OnceLock<CardKey> = std::sync::OnceLock::new();
    KEY.get_or_init(|| {
        let secret = p256::SecretKey::from_slice(&[7; 32]).unwrap();
        CardKey::from_point(&secret.public_key().to_sec1_bytes()).unwrap()
    })
}

/// Application related data of an OpenPGP card with a key on P-256.
fn about() -> Vec<u8> {
    let attributes = b"\x12\x2A\x86\x48\xCE\x3D\x03\x01\x07";
    put(0x6E, &[&put(0x73, &[&put(0xC2, &[attributes])])])
}

/// A certificate object as the station writes one, without the wait for randomness each time.
fn object() -> Vec<u8> {
    static OBJECT: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let make = || {
        let key = key();
        let envelope = certificate::envelope(key.spki(), key.id()).unwrap();
        put(DATA, &[&put(0x70, &[&envelope]), &put(0x71, &[&[0]])])
    };
    OBJECT.get_or_init(make).clone()
}
