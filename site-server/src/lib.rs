//! A site: sealed packs come in, the same go out, later or at another site.
//!
//! Rooms, in the order a request walks through them: [`serve`] takes the connection and says who is at
//! the other end ([`tls`]), [`app`] finds the route, `routes`, `door` and `portal` parse and map, [`auth`]
//! checks who asks, [`imports`] reads the files users bring, [`store`] keeps. Beside them [`replication`] brings user records and heads to
//! every site ([`join`] makes a new one of them, [`authority`] has the certificates), [`relay`] brings snapshots to the one site a user chose or arrived at, [`retention`] says which are kept, and [`init`],
//! [`admin`], [`desk`], [`operate`] and [`netboot`] are what the operator and the staff do. [`boot`] is a listener of its own, for firmware.
//!
//! A site cannot open what it stores: this crate never depends on `card`.
#![forbid(unsafe_code)]

pub mod admin;
pub mod admission;
mod announce;
pub mod app;
pub mod auth;
pub mod authority;
pub mod boot;
mod clock;
pub mod config;
mod copies;
pub mod desk;
mod door;
pub mod error;
pub mod front;
pub mod imports;
pub mod init;
pub mod join;
mod linger;
mod meters;
mod metrics;
pub mod netboot;
pub mod openapi;
pub mod operate;
pub mod parse;
mod peers;
mod portal;
pub mod range;
pub mod relay;
pub mod replication;
pub mod retention;
pub mod routes;
mod send;
pub mod serve;
pub mod store;
pub mod tls;
