//! Senders that note every 250, a server that notes every delivery, and the account of both: what was promised and came to
//! nobody, what came changed, what came twice and why.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A sender waits no longer for a reply; nothing here takes that long but a Postern that is gone.
const REPLY: Duration = Duration::from_secs(20);
/// Who was refused tries again after this.
const AGAIN: Duration = Duration::from_millis(20);
/// A server's 250 and Postern's note of it lie apart by less than this, also on a machine that does other things as well.
const IN_FLIGHT: Duration = Duration::from_secs(10);
const DOMAIN: &str = "corp.test";

/// One to three, by the message's number.
pub fn recipients(number: u32) -> Vec<String> {
    (0..=number % 3).map(|which| format!("r{number}-{which}@{DOMAIN}")).collect()
}

/// A message's content, by its number, as it goes over the wire but for the final dot: a line up to some 300 KiB, which is more
/// than Postern keeps in memory.
pub fn content(number: u32) -> Vec<u8> {
    let lines = if number.is_multiple_of(97) { 6000 } else { 1 + number as usize * 7 % 90 };
    let mut text = format!("Subject: promise {number}\r\n\r\n");
    for line in 0..lines {
        text.push_str(&format!("{number} {line} the quick brown fox jumps over it\r\n"));
    }
    text.into_bytes()
}

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// 250 after the final dot.
    Promised,
    /// Another reply, or the session ended before the final dot.
    Nothing,
    /// The final dot was sent, and no reply came: it may have been taken.
    Unknown,
}

/// Tries once.
pub fn send(to: SocketAddr, number: u32) -> Told {
    let mut dotted = false;
    match try_send(to, number, &mut dotted) {
        Ok(true) => Told::Promised,
        Ok(false) => Told::Nothing,
        Err(_) if dotted => Told::Unknown,
        Err(_) => Told::Nothing,
    }
}

fn try_send(to: SocketAddr, number: u32, dotted: &mut bool) -> io::Result<bool> {
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(REPLY))?;
    stream.set_write_timeout(Some(REPLY))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut say = |text: &[u8], good: &str| -> io::Result<bool> {
        (&stream).write_all(text)?;
        Ok(reply(&mut reader)?.starts_with(good))
    };
    let mut greeted = say(b"", "220")? && say(b"EHLO sender.test\r\n", "250")?;
    greeted = greeted && say(format!("MAIL FROM:<s{number}@source.test>\r\n").as_bytes(), "250")?;
    for recipient in recipients(number) {
        greeted = greeted && say(format!("RCPT TO:<{recipient}>\r\n").as_bytes(), "250")?;
    }
    if !(greeted && say(b"DATA\r\n", "354")?) {
        return Ok(false);
    }
    (&stream).write_all(&content(number))?;
    *dotted = true;
    let taken = say(b".\r\n", "250")?;
    let _ = say(b"QUIT\r\n", "221");
    Ok(taken)
}

fn reply(reader: &mut impl BufRead) -> io::Result<String> {
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(line);
        }
    }
}

/// What senders were told.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Messages for which a 250 was read.
    pub promised: BTreeSet<u32>,
    /// Tries whose final dot was not answered, by message.
    pub unknown: BTreeMap<u32, u32>,
    next: u32,
}

/// Sends messages, each until it is promised or was refused for long, until `stop` says so.
pub fn keep_sending(to: SocketAddr, ledger: &Mutex<Ledger>, stop: &dyn Fn() -> bool) {
    while !stop() {
        let number = {
            let mut ledger = locked(ledger);
            ledger.next += 1;
            ledger.next
        };
        for _ in 0..100 {
            match send(to, number) {
                Told::Promised => {
                    locked(ledger).promised.insert(number);
                    break;
                }
                Told::Unknown => *locked(ledger).unknown.entry(number).or_default() += 1,
                Told::Nothing => thread::sleep(AGAIN),
            }
            if stop() {
                break;
            }
        }
    }
}

/// How the server behind is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mood {
    /// It takes mail.
    Up,
    /// Connections are closed at once.
    Down,
    /// It accepts recipients, and closes at DATA.
    Breaking,
}

/// A fault of the server's own book-keeping, by which the account is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// It takes one message in ten and notes it for one recipient fewer.
    LosesRecipients,
    /// It notes one message in ten twice.
    TakesTwice,
}

/// A delivery.
#[derive(Clone, Debug)]
struct Note {
    number: u32,
    recipients: Vec<String>,
    whole: bool,
    /// When its connection was accepted.
    accepted: Instant,
    at: Instant,
    /// Whether anything was said on its connection afterwards.
    settled: bool,
    /// When its connection ended with nothing said.
    ended: Option<Instant>,
}

