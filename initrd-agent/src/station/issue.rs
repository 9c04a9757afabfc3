//! `card issue`: the first card of a new user.

use clap::Args;
use site_api::registration::check_name;

use super::{
    StationError,
    base::Base,
    bench::Bench,
    job::{Job, Making, NewCard},
    recover::OldEscrow,
};

/// Options of `card issue`.
#[derive(Debug, Args)]
pub struct IssueArguments {
    /// User name: the account on the PC and at the site.
    #[arg(long, value_name = "NAME")]
    user: String,
    #[command(flatten)]
    new: NewCard,
    #[command(flatten)]
    making: Making,
    /// For a card that was issued before: its escrow, instead of asking for PUK and management key.
    #[command(flatten)]
    old: OldEscrow,
}

impl IssueArguments {
    pub(super) const fn json(&self) -> bool {
        self.new.json
    }
}

/// `card issue`.
pub(super) fn run(arguments: &IssueArguments) -> Result<(), StationError> {
    check_name(&arguments.user)?;
    let mut job = Job::prepare(&arguments.new)?;
    let bench = Bench::of_piv();
    let mut card = bench.card()?;
    let outcome = match job.take_part(&arguments.making, &mut card, &arguments.user)? {
        Some(part) => job.finish(card, part)?,
        None => {
            let (old, card) = arguments.old.open(&bench, card)?;
            let base = Base::new(&arguments.user)?;
            job.make(&arguments.making, card, &base, old)?
        }
    };
    outcome.tell(arguments.new.json, "is issued to");
    Ok(())
}
