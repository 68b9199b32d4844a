//! `postern backup` and `postern restore`. Both are programs of their own that read and write the state folder: a backup needs one
//! word with the running Postern, which writes down what it remembers; the spool's files only grow and are held in place by a
//! lock. A restore needs it stopped.

mod key;
mod learnt;
mod make;
mod progress;
mod put_back;

use ::backup::BackupError;
pub(crate) use learnt::EXPORT;

use crate::command::{Backup, CommandLine, Exit, Restore};
use crate::output;

/// `postern backup`: 0 when the file is whole and durable.
pub async fn backup(line: &CommandLine, options: &Backup) -> Exit {
    let (config, options, json) = (line.config_file(), options.clone(), line.json);
    told(tokio::task::spawn_blocking(move || make::backup(&config, &options, json)).await)
}

/// `postern restore`: 0 when all is in place, 1 when the backup does not open or verify.
pub async fn restore(line: &CommandLine, options: &Restore) -> Exit {
    let (config, options, json) = (line.config_file(), options.clone(), line.json);
    told(tokio::task::spawn_blocking(move || put_back::restore(&config, &options, json)).await)
}

/// Why a command stopped.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("{0}")]
    Use(String),
    #[error("{0}")]
    Reach(String),
}

impl Stopped {
    fn exit(&self) -> Exit {
        match self {
            Self::Use(_) | Self::Backup(BackupError::Key(_)) => Exit::Wrong,
            Self::Backup(BackupError::Sealed(_) | BackupError::NotSound(_) | BackupError::Version(_)) => {
                Exit::No
            }
            Self::Backup(_) | Self::Reach(_) => Exit::Unreachable,
        }
    }
}

fn told(outcome: Result<Result<(), Stopped>, tokio::task::JoinError>) -> Exit {
    let stopped = match outcome {
        Ok(Ok(())) => return Exit::Done,
        Ok(Err(stopped)) => stopped,
        Err(error) => Stopped::Reach(error.to_string()),
    };
    output::diagnosis(&stopped.to_string());
    stopped.exit()
}
