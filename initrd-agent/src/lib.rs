//! Shared PC and card in, restored PC with the user's diff out; at shutdown, a snapshot.
//!
//! Rooms in the order data walks through them:
//!
//! - at power-on: [`cmdline`] → [`site`] → [`disk`] → [`wipe`] → [`baseline`] (→ [`rewrite`]) → [`signin`] → [`pull`] →
//!   [`apply`] → [`handover`]; [`boot`] leads through them,
//! - in the session and at its end: [`session`] → [`capture`] → [`push`], and [`outbox`] when no site takes it;
//!   [`delivery`] empties that at the next boot, [`renew`] what was sealed before a card was taken away; [`update`] fetches the next baseline, [`esp`] starts it,
//! - after the system: [`exitrd`]; what was wiped is told by [`report`],
//! - at a PC to be looked at: [`inventory`]; at the operator's desk: [`station`],
//! - at anybody's desk, with the card: [`desk`], which takes a snapshot out as an ordinary tar ([`export`]) and in
//!   ([`import`]).
//!
//! Beside them [`screen`] has every sentence a person reads, [`events`] tells machines, [`dm`] and [`keyring`]
//! speak to the kernel, and [`sys`] has all unsafe code.

pub mod apply;
pub mod baseline;
pub mod cmdline;
pub mod disk;
pub mod esp;
pub mod handover;
pub mod pull;
pub mod rewrite;
pub mod signin;
pub mod site;
pub mod wipe;

pub mod boot;

pub mod capture;
pub mod delivery;
pub mod outbox;
pub mod push;
pub mod renew;
pub mod report;
pub mod session;
pub mod update;

pub mod export;
pub mod import;

pub mod exitrd;

pub mod desk;
pub mod inventory;
pub mod station;

pub mod clock;
pub mod dm;
pub mod events;
pub mod harden;
pub mod keyring;
pub mod paths;
pub mod screen;
pub mod sys;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