#[derive(Default)]
struct Noted {
    notes: Vec<Note>,
}

/// The server behind.
#[derive(Clone)]
pub struct Server {
    address: SocketAddr,
    noted: Arc<Mutex<Noted>>,
    mood: Arc<AtomicU8>,
    count: Arc<AtomicU32>,
    planted: Option<Planted>,
}

impl Server {
    /// On a free port, up.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub fn start(planted: Option<Planted>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| panic!("a server: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("a server: {error}"));
        let (noted, mood, count) = (Arc::default(), Arc::new(AtomicU8::new(Mood::Up as u8)), Arc::default());
        let server = Self { address, noted, mood, count, planted };
        let accepting = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = accepting.clone();
                // How a connection ends does not matter.
                thread::spawn(move || {
                    let mut last = None;
                    let _ = server.serve(&stream, &mut last);
                    if let Some(at) = last {
                        locked(&server.noted).notes[at].ended = Some(Instant::now());
                    }
                });
            }
        });
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it is from now on.
    pub fn is(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::Relaxed);
    }

    fn mood(&self, mood: Mood) -> bool {
        self.mood.load(Ordering::Relaxed) == mood as u8
    }

    /// Deliveries so far.
    pub fn deliveries(&self) -> usize {
        locked(&self.noted).notes.len()
    }

    /// `last` is the note that nothing was said behind.
    fn serve(&self, stream: &TcpStream, last: &mut Option<usize>) -> io::Result<()> {
        if self.mood(Mood::Down) {
            return Ok(());
        }
        let accepted = Instant::now();
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut out: &TcpStream = stream;
        out.write_all(b"220 hidden.test ESMTP\r\n")?;
        let mut named: Vec<String> = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(at) = last.take() {
                locked(&self.noted).notes[at].settled = true;
            }
            if self.mood(Mood::Down) {
                return Ok(());
            }
            let word = line.get(..4).unwrap_or_default().to_ascii_uppercase();
            let answer = match word.as_str() {
                "EHLO" => "250-hidden.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
                "MAIL" | "RSET" => {
                    named.clear();
                    "250 2.0.0 ok\r\n"
                }
                "RCPT" => {
                    let inside = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
                    named.extend(inside.map(|(address, _)| address.to_owned()));
                    "250 2.1.5 ok\r\n"
                }
                "DATA" if self.mood(Mood::Breaking) => return Ok(()),
                "DATA" => {
                    out.write_all(b"354 go ahead\r\n")?;
                    *last = Some(self.take(&mut reader, std::mem::take(&mut named), accepted)?);
                    "250 2.0.0 taken\r\n"
                }
                "QUIT" => {
                    return out.write_all(b"221 2.0.0 bye\r\n");
                }
                _ => "250 2.0.0 ok\r\n",
            };
            out.write_all(answer.as_bytes())?;
        }
    }

    /// Reads a content and notes it: before the 250 is said, as a server makes durable before it says so.
    fn take(
        &self,
        reader: &mut impl BufRead,
        mut recipients: Vec<String>,
        accepted: Instant,
    ) -> io::Result<usize> {
        let mut text = Vec::new();
        loop {
            let start = text.len();
            if reader.read_until(b'\n', &mut text)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if &text[start..] == b".\r\n" {
                text.truncate(start);
                break;
            }
        }
        let number = number_of(&text).ok_or_else(|| io::Error::other("a message that nobody sent"))?;
        let unlucky = self.count.fetch_add(1, Ordering::Relaxed) % 10 == 9;
        let times = if unlucky && self.planted == Some(Planted::TakesTwice) { 2 } else { 1 };
        if unlucky && self.planted == Some(Planted::LosesRecipients) {
            recipients.pop();
        }
        // Fields are added at the top, nothing else.
        let note = Note {
            number,
            recipients,
            whole: text.ends_with(&content(number)),
            accepted,
            at: Instant::now(),
            settled: false,
            ended: None,
        };
        let mut noted = locked(&self.noted);
        for _ in 0..times {
            noted.notes.push(note.clone());
        }
        Ok(noted.notes.len() - 1)
    }
}

/// Which message a content is.
pub fn number_of(content: &[u8]) -> Option<u32> {
    let start = memchr::memmem::find(content, b"Subject: promise ")? + 17;
    let digits = content[start..].split(|octet| !octet.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A time when Postern was killed: somewhere in between.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// It was alive.
    pub begun: Instant,
    /// It was gone.
    pub over: Instant,
}

/// A copy that waits in the spool: its number and the recipients that remain.
pub type Waiting = (u32, Vec<String>);

/// What came of all promises.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Recipients of promised messages to whom nothing came, and for whom nothing waits.
    pub lost: Vec<String>,
    /// Messages that came otherwise than they were sent.
    pub changed: Vec<u32>,
    /// Copies too many because a sender's final dot was not answered and it sent the message again.
    pub sent_again: usize,
    /// Copies too many because Postern was killed between the server's 250 and its own note of it.
    pub killed_between: usize,
    /// Copies too many that nothing explains, by recipient.
    pub doubled: Vec<String>,
}

