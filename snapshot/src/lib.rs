//! What programs must agree on: bytes and keys in, bytes out.
//!
//! Rooms, in the order data walks through them: [`baseline`] says what a tree is compared with and
//! [`record`] signs the whole. Beside them [`id`] names things, [`keys`] derives every key from the
//! user key, and [`slot`] wraps that key to a card.
//!
//! Nothing here opens a file or a socket.
#![forbid(unsafe_code)]

pub mod baseline;
pub mod record;

mod bytes;
pub mod id;
pub mod keys;
pub mod slot;

pub use bytes::ParseError;
