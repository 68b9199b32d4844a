//! `postern`: reads the command line and does what it says.

use std::process::ExitCode;

use appliance::command::{Command, CommandLine, Exit};
use appliance::{ask, check, engine, logging, output};
use clap::Parser as _;

/// Sessions allocate and free small pieces on many threads; the system's allocator keeps more of them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(perform(&line)).into(),
        Err(error) => {
            output::diagnosis(&format!("cannot start: {error}"));
            Exit::Unreachable.into()
        }
    }
}

async fn perform(line: &CommandLine) -> Exit {
    match &line.command {
        Command::Demo(options) => {
            logging::start_quietly(line.json);
            engine::demo(*options, line.json).await
        }
        Command::Run => {
            logging::start(line.json);
            engine::run(line).await
        }
        Command::Check(options) => check::check(line, *options).await,
        Command::Status => ask::status(line).await,
        Command::Trace(wanted) => ask::trace(line, wanted).await,
    }
}
