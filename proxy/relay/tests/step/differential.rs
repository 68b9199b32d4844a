//! What the servers and the disk were given, held against what the client sent: nothing is lost, invented or changed, and
//! nothing is promised that nobody keeps.
//!
//! The client's wire and the replies to it are read a second time by a model that has all of both before it, and knows
//! nothing of states, pieces or servers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use memchr::memmem;
use relay::{Fate, Judgement, Mark, OnFailure, Own, OwnAddresses, Question};
use route::List;
use smtp::No;
use smtp::fields::FieldScanner;

use super::choices::Choices;
use super::harness::{
    Desk, HOSTNAME, MODERN, OLD, Opening, Play, Sentence, Stage, Stored, leaving, split_replies,
};
use super::server::{Asked, Says, Taken, Voice, yes};

/// A client's wire is cut here: what is longer finds nothing that is not found sooner.
pub(crate) const MAX_WIRE: usize = 1 << 20;

/// Plays a whole session by these choices, and looks at what came of it.
///
/// # Panics
///
/// Something is not as it must be.
pub(crate) fn play(mut choices: Choices, wire: &[u8]) {
    let wire = &wire[..wire.len().min(MAX_WIRE)];
    let doors = {
        let mut choices = Choices::of_seed(choices.below(1 << 16) as u64);
        Box::new(move |_: &str, _: usize| door(&mut choices))
    };
    // Of some recipients servers are known to take mail, or a directory is to be asked.
    let known = ["user0@one.example", "user1@one.example", "user0@two.example", "user2@two.example"];
    let mut stage = match choices.below(3) {
        0 => Stage::default(),
        _ => Stage::knowing(&known),
    };
    if choices.once_in(5) {
        stage.list = List::Directory(Arc::new(Desk));
    }
    stage.is_inbound = choices.once_in(5);
    if choices.once_in(3) {
        let mut choices = Choices::of_seed(choices.below(1 << 16) as u64);
        stage.judge = Some(Box::new(move |question, _| sentence(question, &mut choices)));
    }
    if choices.once_in(5) {
        stage.own = OwnAddresses::default().with("user1@two.example", Own::Trap);
    }
    let mut play = match choices.below(6) {
        0 => Play::on(stage, Box::new(|_, _| Opening::agreeable()), choices),
        // One backend is away altogether.
        1 => Play::on(
            stage,
            Box::new(|name, _| if name == "one" { Opening::Fails } else { Opening::agreeable() }),
            choices,
        ),
        _ => Play::on(stage, doors, choices),
    };
    play.listed = vec!["user0@one.example", "user3@two.example"];
    play.run();
    play.client(wire);
    // Servers that are silent run into their deadlines; what waited behind them is answered then.
    for _ in 0..50 {
        if play.is_finished {
            break;
        }
        play.let_time_run_out();
    }
    if std::env::var_os("STEP_SEED").is_some() {
        eprintln!("{}", String::from_utf8_lossy(&play.said));
    }
    play.end();
    check(wire, &play.said, &play.taken(), &play.spooled);
}

fn door(choices: &mut Choices) -> Opening {
    if choices.once_in(12) {
        return match choices.below(5) {
            0 | 1 => Opening::Fails,
            2 => Opening::Refused,
            _ => Opening::Hangs,
        };
    }
    let extensions = if choices.below(3) == 2 { OLD } else { MODERN };
    Opening::Opens(extensions, voice(Choices::of_seed(choices.below(1 << 16) as u64)))
}

/// A judge that now and then does not want a message, for all or for some, falls silent or breaks.
fn sentence(question: &Question, choices: &mut Choices) -> Sentence {
    let mut fate = || match choices.below(6) {
        0..=2 => Fate::Deliver(Mark::PASS),
        3 => Fate::Deliver(Mark { word: "tag", spam_flag: true }),
        4 => Fate::Hold(No::NotWanted("it is held".into())),
        _ => Fate::Refuse(No::NotWanted("it is spam".into())),
    };
    let mut judgement = Judgement::failed(OnFailure::Pass, question.direction, "", Duration::ZERO);
    judgement.fate = fate();
    judgement.apart = question.recipients.iter().skip(1).map(|index| (index, fate())).collect();
    match choices.below(8) {
        6 => Sentence::Breaks,
        7 => Sentence::Nothing,
        _ => Sentence::Verdict(Box::new(judgement)),
    }
}

