//! `postern evaluate`: the classifier on a labelled corpus, as a stream. It begins with an empty model, sees a label only when the
//! regime gives it, and writes each score. Neither config nor a running Postern is asked.

mod outcome;

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use judge::evaluation::regime::{Feedback, Regime, Teacher};
use judge::evaluation::{self, Labelled};
use judge::{
    Class, Features, JudgeError, Lesson, Model, Score, Settings, Source, Thresholds, Transport, Whom,
};

use nix::sys::resource::{UsageWho, getrusage};

use self::outcome::Outcome;
use crate::command::{Evaluate, Exit};
use crate::output;

/// Octets of a message that are read: what is larger is judged by its beginning, as in a session.
const MAX_MESSAGE: u64 = 8 << 20;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(1);
/// The time of the first message: nothing ages while a corpus is read.
const TIME: Duration = Duration::from_secs(1_700_000_000);

/// Messages of up to so many octets are the ones whose slowest are told.
const ORDINARY: usize = 256 << 10;

/// Processor time that was spent: what else runs on the machine has no part in it.
#[derive(Default)]
struct Spent {
    scoring: Duration,
    scored: u32,
    /// Of each ordinary message.
    ordinary: Vec<Duration>,
    learning: Duration,
    learnt: u32,
}

/// Runs it.
pub fn evaluate(options: &Evaluate, json: bool) -> Exit {
    match run(options) {
        Ok(outcome) if json => output::json(&outcome),
        Ok(outcome) => outcome.tell(),
        Err(Failure::Wrong(why)) => {
            output::diagnosis(&why);
            return Exit::Wrong;
        }
        Err(Failure::Unreachable(why)) => {
            output::diagnosis(&why);
            return Exit::Unreachable;
        }
    }
    Exit::Done
}

enum Failure {
    Wrong(String),
    Unreachable(String),
}

impl Failure {
    fn of_index(index: &Path, error: &JudgeError) -> Self {
        let why = format!("{}: {error}", index.display());
        match error {
            JudgeError::Reading(_) => Self::Unreachable(why),
            _ => Self::Wrong(why),
        }
    }
}

fn unreachable(path: &Path) -> impl Fn(io::Error) -> Failure + '_ {
    move |error| Failure::Unreachable(format!("{}: {error}", path.display()))
}

fn run(options: &Evaluate) -> Result<Outcome, Failure> {
    let number = lines(&options.index)?.filter(Result::is_ok).count();
    let folder = options.index.parent().unwrap_or_else(|| Path::new(""));
    let mut listed = match &options.scores {
        Some(path) => Some(BufWriter::new(File::create(path).map_err(unreachable(path))?)),
        None => None,
    };
    let model = Model::in_memory(Settings::default());
    let regime = Regime {
        feedback: options.feedback,
        flipped: options.flipped,
        poisoned: options.poisoned,
        seed: options.seed,
    };
    let (mut scores, mut teacher, mut spent) = (Vec::new(), Teacher::new(regime), Spent::default());
    let mut told = now();
    for labelled in lines(&options.index)? {
        let labelled = labelled.map_err(|error| Failure::of_index(&options.index, &error))?;
        let octets = read(&folder.join(&labelled.path))?;
        let begun = processor_time();
        let content = sift::read(&octets, &sift::Bounds::default());
        let features = Features::of(&content, &Transport::default());
        let score = model.score(&features, Whom::default(), TIME);
        let took = processor_time().saturating_sub(begun);
        spent.scoring += took;
        spent.scored += 1;
        if octets.len() <= ORDINARY {
            spent.ordinary.push(took);
        }
        scores.push((labelled.class, score.log_odds));
        if let (Some(listed), Some(path)) = (&mut listed, &options.scores) {
            let Labelled { class, path: message } = &labelled;
            writeln!(listed, "{} {message} {:.9}", word(*class), score.probability)
                .map_err(unreachable(path))?;
        }
        if options.self_training && options.feedback != Feedback::Immediate {
            model.teach_itself(&features, &score, TIME).map_err(wrong)?;
        }
        teacher.see(labelled.class, taken_for(&score), features);
        teach(&model, &mut teacher, &mut spent)?;
        if told.elapsed() > PROGRESS {
            told = now();
            let _ = write!(io::stderr().lock(), "\r{} of {number} messages", scores.len());
        }
    }
    if spent.scoring > PROGRESS {
        let _ = writeln!(io::stderr().lock(), "\r{} of {number} messages", scores.len());
    }
    if let (Some(listed), Some(path)) = (&mut listed, &options.scores) {
        listed.flush().map_err(unreachable(path))?;
    }
    scores.drain(..options.skip.min(scores.len()));
    Outcome::of(&scores, &spent).ok_or_else(|| {
        Failure::Wrong(format!("{}: it takes ham and spam to measure anything", options.index.display()))
    })
}

fn wrong(error: JudgeError) -> Failure {
    Failure::Wrong(error.to_string())
}

/// What the shipped threshold makes of a score.
fn taken_for(score: &Score) -> Class {
    if score.probability >= Thresholds::default().tag { Class::Spam } else { Class::Ham }
}

