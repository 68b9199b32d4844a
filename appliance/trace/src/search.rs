//! Looking for entries, from the newest back.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::error::TraceError;
use crate::terms::Wanted;
use crate::writer::{Place, Trace};
use crate::{Entry, segment::Part};

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Search {
    /// What an entry has to have.
    pub wanted: Wanted,
    /// Not older than this, since 1970.
    pub since: Duration,
    /// Before this place, to go on where another search stopped.
    pub before: Option<Place>,
    /// So many at most.
    pub last: usize,
    /// So many are looked at, at most; those that the index rules out do not count.
    pub looks: usize,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Found<E> {
    /// The newest first.
    pub entries: Vec<(Place, E)>,
    /// Where it stopped, so that there may be more before; `None`: there is nothing more.
    pub reached: Option<Place>,
}

impl<E: Entry> Trace<E> {
    /// Entries that fit, the newest first. `fits` has the last word on each.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn search(&self, search: &Search, mut fits: impl FnMut(&E) -> bool) -> Result<Found<E>, TraceError> {
        let mut found = Found { entries: Vec::new(), reached: None };
        let mut looks = 0;
        let before = search.before.map_or(u64::MAX, |place| place.0);
        let mut look = |number: u64, json: &[u8]| {
            if number >= before {
                return true;
            }
            if found.entries.len() >= search.last || looks >= search.looks {
                found.reached = Some(Place(number + 1));
                return false;
            }
            looks += 1;
            if let Ok(entry) = serde_json::from_slice::<E>(json)
                && entry.at() >= search.since
                && fits(&entry)
            {
                found.entries.push((Place(number), entry));
            }
            true
        };
        self.parts_backwards(search, |part| {
            Ok(match part.backwards(&mut look)? {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            })
        })?;
        Ok(found)
    }

    /// Shows the parts of all segments in which something may be, the newest first.
    fn parts_backwards(
        &self,
        search: &Search,
        mut show: impl FnMut(&Part) -> Result<ControlFlow<()>, TraceError>,
    ) -> Result<(), TraceError> {
        let (current, sealed) = self.view(&search.wanted)?;
        if show(&current)?.is_break() {
            return Ok(());
        }
        for segment in sealed.iter().rev() {
            let too_new = search.before.is_some_and(|place| segment.first >= place.0);
            if too_new || segment.index.times.1 < search.since {
                continue;
            }
            match segment.part(&search.wanted).and_then(|part| show(&part)) {
                Ok(ControlFlow::Break(())) => break,
                Ok(ControlFlow::Continue(())) => {}
                // Its time was over meanwhile.
                Err(error) if error.is_gone() => {}
                Err(error @ TraceError::Damaged { .. }) => {
                    tracing::warn!(%error, "a part of the trace is left out")
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The entries of one block, the first that has any from this place on, and the place behind them; `None` at the end. What
    /// was not flushed yet is not among them.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn forward(&self, from: Place) -> Result<Option<(Vec<E>, Place)>, TraceError> {
        let everything = Wanted::default();
        let (current, sealed) = self.view(&everything)?;
        for segment in sealed.iter().filter(|segment| segment.end() > from.0) {
            match segment.part(&everything).map(|part| next_block(&part, from)) {
                Ok(Some(block)) => return Ok(Some(block)),
                Ok(None) => {}
                Err(error) if error.is_gone() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(next_block(&current, from))
    }
}

fn next_block<E: Entry>(part: &Part, from: Place) -> Option<(Vec<E>, Place)> {
    for (number, span) in part.blocks.iter().enumerate() {
        let end = part.blocks.get(number + 1).map_or(part.entries, |next| next.first);
        if part.first + u64::from(end) <= from.0 {
            continue;
        }
        let Some(block) = part.block(*span) else { continue };
        let numbered = (part.first + u64::from(span.first)..).zip(block.entries());
        let wanted = numbered.filter(|(number, _)| *number >= from.0);
        let entries: Vec<E> = wanted.filter_map(|(_, json)| serde_json::from_slice(json).ok()).collect();
        let behind = part.first + u64::from(span.first) + u64::from(block.len());
        if behind > from.0 {
            return Some((entries, Place(behind)));
        }
    }
    None
}
