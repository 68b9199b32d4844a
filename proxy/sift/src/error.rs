//! Why nothing is known of a body.

use std::io;

/// Why nothing is known of a body. None of them is a reason to lose it (law 8).
#[derive(Debug, thiserror::Error)]
pub enum SiftError {
    /// A body that could still change, or is no file, cannot be handed out.
    #[error("the body cannot be handed to a worker: {0}")]
    Body(&'static str),
    /// Every worker is busy and enough bodies wait already, or none came free within the deadline.
    #[error("every worker is busy")]
    Busy,
    /// The worker died, answered nonsense or not in time. It was ended; the next body gets another.
    #[error("the worker failed: {0}")]
    Failed(&'static str),
    /// The same body made workers fail before: it is not given to another one.
    #[error("this body made two workers fail")]
    Held,
    /// The kernel refused something on the way.
    #[error("the body cannot be sifted: {0}")]
    Io(#[from] io::Error),
}
