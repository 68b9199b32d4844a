//! The processes of `postern run` (docs/processes.md): the [`guard`](self) starts the others and has rights, the gate
//! reads the network and has none, sift workers read mail and have nothing. Without root they are threads of one process, or,
//! where [`rules`] keeps the rule set for them, processes of one user.
//!
//! - [`confine`] takes the rights away; tests call the same functions.
//! - [`message`] is what guard and gate say to each other, [`guard::ban_desk`] what becomes of it.
//! - [`Roles`] is what the engine sees of all this.

pub mod account;
pub mod confine;
pub mod error;
pub mod guard;
pub mod message;

mod bans;
mod gate;
mod handed;
mod inherited;
mod link;
mod reader;
mod rules;
mod state_folder;
mod worker;

pub use account::Account;
pub use error::RoleError;
pub use link::Roles;
pub use reader::Reader;

use crate::command::{CommandLine, Exit, Role, Run};
use crate::{engine, output};

/// `postern run`: as the guard where this process may start others with fewer rights, else as all roles in one.
/// With a socket of `postern rules` as the guard, too, of the user that this process has.
pub fn run(line: &CommandLine, options: &Run) -> Exit {
    if let Some(socket) = &options.rules {
        return told(guard::run_as_own_user(line, socket));
    }
    let why = match confine::privileges::may_separate() {
        Ok(()) => return told(guard::run(line)),
        Err(why) => why,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    told(runtime.map_err(|error| RoleError::Start { what: "the runtime", error }).map(|runtime| {
        tracing::info!(why, "the roles are threads of one process");
        runtime.block_on(engine::run(line, Roles::threads(why)))
    }))
}

/// The hidden command that keeps the rule set for a guard without rights.
pub fn rules(line: &CommandLine) -> Exit {
    told(rules::run(line))
}

/// The hidden command by which the guard starts the gate.
pub fn gate(line: &CommandLine, role: &Role) -> Exit {
    told(gate::run(line, &role.account()))
}

/// The hidden command by which the guard starts a sift worker.
pub fn worker(role: &Role) -> Exit {
    told(worker::run(&role.account()))
}

fn told(outcome: Result<Exit, RoleError>) -> Exit {
    outcome.unwrap_or_else(|error| {
        output::diagnosis(&error.to_string());
        error.exit()
    })
}
