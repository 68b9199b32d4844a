use ::record::{Direction, Protocol, TlsOutcome};
use delivery::Client;
use relay::HeldBody;
use smtp::Envelope;

use super::*;

const NOW: Duration = Duration::from_secs(1_795_287_600);
const DAY: Duration = Duration::from_secs(86_400);

fn id(number: u32) -> TransactionId {
    TransactionId { session: TraceId::new(1_795_287_600_000, 7), number }
}

fn state(stops: bool) -> State {
    let limits = Limits { stops, own: vec!["own.test".into()], ..Limits::default() };
    // Long enough ago for strangers to be known.
    State { limits: Arc::new(limits), since: (NOW - 30 * DAY).as_secs(), ..State::default() }
}

/// From a sender to so many strangers, the first of this number.
fn message(number: u32, from: &str, first: usize, recipients: usize, user: Option<&str>) -> Message {
    let mut text = format!("MAIL FROM:<{from}>\r\n");
    (first..first + recipients)
        .for_each(|one| text.push_str(&format!("RCPT TO:<r{one}@elsewhere.test>\r\n")));
    let envelope = Envelope::read(text.as_bytes()).unwrap();
    Message {
        transaction: id(number),
        direction: Direction::Outbound,
        client: Client {
            address: "192.0.2.1:1".parse().unwrap(),
            destination: "192.0.2.2:25".parse().unwrap(),
            helo: "x".into(),
            esmtp: true,
        },
        protocol: if user.is_some() { Protocol::Submission } else { Protocol::Smtp },
        tls: TlsOutcome::Plain,
        authenticated: user.is_some(),
        user: user.map(Into::into),
        recipients: (0..envelope.recipients.len()).collect(),
        envelope,
        trapped: false,
        received: NOW,
        body: HeldBody { file: None, stored: 0, tail: Arc::new([]) },
    }
}

fn send(state: &mut State, message: &Message, came_by: Option<TransactionId>) -> Conduct {
    state.sent(&Sent { message, came_by, probability: Some(0.1), subject: "x", message_id: "" }, NOW)
}

#[test]
fn a_run_of_spam_through_a_users_account_is_stopped_whatever_it_writes_into_the_envelope() {
    let mut state = state(true);
    let mut conduct = Conduct::Fine;
    for number in 0..10 {
        conduct = send(
            &mut state,
            &message(number, &format!("x{number}@y.test"), number as usize * 40, 40, Some("ann")),
            None,
        );
    }
    assert!(
        matches!(&conduct, Conduct::Stopped(words) if words.contains("nobody here had written to")),
        "{conduct:?}"
    );
    let one = message(20, "ann@own.test", 0, 1, Some("ann"));
    assert!(matches!(send(&mut state, &one, None), Conduct::Stopped(_)));
    let other = message(21, "bob@own.test", 1000, 1, Some("bob"));
    assert_eq!(send(&mut state, &other, None), Conduct::Fine);
    assert!(state.release("Ann"));
    assert_eq!(send(&mut state, &message(22, "ann@own.test", 2000, 1, Some("ann")), None), Conduct::Fine);
    assert!(!state.release("ann"));
}

#[test]
fn what_was_submitted_counts_once_and_the_members_of_a_list_are_the_lists() {
    let mut state = state(true);
    send(&mut state, &message(1, "ann@own.test", 0, 30, Some("ann")), None);
    send(&mut state, &message(2, "ann@own.test", 0, 30, None), Some(id(1)));
    let ann = Account::user("ann");
    assert_eq!(state.records[&ann].within(1).recipients, 30);
    assert_eq!(state.records.len(), 1, "nobody else has sent");
    send(&mut state, &message(3, "list@own.test", 100, 200, None), Some(id(1)));
    assert_eq!(state.records[&ann].within(1).recipients, 30);
    assert_eq!(state.records[&Account::Address("list@own.test".into())].within(1).recipients, 200);
    // Names a submission that is not its own.
    send(&mut state, &message(4, "ann@own.test", 300, 20, None), Some(id(1)));
    assert_eq!(state.records[&ann].within(1).recipients, 50);
}

#[test]
fn what_a_server_tries_again_is_sent_once_and_whom_nobody_took_is_counted_once() {
    let mut state = state(true);
    send(&mut state, &message(1, "ann@own.test", 0, 30, Some("ann")), None);
    for number in 2..9 {
        let message = message(number, "ann@own.test", 0, 20, None);
        let sent = Sent {
            message: &message,
            came_by: Some(id(1)),
            probability: Some(0.1),
            subject: "",
            message_id: "1@x",
        };
        state.sent(&sent, NOW);
    }
    let refused = refusals(2, 10);
    state.went(&refused, NOW);
    let count = state.records[&Account::user("ann")].within(1);
    assert_eq!((count.recipients, count.refused), (30, 10));
}

#[test]
fn refusals_of_all_recipients_are_the_users_of_that_name() {
    let mut state = state(true);
    send(&mut state, &message(1, "ann@own.test", 0, 30, Some("ann@own.test")), None);
    state.went(&refusals(2, 30), NOW);
    let count = state.records[&Account::user("ann@own.test")].within(1);
    assert_eq!((count.recipients, count.refused), (30, 30));
}

/// A transaction from ann@own.test, so many of whose recipients were refused.
fn refusals(number: u32, recipients: usize) -> ::record::Event {
    let mut one = crate::recorder::samples::transaction(1);
    (one.id, one.direction, one.authenticated) = (id(number), Direction::Outbound, false);
    (one.reverse_path, one.groups) = ("ann@own.test".into(), Vec::new());
    let refused = crate::recorder::samples::reply(550, "no such user");
    let one_of =
        ::record::RecipientOutcome { address: "x@elsewhere.test".into(), alias: None, reply: Some(refused) };
    one.recipients = vec![one_of; recipients];
    ::record::Event::Transaction(Box::new(one))
}