/// What came to one recipient of one message.
#[derive(Debug, Default)]
struct Copies {
    /// When the server took one, the first one first, and what came of its connection.
    taken: Vec<Taken>,
    /// Those that wait.
    waiting: usize,
}

/// A copy that the server took.
#[derive(Clone, Copy, Debug)]
struct Taken {
    /// The connection was.
    accepted: Instant,
    at: Instant,
    /// Postern went on afterwards.
    settled: bool,
    /// The connection ended, and Postern had not.
    ended: Option<Instant>,
}

impl Taken {
    /// The kill that came, with this very connection open, before Postern could note it.
    fn cut_off_by(self, kills: &[Kill]) -> Option<Kill> {
        let ended = self.ended.filter(|_| !self.settled)?;
        // Of the Postern that had the connection: it lived when it was greeted, and the one before did not.
        let own = kills.iter().find(|kill| kill.over >= self.accepted)?;
        Some(*own).filter(|kill| kill.begun <= ended && kill.begun <= self.at + IN_FLIGHT)
    }
}

impl Copies {
    /// How many were followed by another one because Postern was killed before it could note that they were taken.
    fn cut_off(&self, kills: &[Kill]) -> usize {
        let follows = |kill: Kill| self.waiting > 0 || self.taken.iter().any(|one| one.at >= kill.begun);
        let kills = self.taken.iter().filter_map(|one| one.cut_off_by(kills));
        kills.filter(|kill| follows(*kill)).count()
    }

    /// For a person who looks why, in milliseconds from the first copy: each copy, its connection's end, the kills about it.
    fn story(&self, kills: &[Kill]) -> String {
        let Some(first) = self.taken.first() else { return format!("{} wait", self.waiting) };
        let after = |at: Instant| at.saturating_duration_since(first.at).as_millis();
        let taken = self.taken.iter().map(|one| {
            let ended =
                one.ended.map_or_else(|| "no end seen".to_owned(), |at| format!("ended {}", after(at)));
            format!("taken {} ({ended}, went on: {})", after(one.at), one.settled)
        });
        let last = self.taken.last().map_or(first.at, |one| one.at) + IN_FLIGHT;
        let near = kills.iter().filter(|kill| kill.over >= first.at && kill.begun <= last).take(10);
        let near: Vec<_> = near.map(|kill| format!("{}-{}", after(kill.begun), after(kill.over))).collect();
        format!("{}; {} wait; killed {}", taken.collect::<Vec<_>>().join(", "), self.waiting, near.join(" "))
    }
}

