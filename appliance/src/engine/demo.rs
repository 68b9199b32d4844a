//! `postern demo`: the whole thing on a laptop.

use super::error::EngineError;
use crate::command::{Demo, Exit};

pub(super) async fn demo(_options: Demo) -> Result<Exit, EngineError> {
    Ok(Exit::Unreachable)
}