#[test]
fn who_is_stopped_under_one_name_is_stopped_under_the_other() {
    let mut state = state(false);
    state.stop("Ann@own.test", NOW);
    for user in [None, Some("ann@own.test")] {
        let conduct = send(&mut state, &message(1, "ann@own.test", 0, 1, user), None);
        assert_eq!(conduct, Conduct::Stopped("stopped by a person".into()), "{user:?}");
    }
    assert!(state.release("ann@own.test"));
    assert_eq!(send(&mut state, &message(2, "ann@own.test", 0, 1, None), None), Conduct::Fine);
}

#[test]
fn where_nothing_is_enforced_a_case_is_told_and_over_after_a_calm_day() {
    let mut state = state(false);
    let conduct = send(&mut state, &message(1, "ann@own.test", 0, 400, None), None);
    assert!(matches!(conduct, Conduct::Suspect(_)), "{conduct:?}");
    assert!(state.has_news());
    let ann = Account::Address("ann@own.test".into());
    state.records.get_mut(&ann).unwrap().case.as_mut().unwrap().told = true;
    assert!(!state.has_news());
    assert!(matches!(state.conduct(&ann, NOW + DAY / 2), Conduct::Suspect(_)));
    assert_eq!(state.conduct(&ann, NOW + 3 * DAY), Conduct::Fine);
}

#[test]
fn exempt_senders_and_mail_from_nobody_are_not_counted() {
    let mut state = state(true);
    let exempt = vec!["news@own.test".to_owned(), "ann".to_owned(), "192.0.2.9".to_owned()];
    let limits = Limits { exempt: Peers::new(&exempt), exempt_names: exempt, ..Limits::default() };
    state.limits = Arc::new(limits);
    for (from, user) in [("news@own.test", None), ("x@own.test", Some("ann")), ("", None)] {
        assert_eq!(send(&mut state, &message(1, from, 0, 500, user), None), Conduct::Fine, "{from}");
    }
    let mut inside = message(2, "y@own.test", 0, 500, None);
    inside.client.address = "192.0.2.9:1".parse().unwrap();
    assert_eq!(send(&mut state, &inside, None), Conduct::Fine);
    assert!(state.records.is_empty());
}

#[test]
fn refusals_count_at_rcpt_at_once_and_out_of_the_queue() {
    let mut state = state(true);
    send(&mut state, &message(1, "ann@own.test", 0, 60, None), None);
    let ann = Account::Address("ann@own.test".into());
    let mut one = crate::recorder::samples::transaction(1);
    (one.id, one.direction, one.authenticated) = (id(1), Direction::Outbound, false);
    one.groups.clear();
    let refused = crate::recorder::samples::reply(550, "no such user");
    one.recipients = (0..4)
        .map(|number| ::record::RecipientOutcome {
            address: if number == 3 { "x@own.test".into() } else { "x@elsewhere.test".into() },
            alias: None,
            reply: Some(refused.clone()),
        })
        .collect();
    state.went(&::record::Event::Transaction(Box::new(one.clone())), NOW);
    assert_eq!(state.records[&ann].within(1).refused, 3, "its own domain's are no far side's");
    let step = ::record::Afterwards {
        transaction: id(1),
        at: NOW,
        step: ::record::Step::Refused,
        leg: None,
        recipients: Vec::new(),
        recipients_in_all: 20,
        words: None,
    };
    state.went(&::record::Event::Afterwards(Box::new(step)), NOW);
    assert_eq!(state.records[&ann].within(1).refused, 23);
    assert!(state.records[&ann].case.is_some(), "strangers who are not there");
    one.direction = Direction::Inbound;
    state.went(&::record::Event::Transaction(Box::new(one)), NOW);
    assert_eq!(state.records[&ann].within(1).refused, 23);
}

#[test]
fn there_is_a_bound_and_cases_outlive_it() {
    let mut state = state(true);
    state.stop("ann", NOW - DAY);
    for number in 0..=MOST {
        state.record(&Account::user(&format!("u{number}")), NOW + Duration::from_secs(number as u64));
    }
    assert!(state.records.len() <= MOST && state.records.contains_key(&Account::user("ann")));
    assert!(!state.records.contains_key(&Account::user("u0")));
}

#[tokio::test]
async fn what_is_known_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let settings = store::Settings::in_folder(folder.path().to_owned());
    let store = Store::start(settings, Arc::new(::record::SystemClock)).unwrap();
    let accounts = Accounts::open(store.clone(), NOW - 30 * DAY).await;
    let limits = Limits { own: vec!["own.test".into()], ..Limits::default() };
    accounts.limits_are(limits.clone());
    let message = message(1, "ann@own.test", 0, 400, None);
    let sent = Sent { message: &message, came_by: None, probability: None, subject: "", message_id: "" };
    assert!(matches!(accounts.sent(&sent, NOW), Conduct::Stopped(_)));
    accounts.put_away().await.unwrap();
    let again = Accounts::open(store.clone(), NOW).await;
    again.limits_are(limits);
    assert_eq!(again.sender_of(id(1)).as_deref(), Some("ann@own.test"));
    assert!(again.state().has_news(), "the postmaster was not told");
    let list = again.list(10, NOW);
    assert!(list[0].held && list[0].recipients_in_a_day == 400, "{list:?}");
    assert!(again.release("ann@own.test"));
    again.put_away().await.unwrap();
    assert!(!Accounts::open(store, NOW).await.list(10, NOW)[0].held);
}
