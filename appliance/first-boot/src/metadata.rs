//! Metadata services: which cloud this is by its firmware's words ([`Dmi`]), and what each of the six says.
//!
//! Every question has a deadline and every answer a bound. Nothing is followed elsewhere.

mod clouds;
mod dmi;
mod http;

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use dmi::{Cloud, Dmi};
pub use http::{Client, SERVICE};

use crate::error::FirstBootError;
use crate::seed::Seed;

/// How long to wait before a service that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// Asks the cloud's service for everything.
///
/// # Errors
///
/// It does not answer within `patience`, says no, or says what cannot be read.
pub async fn ask(cloud: Cloud, client: &Client, patience: Duration) -> Result<Seed, FirstBootError> {
    let deadline = Instant::now() + patience;
    loop {
        let error = match clouds::ask(cloud, client).await {
            Err(error) if error.is_passing() => error,
            decided => return decided,
        };
        if Instant::now() + PAUSE >= deadline {
            return Err(FirstBootError::GaveUp { after: patience, last: Box::new(error) });
        }
        sleep(PAUSE).await;
    }
}
