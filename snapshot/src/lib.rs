//! What programs must agree on: bytes and keys in, bytes out.
//!
//! Rooms, in the order data walks through them: [`baseline`] says what a tree is compared with,
//! [`diff`] what changed, [`chunk`] cuts file data, [`frame`] compresses runs of chunks, [`pack`]
//! seals frames into what a site stores, [`manifest`] says where each file's data lies, and
//! [`record`] signs the whole. [`image_index`], [`delta`] and [`verity`] bring a baseline's image to a PC. Beside them [`id`] names things, [`keys`] derives every key from the
//! user key, [`slot`] wraps that key to a card, [`chain`] leads from it to those of earlier epochs, and [`settings`] are what a user registers before the first visit.
//!
//! Nothing here opens a file or a socket.
#![forbid(unsafe_code)]

pub mod baseline;
pub mod chunk;
pub mod delta;
pub mod diff;
pub mod frame;
pub mod image_index;
pub mod manifest;
pub mod pack;
pub mod record;
pub mod verity;

mod bytes;
pub mod chain;
pub mod id;
pub mod keys;
mod seal;
pub mod settings;
pub mod slot;

pub use bytes::ParseError;
pub use seal::HeaderError;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(test)]
mod vectors;