/// A server that now and then refuses, is silent, or goes.
pub(crate) fn voice(mut choices: Choices) -> Voice {
    Box::new(move |asked| {
        if !choices.once_in(8) {
            return yes(asked);
        }
        let path = if let Asked::Rcpt(path) = asked { path } else { "" };
        match choices.below(8) {
            0 | 1 => Says::Reply(format!("550-5.1.1 {path} is\r\n550 5.1.1 refused")),
            2 | 3 => Says::Reply(format!("451 4.3.0 {path} not now")),
            4 => Says::Nothing,
            5 => Says::Closes(String::new()),
            6 => Says::Closes("421 4.3.2 closing".to_owned()),
            // Out of step: nothing of the kind was asked.
            _ => Says::reply("334 what"),
        }
    })
}

/// A transaction as the client sees it.
#[derive(Debug, Default)]
struct Seen {
    /// By their paths.
    accepted: Vec<String>,
    content: Option<Vec<u8>>,
    /// The reply to the content.
    answer: String,
}

/// Holds everything against the client's own view.
pub(crate) fn check(wire: &[u8], said: &[u8], taken: &[Taken], stored: &[Stored]) {
    let seen = client_view(wire, &split_replies(said));
    check_answers(said, &seen, taken, stored);
    check_doubles(taken, stored);
}

/// Every 250 has somebody behind it for every recipient; and what they have is what was sent.
fn check_answers(said: &[u8], seen: &[Seen], taken: &[Taken], stored: &[Stored]) {
    for seen in seen {
        let Some(content) = &seen.content else { continue };
        if !seen.answer.starts_with("250") {
            continue;
        }
        let id = trace(&seen.answer);
        for recipient in &seen.accepted {
            let server =
                taken.iter().filter(|taken| taken.is_accepted() && transaction(&taken.content) == id);
            let disk = stored.iter().filter(|stored| stored.transaction == id);
            let copies = server
                .map(|taken| (&taken.recipients, &taken.content))
                .chain(disk.map(|stored| (&stored.recipients, &stored.content)));
            let copies: Vec<_> = copies.filter(|(recipients, _)| recipients.contains(recipient)).collect();
            assert!(!copies.is_empty(), "{recipient} of {id} was promised: {}", said.escape_ascii());
            copies.iter().for_each(|(_, copy)| check_copy(content, copy));
        }
    }
    for taken in taken {
        let id = transaction(&taken.content);
        let of = seen.iter().find(|seen| !seen.answer.is_empty() && trace(&seen.answer) == id);
        if let Some(Seen { content: Some(content), .. }) = of {
            check_copy(content, &taken.content);
        }
    }
}

/// Within one transaction no recipient gets a message twice from servers, nor from a server and the disk, unless the reply
/// to it was lost.
fn check_doubles(taken: &[Taken], stored: &[Stored]) {
    let mut copies: BTreeMap<(String, &str), usize> = BTreeMap::new();
    let of_servers = taken.iter().filter(|taken| taken.is_accepted());
    for (id, recipients) in of_servers.map(|taken| (transaction(&taken.content), &taken.recipients)) {
        // A client may name one recipient twice; the server then has it twice in one transaction, and delivers it once.
        let recipients: BTreeSet<_> = recipients.iter().collect();
        recipients.iter().for_each(|recipient| *copies.entry((id.clone(), recipient)).or_default() += 1);
    }
    for (copy, times) in &copies {
        assert_eq!(*times, 1, "delivered more than once: {copy:?}");
    }
    let mut spooled: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for stored in stored {
        let recipients: BTreeSet<_> = stored.recipients.iter().collect();
        recipients.iter().for_each(|path| *spooled.entry((&stored.transaction, path)).or_default() += 1);
    }
    for (copy, times) in &spooled {
        assert_eq!(*times, 1, "spooled more than once: {copy:?}");
    }
}

/// The copy is one Received field, the verdict's above it where there is one, and the content without the fields that only Postern may write.
fn check_copy(content: &[u8], copy: &[u8]) {
    let mut scanner = FieldScanner::new(HOSTNAME);
    scanner.scan(content);
    let (added, _) = copy.split_at(start_of_received(copy) + end_of_field(&copy[start_of_received(copy)..]));
    let fields = scanner.finish();
    let length = content.len() as u64;
    let outgoing = delivery::Outgoing { added: added.to_vec(), cuts: fields.cuts, length };
    let mut expected = leaving(content, &outgoing);
    if expected != copy && !expected.ends_with(b"\r\n") {
        // DATA cannot carry an unfinished line (DECISIONS 12).
        expected.extend_from_slice(b"\r\n");
    }
    assert!(expected == copy, "sent {}\narrived {}", expected.escape_ascii(), copy.escape_ascii());
}

/// Behind the fields of the verdict.
fn start_of_received(copy: &[u8]) -> usize {
    let mut at = 0;
    while [&b"X-Postern-Verdict: "[..], b"X-Spam-Flag: "].iter().any(|name| copy[at..].starts_with(name)) {
        at += end_of_field(&copy[at..]);
    }
    assert!(copy[at..].starts_with(b"Received: from "), "{}", copy.escape_ascii());
    at
}

