//! `postern`: reads the command line and does what it says.

use std::process::ExitCode;

use appliance::command::{Command, CommandLine, Exit};
use appliance::{
    ask, backup, check, console, engine, evaluate, firewall, first_boot, logging, output, roles,
};
use clap::Parser as _;

/// Sessions allocate and free small pieces on many threads; the system's allocator keeps more of them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let line = CommandLine::parse();
    // The roles choose their runtime themselves: they may start threads only after they have given away their rights.
    match &line.command {
        Command::Run(options) => {
            logging::start(line.json);
            return roles::run(&line, options).into();
        }
        Command::Rules => {
            logging::start(line.json);
            return roles::rules(&line).into();
        }
        Command::Gate(role) => {
            logging::start(line.json);
            return roles::gate(&line, role).into();
        }
        Command::SiftWorker(role) => return roles::worker(role).into(),
        _ => {}
    }
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
        // Dealt with before there was a runtime.
        Command::Run(_) | Command::Rules | Command::Gate(_) | Command::SiftWorker(_) => Exit::Wrong,
        Command::Check(options) => check::check(line, *options).await,
        Command::Status => ask::status(line).await,
        Command::Trace(wanted) => ask::trace(line, wanted).await,
        Command::Backup(options) => backup::backup(line, options).await,
        Command::Restore(options) => backup::restore(line, options).await,
        Command::Queue(action) => ask::queue(line, action).await,
        Command::Quarantine(action) => ask::quarantine(line, action).await,
        Command::Block(action) => ask::block(line, action).await,
        Command::Domains(action) => ask::domains(line, action).await,
        Command::Reports(action) => ask::reports(line, action).await,
        Command::Senders(action) => ask::senders(line, action).await,
        Command::Users(action) => ask::users(line, action).await,
        Command::Tokens(action) => ask::tokens(line, action).await,
        Command::Audit(wanted) => ask::audit(line, wanted).await,
        Command::Config(action) => ask::config(line, action).await,
        Command::Certs(action) => ask::certs(line, action).await,
        Command::Dns(options) => ask::dns(line, options).await,
        Command::Scan(options) => ask::scan(line, options).await,
        Command::Learn(options) => ask::learn(line, options).await,
        Command::Evaluate(options) => evaluate::evaluate(options, line.json),
        Command::Firewall(action) => firewall::firewall(line, action).await,
        Command::FirstBoot(options) => {
            first_boot::first_boot(options.step, options.root.clone(), line.json).await
        }
        Command::Console(options) => console::console(line, options.once).await,
    }
}
