//! `furoshiki-site`: the server of a site, and what its operator does.

mod arguments;
mod ca;
mod desk;
mod operate;
mod run;

use std::process::ExitCode;

use clap::Parser as _;

use self::arguments::{Arguments, Log};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("FUROSHIKI_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter);
    match arguments.log {
        Log::Json => lines.json().init(),
        Log::Text => lines.init(),
    }
    match run::run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("furoshiki-site: {error:#}");
            ExitCode::FAILURE
        }
    }
}
