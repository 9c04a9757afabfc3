//! What of this PC has no driver, on the screen of a PC that gets no further: there is no shell in the initrd.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    clock,
    events::Events,
    inventory::{Found, Inventory, drivers},
    screen::{Screen, chain},
};

/// So long without a new device or a driver that takes one, all had their chance. udevd's own word for it
/// (`/run/udev/queue`) does not help: it stays while the agent holds the disk.
const QUIET: Duration = Duration::from_secs(3);
/// A device that comes and goes would be waited for for ever.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often devices are looked at.
const TURN: Duration = Duration::from_millis(500);

/// Tells people and machines, once drivers had their chance. Does not wait for it.
pub(super) fn tell(screen: &Screen, events: &Events) {
    let (screen, events) = (screen.clone(), events.clone());
    thread::spawn(move || {
        wait_for_drivers();
        match Inventory::take() {
            Ok(inventory) => {
                screen.say(inventory.lines().join("\n"));
                let lacking: Vec<&Found> = inventory.lacking().collect();
                events.emit("inventory", json!({ "lacking": lacking }));
            }
            Err(error) => screen.say(format!("No inventory: {}.", chain(&error))),
        }
    });
}

fn wait_for_drivers() {
    let begin = Instant::now();
    let (mut changed, mut before) = (begin, Vec::new());
    while changed.elapsed() < QUIET && begin.elapsed() < PATIENCE {
        clock::pause(TURN);
        let now = drivers();
        if now != before {
            (changed, before) = (Instant::now(), now);
        }
    }
}
