//! The whole site as others meet it: requests to the router, servers on loopback, the program itself.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod audit;
mod boot_files;
mod browser;
mod bucket;
mod ceph;
mod chunks;
mod deliveries;
mod desk;
mod heads;
mod hostile;
mod leases;
mod merging;
mod objects;
mod openapi;
mod peers;
mod portal;
mod portal_account;
mod portal_places;
mod portal_settings;
mod postgres;
mod program;
mod relay;
mod releases;
mod replicas;
mod replication;
mod retention;
mod schemathesis;
mod sign_in;
mod signed_release;
mod store_contract;
mod support;
mod throttle;
mod wipes;
mod world;