/// Gives the labels whose time has come.
fn teach(model: &Model, teacher: &mut Teacher, spent: &mut Spent) -> Result<(), Failure> {
    while let Some((class, features)) = teacher.due() {
        let (source, whom) = (Source::Administrator, Whom::default());
        let lesson = Lesson { features: &features, class, source, weight: 1.0, whom, now: TIME };
        let begun = processor_time();
        model.learn(&lesson).map_err(wrong)?;
        spent.learning += processor_time().saturating_sub(begun);
        spent.learnt += 1;
    }
    Ok(())
}

fn lines(index: &Path) -> Result<impl Iterator<Item = Result<Labelled, JudgeError>> + use<>, Failure> {
    let file = File::open(index).map_err(unreachable(index))?;
    Ok(evaluation::index(BufReader::new(file)))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let metadata = fs::metadata(path).map_err(unreachable(path))?;
    if !metadata.is_file() {
        return Err(Failure::Wrong(format!("{}: no file", path.display())));
    }
    let mut octets = Vec::new();
    let file = File::open(path).map_err(unreachable(path))?;
    file.take(MAX_MESSAGE).read_to_end(&mut octets).map_err(unreachable(path))?;
    Ok(octets)
}

fn word(class: Class) -> &'static str {
    match class {
        Class::Ham => "ham",
        Class::Spam => "spam",
    }
}

/// Of this thread, which does everything here.
fn processor_time() -> Duration {
    let part = |time: nix::sys::time::TimeVal| {
        let (seconds, micros) = (time.tv_sec(), time.tv_usec());
        Duration::from_secs(seconds.unsigned_abs()) + Duration::from_micros(micros.unsigned_abs())
    };
    // It fails for no thread that is there.
    getrusage(UsageWho::RUSAGE_THREAD)
        .map(|usage| part(usage.user_time()) + part(usage.system_time()))
        .unwrap_or_default()
}

#[allow(
    clippy::disallowed_methods,
    reason = "when progress is told: nothing here runs under a simulated clock"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(folder: &Path, messages: u32) {
        let mut index = String::from("# a corpus of two minds\n");
        for number in 0..messages {
            for (label, text) in [("ham", "the minutes of our meeting"), ("spam", "cheap pills, order now")] {
                let name = format!("{label}{number}.eml");
                fs::write(folder.join(&name), format!("Subject: {number}\r\n\r\n{text} {number}\r\n"))
                    .unwrap();
                index.push_str(&format!("{label} {name} {number}\n"));
            }
        }
        fs::write(folder.join("index"), index).unwrap();
    }

    fn options(folder: &Path, feedback: Feedback) -> Evaluate {
        Evaluate {
            index: folder.join("index"),
            feedback,
            self_training: false,
            flipped: 0.0,
            poisoned: 0.0,
            seed: 0,
            skip: 0,
            scores: Some(folder.join("scores")),
        }
    }

    #[test]
    fn labels_teach_when_they_come_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        corpus(folder.path(), 60);
        let run = |feedback| run(&options(folder.path(), feedback)).unwrap_or_else(|_| panic!("it runs"));
        let immediate = run(Feedback::Immediate);
        assert!(immediate.one_minus_roca_percent < 5.0, "{immediate:?}");
        let scores = fs::read_to_string(folder.path().join("scores")).unwrap();
        assert_eq!(scores.lines().count(), 120);
        assert!(scores.lines().next().unwrap().starts_with("ham ham0.eml 0.5"), "{scores}");
        let none = run(Feedback::None);
        assert_eq!((none.one_minus_roca_percent, none.spam_missed_percent), (50.0, 100.0), "{none:?}");
        let late = run(Feedback::Delayed(100));
        assert!(late.one_minus_roca_percent > immediate.one_minus_roca_percent, "{late:?}");
    }

    #[test]
    fn labels_that_lie_are_learnt_and_the_curve_goes_on_where_measuring_begins() {
        let folder = tempfile::tempdir().unwrap();
        corpus(folder.path(), 60);
        let run = |change: fn(&mut Evaluate)| {
            let mut options = options(folder.path(), Feedback::Immediate);
            change(&mut options);
            run(&options).unwrap_or_else(|_| panic!("it runs"))
        };
        let poisoned = run(|options| options.poisoned = 1.0);
        assert_eq!(poisoned.spam_missed_percent, 100.0, "{poisoned:?}");
        let flipped = run(|options| options.flipped = 1.0);
        assert!(flipped.one_minus_roca_percent > 90.0, "{flipped:?}");
        let later = run(|options| options.skip = 80);
        assert_eq!((later.messages, later.one_minus_roca_percent), (40, 0.0), "{later:?}");
        let reported = run(|options| options.feedback = "reports:40,1,5".parse().unwrap());
        assert!(reported.learnt_per_second > 0.0 && reported.spam_missed_percent < 100.0, "{reported:?}");
    }

    #[test]
    fn what_is_missing_or_no_index_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = options(folder.path(), Feedback::Immediate);
        assert!(matches!(run(&missing), Err(Failure::Unreachable(why)) if why.contains("index")));
        fs::write(folder.path().join("index"), "spam gone.eml\n").unwrap();
        assert!(matches!(run(&missing), Err(Failure::Unreachable(why)) if why.contains("gone.eml")));
        fs::write(folder.path().join("index"), "perhaps a\n").unwrap();
        assert!(matches!(run(&missing), Err(Failure::Wrong(why)) if why.contains("line 1")));
        fs::write(folder.path().join("index"), "").unwrap();
        assert!(matches!(run(&missing), Err(Failure::Wrong(why)) if why.contains("ham and spam")));
    }
}
