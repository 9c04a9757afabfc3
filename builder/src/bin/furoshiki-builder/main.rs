//! Command line of the builder.

mod arguments;
mod media;
mod run;

use std::process::ExitCode;

use builder::{
    exit,
    progress::{Progress, Reader},
    surroundings,
};
use clap::Parser;

use self::arguments::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    surroundings::settle();
    let progress = Progress::new(Reader::choose(cli.json));
    let result = match cli.command {
        Command::Build(args) => run::build(args, &progress),
        Command::Diff { before, after } => run::diff(&before, &after, &progress),
        Command::Fetch(args) => run::fetch(&args, &progress),
        Command::VerifyRebuild(args) => run::verify_rebuild(args, &progress),
        Command::Keygen { dir } => run::keygen(dir, &progress),
        Command::Publish(args) => run::publish(&args, &progress),
        Command::Media(command) => media::run(command, &progress),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(exit::code(error.as_ref()))
        }
    }
}
