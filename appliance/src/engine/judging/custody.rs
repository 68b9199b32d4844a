//! What the judge does for a sender's sake: with what a user submits, and with what goes out (DECISIONS 9).

use judge::Check;
use record::{Direction, Opinion, Verdict};
use relay::{Case, Fate, Judgement};
use smtp::No;
use std::time::Duration;

use super::accounts::{Conduct, Sent};
use super::sitting::{Found, Rules};
use super::told::told;

impl Rules {
    /// A user hands a message in. Its content is judged on its way out; whether the user may send is known already.
    pub(super) fn submitted(&self, case: &Case) -> Judgement {
        let sent = Sent { message: case, came_by: None, probability: None, subject: "", message_id: "" };
        let words = match self.court.accounts.sent(&sent, self.court.clock.now()) {
            Conduct::Stopped(words) => words,
            Conduct::Fine | Conduct::Odd(_) | Conduct::Suspect(_) => {
                return Judgement::unjudged(case.direction);
            }
        };
        let check = Check::demanding(SENDER, words, judge::Verdict::Quarantine);
        Judgement {
            verdict: Verdict::Quarantine,
            fate: Fate::Hold(No::NotWanted(TAKEN_OVER.into())),
            apart: Vec::new(),
            results: "".into(),
            opinion: Opinion {
                direction: case.direction,
                carried_out: Verdict::Quarantine,
                probability: None,
                checks: vec![told(&check)],
                words: Vec::new(),
                otherwise: Vec::new(),
                subject: "".into(),
                message_id: "".into(),
                language: "",
                trouble: "".into(),
                took: Duration::ZERO,
            },
        }
    }

    /// Counts what goes out, and demands that it be held if its sender looks taken over.
    pub(super) fn look_at_sender(
        &self,
        case: &Case,
        found: &mut Found,
        weighed: &mut judge::Judgement,
        is_scored: bool,
    ) {
        if case.direction != Direction::Outbound {
            return;
        }
        let sent = Sent {
            message: case,
            came_by: found.came_by,
            probability: is_scored.then_some(weighed.probability),
            subject: found.content.as_ref().map_or("", |content| &content.subject),
            message_id: found.content.as_ref().map_or("", |content| &content.message_id),
        };
        found.conduct = self.court.accounts.sent(&sent, self.court.clock.now());
        let check = match &found.conduct {
            Conduct::Fine => return,
            Conduct::Odd(words) => Check::weighing(SENDER, words.clone(), 0.0),
            Conduct::Suspect(words) | Conduct::Stopped(words) => {
                Check::demanding(SENDER, words.clone(), judge::Verdict::Quarantine)
            }
        };
        weighed.verdict = weighed.verdict.max(check.demand.unwrap_or(judge::Verdict::Pass));
        weighed.checks.insert(0, check);
    }
}

/// The check's name.
const SENDER: &str = "sender";
/// For who asks why it is held.
pub(super) const TAKEN_OVER: &str = "its sender's account looks taken over";
