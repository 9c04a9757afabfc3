//! From a recipe to a signed release that PCs boot and are restored to.
//!
//! Rooms, in the order data walks through them: [`recipe`] says what is wanted, [`lock`] which exact
//! packages that means ([`resolve`] chooses them), [`fetch`] gets and checks them, [`tree`] installs or
//! unpacks them, [`image`] makes the verified file system, of [`ext4`] where PCs rewrite it, [`boot`] kernel and initrd, [`medium`] what
//! discs and sticks hold, [`manifest`] describes and signs all, [`publish`] puts it on sites, [`stick`]
//! on sticks. [`build`](mod@build) walks through them; what recipe and lock alone decide is made in its
//! workshop and kept.
//! [`rebuild`] proves that a release is what recipe and lock make; [`contents`] lists what is in it, [`sizes`] says
//! what takes the room, [`summary`] keeps both with the release, [`diff`] compares two.
//! Beside them [`hardware`], [`release_key`], [`screen`], [`secure_boot`], [`cache`], [`space`], [`progress`], [`command`], [`files`] and
//! [`surroundings`].
#![forbid(unsafe_code)]

pub mod recipe;

pub mod lock;
pub mod resolve;

pub mod fetch;

pub mod tree;

pub mod ext4;
pub mod image;

pub mod boot;

pub mod medium;

pub mod manifest;

pub mod publish;

pub mod stick;

pub mod build;

pub mod diff;
pub mod rebuild;

pub mod cache;
pub mod command;
pub mod contents;
pub mod exit;
pub mod files;
pub mod hardware;
pub mod http;
pub mod mirrors;
pub mod progress;
pub mod release_key;
pub mod screen;
pub mod secure_boot;
pub mod sizes;
pub mod space;
pub mod summary;
pub mod surroundings;
mod workshop;
