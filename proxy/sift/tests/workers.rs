//! The gate's side against workers that work, die, are late, and lie.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use sift::facts::{Facts, Reading};
use sift::frame::{ANSWER, Answer, REQUEST, Request};
use sift::{Body, Bounds, Settings, SiftError, Worker, Workers, encoded, packet};

const LIMIT: Duration = Duration::from_secs(30);

/// A deadline that only a worker which is silent for good will miss, and its opposite.
fn settings(deadline: Duration) -> Settings {
    Settings { deadline, patience: Duration::from_secs(5), waiting: 1 }
}

/// Puts a thread into a place; it answers the probe, and to every other body what `answers` says, or ends.
fn join(
    workers: &Arc<Workers>,
    restarts: u32,
    mut answers: impl FnMut(Request, &File) -> Option<Vec<u8>> + Send + 'static,
) {
    let (socket, far) = packet::pair().unwrap();
    std::thread::spawn(move || {
        let mut probed = false;
        let mut frame = [0; REQUEST];
        while let Ok(packet) = packet::receive(&far, &mut frame, 1) {
            let Ok(request) = Request::read(&frame[..packet.length]) else { return };
            let body = File::from(packet.descriptors.into_iter().next().unwrap());
            let answer = if probed { answers(request, &body) } else { honest(request, &body) };
            probed = true;
            let Some(answer) = answer else { return };
            packet::send(&far, &answer, &[]).unwrap();
        }
    });
    workers.join(Worker { slot: 0, socket, process: None, pid: 0, restarts });
}

fn honest(request: Request, body: &File) -> Option<Vec<u8>> {
    let mut octets = vec![0; usize::try_from(request.length).unwrap()];
    body.read_exact_at(&mut octets, 0).unwrap();
    let mut reading = Reading::default();
    reading.feed(&octets);
    Some(answer(request.id, reading.finish(), &octets, false))
}

/// An answer whose content is in its only record.
fn answer(id: u64, facts: Facts, body: &[u8], last: bool) -> Vec<u8> {
    let content = encoded::encode(&sift::read(body, &Bounds::default())).unwrap();
    let length = u32::try_from(content.len()).unwrap();
    [&Answer { id, facts: Some(facts), content: length, last }.to_bytes()[..], &content].concat()
}

async fn until_it_works(workers: &Workers, restarts: u32) {
    let works = async {
        while !workers.seats().iter().any(|seat| seat.works && seat.restarts == restarts) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LIMIT, works).await.unwrap();
}

fn body(text: &str) -> Body {
    Body::from_bytes(text.as_bytes()).unwrap()
}

#[tokio::test]
async fn threads_tell_the_facts_of_many_bodies_at_once() {
    let workers = Workers::of_threads(Settings::default(), 2);
    let tasks = (0_u64..200).map(|number| {
        let workers = Arc::clone(&workers);
        tokio::spawn(async move {
            let lines = number % 7 + 1;
            let body = body(&"line\r\n".repeat(usize::try_from(lines).unwrap()));
            let facts = workers.read(&body).await.unwrap().facts;
            assert_eq!((facts.octets, facts.lines, facts.longest_line), (lines * 6, lines, 4));
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert!(workers.seats().iter().all(|seat| seat.restarts == 0));
}

#[tokio::test]
async fn a_large_body_on_disk_is_read_in_pieces() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"0123456789abcde\n".repeat(200_000)).unwrap();
    let body = Body::from_file(File::open(file.path()).unwrap().into()).unwrap();
    let workers = Workers::of_threads(Settings::default(), 1);
    let facts = workers.read(&body).await.unwrap().facts;
    assert_eq!((facts.octets, facts.lines, facts.longest_line), (3_200_000, 200_000, 15));
}

#[tokio::test]
async fn a_body_that_shrank_meanwhile_has_the_facts_of_what_is_left() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"one\ntwo\n").unwrap();
    let body = Body::from_file(File::open(file.path()).unwrap().into()).unwrap();
    std::fs::write(file.path(), b"one\n").unwrap();
    let facts = Workers::of_threads(Settings::default(), 1).read(&body).await.unwrap().facts;
    assert_eq!((body.length(), facts.octets), (8, 4));
}

#[tokio::test]
async fn a_late_worker_is_replaced_and_its_body_held_the_second_time() {
    let workers = Workers::of_processes(settings(Duration::from_millis(200)));
    let (hang, hangs) = mpsc::channel::<()>();
    let hangs = Arc::new(std::sync::Mutex::new(hangs));
    for restarts in 0..2 {
        let hangs = Arc::clone(&hangs);
        join(&workers, restarts, move |_, _| hangs.lock().unwrap().recv().ok().map(|()| Vec::new()));
        until_it_works(&workers, restarts).await;
        let outcome = workers.read(&body("slow")).await;
        assert!(!workers.seats()[0].works);
        match restarts {
            0 => {
                assert!(matches!(outcome, Err(SiftError::Failed("it did not answer in time"))), "{outcome:?}")
            }
            _ => assert!(matches!(outcome, Err(SiftError::Held)), "{outcome:?}"),
        }
    }
    join(&workers, 2, honest);
    until_it_works(&workers, 2).await;
    assert!(matches!(workers.read(&body("slow")).await, Err(SiftError::Held)));
    // Of the same length, and not the same.
    assert_eq!(workers.read(&body("fast")).await.unwrap().facts.octets, 4);
    assert!(workers.seats()[0].works);
    drop(hang);
}

