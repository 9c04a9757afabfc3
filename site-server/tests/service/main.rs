//! The whole site as others meet it: requests to the router, servers on loopback, the program itself.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod audit;
mod balance;
mod boot_files;
mod browser;
mod bucket;
mod busy;
mod canary;
mod ceph;
mod chunks;
mod copies;
mod deliveries;
mod desk;
mod desk_people;
mod desk_staff;
mod disk_full;
mod epochs;
mod fabric;
mod five;
mod heads;
mod hostile;
mod kills;
mod leases;
mod merging;
mod objects;
mod openapi;
mod operate;
mod operation;
mod other;
mod passphrases;
mod patient;
mod peers;
mod portal;
mod portal_account;
mod portal_places;
mod portal_settings;
mod postgres;
mod program;
mod registrations;
mod relay;
mod releases;
mod replicas;
mod replication;
mod rerun;
mod retention;
mod schemathesis;
mod sign_in;
mod signed_release;
mod silent;
mod store_contract;
mod support;
mod throttle;
mod trust;
mod wipes;
mod world;
