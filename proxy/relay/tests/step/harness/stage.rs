//! What a play begins with.

use super::*;

/// What a play begins with beside its doors.
pub(crate) struct Stage {
    pub(crate) limits: Limits,
    /// What is known of recipients; plays that share it follow each other.
    pub(crate) known: Arc<Known>,
    pub(crate) list: List,
    /// What a probe has seen the servers offer.
    pub(crate) remembered: &'static [&'static str],
    /// The client was on its way to the first backend's server, whose banner it sees.
    pub(crate) is_inbound: bool,
    /// The client may send to the world.
    pub(crate) may_relay: bool,
    /// Judges what comes; without, nobody does.
    pub(crate) judge: Option<Bench>,
    /// What follows where it does not.
    pub(crate) on_failure: OnFailure,
    pub(crate) own: OwnAddresses,
    pub(crate) unwelcome: Option<Box<relay::Unwelcome>>,
}

impl Default for Stage {
    fn default() -> Self {
        let limits = Limits { message_size: 2 << 20, errors: 1000, ..Limits::default() };
        Self {
            limits,
            known: Arc::default(),
            list: List::Ask,
            remembered: MODERN,
            is_inbound: false,
            may_relay: false,
            judge: None,
            on_failure: OnFailure::Pass,
            own: OwnAddresses::default(),
            unwelcome: None,
        }
    }
}

impl Stage {
    /// These recipients were accepted by their servers lately.
    pub(crate) fn knowing(recipients: &[&str]) -> Self {
        let stage = Self::default();
        let ok = Reply::new(ReplyCode::new(250).unwrap_or_else(|| unreachable!()), None, "ok");
        for recipient in recipients {
            let Ok(mailbox) = recipient.parse::<Mailbox>() else { panic!("no address: {recipient}") };
            let backend = if recipient.ends_with("@one.example") { "one" } else { "two" };
            let recipients = Recipients::new(backend, Arc::clone(&stage.known), List::Ask);
            recipients.answered(&ForwardPath::Mailbox(mailbox), &ok, WALL);
        }
        stage
    }
}

/// A directory that is asked by hand.
#[derive(Debug)]
pub(crate) struct Desk;

impl Directory for Desk {
    fn recall(&self, _: &Mailbox) -> Option<Listing> {
        None
    }

    fn look_up(&self, _: Mailbox) -> LookingUp<'_> {
        Box::pin(async { Listing::Unanswered })
    }

    fn trouble(&self) -> Box<str> {
        "".into()
    }
}

/// What a judge does with a question.
pub(crate) enum Sentence {
    Verdict(Box<Judgement>),
    /// It is no more.
    Breaks,
    /// Nothing is heard of it.
    Nothing,
}

/// Judges: it is told the question and the content as it came.
pub(crate) type Bench = Box<dyn FnMut(&Question, &[u8]) -> Sentence>;

/// The judge's time for one message.
pub(crate) const BUDGET: Duration = Duration::from_secs(20);