#[tokio::test]
async fn a_worker_that_dies_or_lies_is_used_no_more() {
    type Lie = fn(Request, &File) -> Option<Vec<u8>>;
    let lies: [(&str, Lie); 8] = [
        ("it died", |_, _| None),
        ("its answer was none", |_, _| Some(b"shell$ ".to_vec())),
        ("its answer was none", |_, _| Some(vec![0; 100_000])),
        ("its answer was none", |request, body| honest(Request { id: request.id + 1, ..request }, body)),
        ("its answer was none", |request, _| {
            // Facts of a longer body than it was given.
            let mut reading = Reading::default();
            reading.feed(b"a lot more than it was given");
            Some(answer(request.id, reading.finish(), b"", false))
        }),
        ("its answer was none", |request, body| {
            // No content behind it.
            honest(request, body).map(|answer| answer[..ANSWER].to_vec())
        }),
        ("its answer was none", |request, body| {
            // More of it than it says.
            honest(request, body).map(|answer| [&answer[..], b"x"].concat())
        }),
        ("its answer was none", |request, body| {
            // One that is none.
            honest(request, body).map(|mut answer| {
                answer[ANSWER..].fill(0xff);
                answer
            })
        }),
    ];
    let workers = Workers::of_processes(settings(LIMIT));
    for (restarts, (why, lie)) in (0..).zip(lies) {
        join(&workers, restarts, lie);
        until_it_works(&workers, restarts).await;
        let outcome = workers.read(&body(&format!("body {restarts}"))).await;
        assert!(matches!(outcome, Err(SiftError::Failed(said)) if said == why), "{outcome:?}");
        assert!(!workers.seats()[0].works);
    }
}

#[tokio::test]
async fn a_worker_that_ended_while_nobody_needed_it_costs_no_body() {
    let workers = Workers::of_processes(settings(LIMIT));
    let (socket, far) = packet::pair().unwrap();
    let honest_once = std::thread::spawn(move || {
        let mut frame = [0; REQUEST];
        let packet = packet::receive(&far, &mut frame, 1).unwrap();
        let body = File::from(packet.descriptors.into_iter().next().unwrap());
        let answer = honest(Request::read(&frame).unwrap(), &body).unwrap();
        packet::send(&far, &answer, &[]).unwrap();
    });
    workers.join(Worker { slot: 0, socket, process: None, pid: 0, restarts: 0 });
    until_it_works(&workers, 0).await;
    honest_once.join().unwrap();
    let waiting = Arc::clone(&workers);
    let sifted = tokio::spawn(async move { waiting.read(&body("x")).await });
    while workers.seats()[0].works {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    join(&workers, 1, honest);
    assert_eq!(sifted.await.unwrap().unwrap().facts.octets, 1);
}

#[tokio::test]
async fn a_worker_that_retires_answers_first_and_gets_no_other_body() {
    let workers = Workers::of_processes(settings(LIMIT));
    join(&workers, 0, |request, _| Some(answer(request.id, Facts::default(), b"", true)));
    until_it_works(&workers, 0).await;
    assert!(workers.read(&body("x")).await.is_ok());
    assert!(!workers.seats()[0].works);
    join(&workers, 1, honest);
    assert_eq!(workers.read(&body("x")).await.unwrap().facts.octets, 1);
}

#[tokio::test]
async fn enough_waiting_bodies_are_busy_and_nobody_waits_for_ever() {
    let few = Settings { deadline: LIMIT, patience: Duration::from_millis(100), waiting: 1 };
    let workers = Workers::of_processes(few);
    let waits = {
        let workers = Arc::clone(&workers);
        tokio::spawn(async move { workers.read(&body("first")).await })
    };
    tokio::task::yield_now().await;
    assert!(matches!(workers.read(&body("second")).await, Err(SiftError::Busy)));
    assert!(matches!(waits.await.unwrap(), Err(SiftError::Busy)));
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_any_more_ends_its_worker() {
    let workers = Workers::of_processes(settings(LIMIT));
    let (asked, is_asked) = mpsc::channel();
    let (_hang, hangs) = mpsc::channel::<()>();
    join(&workers, 0, move |_, _| {
        asked.send(()).unwrap();
        hangs.recv().ok().map(|()| Vec::new())
    });
    until_it_works(&workers, 0).await;
    let asking = {
        let workers = Arc::clone(&workers);
        tokio::spawn(async move { workers.read(&body("x")).await })
    };
    tokio::task::spawn_blocking(move || is_asked.recv_timeout(LIMIT)).await.unwrap().unwrap();
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    assert!(!workers.seats()[0].works, "its late answer would be the next body's");
}

#[tokio::test]
async fn the_content_of_a_body_arrives_whole_however_long_it_is() {
    let workers = Workers::of_threads(Settings::default(), 1);
    for fields in [1, 60, 300] {
        let field = format!("X-Long: {}\r\n", "long ".repeat(400));
        let message = format!("From: a@b.example\r\n{}\r\nbody text", field.repeat(fields));
        let sifted = workers.read(&body(&message)).await.unwrap();
        assert_eq!(sifted.content, sift::read(message.as_bytes(), &Bounds::default()));
        assert_eq!(sifted.facts.octets, message.len() as u64);
        assert_eq!(sifted.content.text.start, "body text");
    }
}
