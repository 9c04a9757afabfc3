//! What programs must agree on: bytes and keys in, bytes out.
//!
//! Rooms, in the order data walks through them: [`baseline`] says what a tree is compared with,
//! [`diff`] what changed, [`chunk`] cuts file data, [`frame`] compresses and seals runs of chunks,
//! [`pack`] collects frames into what a site stores, [`manifest`] says where each file's data lies,
//! [`record`] signs the whole. Beside them [`id`] names things, [`keys`] derives every key from the
//! user key, and [`slot`] wraps that key to a card.
//!
//! Nothing here opens a file or a socket.
#![forbid(unsafe_code)]

pub mod id;
