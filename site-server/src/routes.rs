//! One room for each kind of thing a site answers about: parse, ask the store, map.

pub(crate) mod chunks;
pub(crate) mod deliveries;
pub(crate) mod extract;
pub(crate) mod heads;
pub(crate) mod join;
pub(crate) mod leases;
pub(crate) mod objects;
pub(crate) mod passphrase;
pub(crate) mod pcs;
pub(crate) mod peers;
pub(crate) mod registrations;
pub(crate) mod releases;
pub(crate) mod settings;
pub(crate) mod sign_in;
pub(crate) mod site;
pub(crate) mod wipes;

pub use extract::{PeerIdentity, RemoteAddress};