impl Account {
    /// Compares. `kills` are when Postern was killed.
    pub fn of(ledger: &Ledger, server: &Server, waiting: &[Waiting], kills: &[Kill]) -> Self {
        let mut account = Self::default();
        let mut copies: BTreeMap<String, Copies> = BTreeMap::new();
        let noted = locked(&server.noted);
        for note in &noted.notes {
            if !note.whole {
                account.changed.push(note.number);
            }
            for recipient in &note.recipients {
                copies.entry(recipient.clone()).or_default().taken.push(Taken {
                    accepted: note.accepted,
                    at: note.at,
                    settled: note.settled,
                    ended: note.ended,
                });
            }
        }
        for (_, recipients) in waiting {
            for recipient in recipients {
                copies.entry(recipient.clone()).or_default().waiting += 1;
            }
        }
        for &number in &ledger.promised {
            account
                .lost
                .extend(recipients(number).into_iter().filter(|recipient| !copies.contains_key(recipient)));
        }
        for (recipient, copies) in copies {
            let number =
                recipient[1..].split('-').next().and_then(|number| number.parse().ok()).unwrap_or_default();
            let unanswered = ledger.unknown.get(&number).map_or(0, |&count| count as usize);
            let extra = copies.taken.len() + copies.waiting - 1;
            let again = extra.min(unanswered);
            let between = (extra - again).min(copies.cut_off(kills));
            account.sent_again += again;
            account.killed_between += between;
            if extra > again + between {
                account
                    .doubled
                    .push(format!("{recipient}: {unanswered} unanswered; {}", copies.story(kills)));
            }
        }
        account
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_thirty(planted: Option<Planted>) -> Account {
        let server = Server::start(planted);
        let ledger = Mutex::new(Ledger::default());
        keep_sending(server.address(), &ledger, &|| server.deliveries() >= 30);
        Account::of(&ledger.into_inner().unwrap(), &server, &[], &[])
    }

    #[test]
    fn what_came_once_is_well_and_what_was_lost_or_doubled_is_found() {
        assert_eq!(after_thirty(None), Account::default());
        let lost = after_thirty(Some(Planted::LosesRecipients));
        assert!(!lost.lost.is_empty() && lost.doubled.is_empty(), "{lost:?}");
        let doubled = after_thirty(Some(Planted::TakesTwice));
        assert!(doubled.lost.is_empty() && !doubled.doubled.is_empty(), "{doubled:?}");
    }

    #[test]
    fn what_waits_is_not_lost_and_a_kill_explains_one_copy_only() {
        let server = Server::start(None);
        assert_eq!(send(server.address(), 3), Told::Promised);
        let mut ledger = Ledger::default();
        ledger.promised.extend([3, 4]);
        let waiting = [(4, recipients(4))];
        assert_eq!(Account::of(&ledger, &server, &waiting, &[]), Account::default());
        assert_eq!(Account::of(&ledger, &server, &[], &[]).lost, recipients(4));
        // Its connection said QUIT: Postern was not killed before it went on.
        let again = [(4, recipients(4)), (3, recipients(3))];
        let (begun, over) = (locked(&server.noted).notes[0].accepted, Instant::now());
        let killed = Account::of(&ledger, &server, &again, &[Kill { begun, over }]);
        assert_eq!((killed.doubled.len(), killed.killed_between), (1, 0));
        ledger.unknown.insert(3, 1);
        assert_eq!(Account::of(&ledger, &server, &again, &[]).sent_again, 1);
    }

    /// A connection that is cut behind the 250, and its end seen.
    fn cut_behind_the_250(server: &Server, number: u32) {
        let stream = TcpStream::connect(server.address()).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let first = &recipients(number)[0];
        let envelope = format!("MAIL FROM:<a@b.test>\r\nRCPT TO:<{first}>\r\nDATA\r\n");
        (&stream).write_all(envelope.as_bytes()).unwrap();
        (&stream).write_all(&content(number)).unwrap();
        (&stream).write_all(b".\r\n").unwrap();
        // Greeting, MAIL, RCPT, DATA, the final dot.
        (0..5).for_each(|_| drop(reply(&mut reader).unwrap()));
        drop((reader, stream));
        let ended = || locked(&server.noted).notes.last().is_some_and(|note| note.ended.is_some());
        while !ended() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_connection_that_ended_at_a_kill_explains_a_copy_and_one_that_ended_by_itself_does_not() {
        let server = Server::start(None);
        let before = Instant::now();
        cut_behind_the_250(&server, 3);
        let taken = locked(&server.noted).notes[0].at;
        let again = [(3, recipients(3))];
        let of = |kills: &[Kill]| Account::of(&Ledger::default(), &server, &again, kills);
        let after = Instant::now();
        for begun in [before, taken] {
            let account = of(&[Kill { begun, over: after }]);
            assert_eq!((account.killed_between, account.doubled.len()), (1, 0), "{account:?}");
        }
        let (early, late) = (Kill { begun: before, over: before }, Kill { begun: after, over: after });
        for kills in [&[][..], &[early], &[late]] {
            let account = of(kills);
            assert_eq!((account.killed_between, account.doubled.len()), (0, 1), "{account:?}");
        }
    }

    #[test]
    fn one_kill_cuts_off_both_copies_of_what_was_sent_again() {
        let now = Instant::now();
        let later = |millis| now + Duration::from_millis(millis);
        let taken = Taken { accepted: now, at: later(10), settled: false, ended: Some(later(17)) };
        let kills = [Kill { begun: later(11), over: later(21) }];
        let mut copies = Copies { taken: vec![taken, taken], waiting: 2 };
        assert_eq!(copies.cut_off(&kills), 2);
        copies.waiting = 0;
        assert_eq!(copies.cut_off(&kills), 0, "no other copy came of it");
        copies.taken.push(Taken { at: later(400), settled: true, ended: None, ..taken });
        assert_eq!(copies.cut_off(&kills), 2);
    }

    #[test]
    fn a_server_that_is_down_or_breaks_promises_nothing() {
        let server = Server::start(None);
        for mood in [Mood::Down, Mood::Breaking] {
            server.is(mood);
            assert_eq!(send(server.address(), 1), Told::Nothing, "{mood:?}");
        }
        server.is(Mood::Up);
        assert_eq!(send(server.address(), 1), Told::Promised);
        assert_eq!(server.deliveries(), 1);
    }
}