fn end_of_field(copy: &[u8]) -> usize {
    let continued = |at: &usize| matches!(copy.get(at + 2), Some(b' ' | b'\t'));
    memmem::find_iter(copy, b"\r\n").find(|at| !continued(at)).map_or(0, |at| at + 2)
}

/// The transaction that the first Received field names.
fn transaction(copy: &[u8]) -> String {
    let copy = &copy[start_of_received(copy)..];
    let field = String::from_utf8_lossy(&copy[..end_of_field(copy)]).into_owned();
    let id = field.split_once(" id ").unwrap_or_default().1;
    id.split(|c: char| c.is_whitespace() || c == ';').next().unwrap_or_default().to_owned()
}

/// The identifier at the end of a reply.
fn trace(reply: &str) -> String {
    reply.rsplit_once('(').unwrap_or_default().1.trim_end_matches(')').to_owned()
}

/// Reads wire and replies side by side: each command line has one reply, and so has each end of content.
fn client_view(mut wire: &[u8], replies: &[String]) -> Vec<Seen> {
    let mut replies = replies.iter().map(String::as_str);
    let (mut all, mut open) = (Vec::new(), Seen::default());
    match replies.next() {
        Some(greeting) if greeting.starts_with("220") => {}
        // On the way in, to a server that is away and of which nothing is known.
        Some(farewell) if farewell.starts_with("421") => return all,
        other => panic!("a greeting first: {other:?}"),
    }
    let mut chunks: Vec<u8> = Vec::new();
    while let Some(end) = memmem::find(wire, b"\r\n") {
        let line = String::from_utf8_lossy(&wire[..end]).into_owned();
        wire = &wire[end + 2..];
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        let verb = words.first().map(|verb| verb.to_ascii_uppercase()).unwrap_or_default();
        // The octets of a chunk follow its line; its reply follows them.
        let mut chunk: &[u8] = b"";
        let is_chunk = verb == "BDAT" && smtp::Command::parse(line.as_bytes()).is_ok();
        if is_chunk {
            let Some(size) = words.get(1).and_then(|size| size.parse::<usize>().ok()) else { break };
            let Some((octets, rest)) = wire.split_at_checked(size) else { break };
            (chunk, wire) = (octets, rest);
        }
        let Some(reply) = replies.next() else { break };
        let is_positive = reply.starts_with('2');
        match verb.as_str() {
            _ if reply.starts_with("421") => break,
            "MAIL" if is_positive => open = Seen::default(),
            "RCPT" => read_rcpt(&line, reply, &mut open),
            "DATA" if reply.starts_with("354") => {
                let Some((content, rest)) = read_data(wire) else { break };
                wire = rest;
                open.content = Some(content);
                open.answer = replies.next().unwrap_or_default().to_owned();
                all.push(std::mem::take(&mut open));
            }
            "BDAT" if is_chunk => {
                chunks.extend_from_slice(chunk);
                let last = words.get(2).is_some();
                if last || !is_positive {
                    open.content = Some(std::mem::take(&mut chunks));
                    open.answer = reply.to_owned();
                    all.push(std::mem::take(&mut open));
                }
            }
            "RSET" | "EHLO" | "HELO" if is_positive => {
                open = Seen::default();
                chunks.clear();
            }
            _ => {}
        }
    }
    assert!(replies.count() <= 1, "a reply that answers nothing");
    all
}

/// The server's words to a recipient name that recipient: a reply that went to another is found out.
fn read_rcpt(line: &str, reply: &str, open: &mut Seen) {
    let Some(path) = line.split_once('<').and_then(|(_, rest)| rest.split_once('>')) else { return };
    if reply.starts_with("250") {
        let by_memory = reply.starts_with("250 2.1.5 recipient ok");
        assert!(by_memory || reply.contains(path.0), "{line} was answered {reply}");
        open.accepted.push(path.0.to_owned());
    } else if let Some(named) = reply.split_once("5.1.1 ").or_else(|| reply.split_once("4.3.0 "))
        && named.1.contains('@')
    {
        assert!(reply.contains(path.0), "{line} was answered {reply}");
    }
}

fn read_data(wire: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let framed = [b"\r\n", wire].concat();
    let end = memmem::find(&framed, b"\r\n.\r\n")?;
    let lines = &framed[..end + 2];
    let content = (2..lines.len())
        .filter(|&at| lines[at] != b'.' || &lines[at - 2..at] != b"\r\n")
        .map(|at| lines[at])
        .collect();
    Some((content, &wire[end + 3..]))
}
