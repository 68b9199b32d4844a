//! `postern evaluate`: the classifier on a labelled corpus, as a stream. It begins with an empty model, sees a label only when the
//! regime gives it, and writes each score. Neither config nor a running Postern is asked.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use judge::evaluation::{self, Labelled, Measures};
use judge::{
    Class, Features, JudgeError, Lesson, Model, Settings, Source, Thresholds, Transport, Whom, probability,
};
use serde::Serialize;

use crate::command::{Evaluate, Exit, Feedback};
use crate::output;

/// Octets of a message that are read: what is larger is judged by its beginning, as in a session.
const MAX_MESSAGE: u64 = 8 << 20;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(1);
/// The time of the first message: nothing ages while a corpus is read.
const TIME: Duration = Duration::from_secs(1_700_000_000);

/// What is printed.
#[derive(Debug, Serialize)]
struct Outcome {
    messages: usize,
    ham: usize,
    spam: usize,
    one_minus_roca_percent: f64,
    ham_misclassified_percent: f64,
    spam_missed_percent: f64,
    lam_percent: f64,
    spam_missed_percent_at_ham_loss_01: f64,
    spam_missed_percent_at_ham_loss_1: f64,
    scored_per_second: f64,
    learnt_per_second: f64,
}

/// Time that was spent.
#[derive(Default)]
struct Spent {
    scoring: Duration,
    learning: Duration,
    learnt: u32,
}

/// Runs it.
pub fn evaluate(options: &Evaluate, json: bool) -> Exit {
    match run(options) {
        Ok(outcome) if json => output::json(&outcome),
        Ok(outcome) => tell(&outcome),
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
    let (mut scores, mut waiting, mut spent) = (Vec::new(), VecDeque::new(), Spent::default());
    let mut told = now();
    for labelled in lines(&options.index)? {
        let labelled = labelled.map_err(|error| Failure::of_index(&options.index, &error))?;
        let octets = read(&folder.join(&labelled.path))?;
        let begun = now();
        let content = sift::read(&octets, &sift::Bounds::default());
        let features = Features::of(&content, &Transport::default());
        let score = model.score(&features, Whom::default(), TIME);
        spent.scoring += begun.elapsed();
        scores.push((labelled.class, score.log_odds));
        if let (Some(listed), Some(path)) = (&mut listed, &options.scores) {
            let Labelled { class, path: message } = &labelled;
            writeln!(listed, "{} {message} {:.6}", word(*class), score.probability)
                .map_err(unreachable(path))?;
        }
        waiting.push_back((labelled.class, features));
        teach(&model, &mut waiting, options.feedback, &mut spent)?;
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
    outcome(&scores, &spent).ok_or_else(|| {
        Failure::Wrong(format!("{}: it takes ham and spam to measure anything", options.index.display()))
    })
}

/// Gives the labels whose time has come.
fn teach(
    model: &Model,
    waiting: &mut VecDeque<(Class, Features)>,
    feedback: Feedback,
    spent: &mut Spent,
) -> Result<(), Failure> {
    let late = match feedback {
        Feedback::Immediate => 0,
        Feedback::Delayed(number) => number,
        Feedback::None => {
            waiting.clear();
            return Ok(());
        }
    };
    while waiting.len() > late {
        let Some((class, features)) = waiting.pop_front() else { return Ok(()) };
        let (source, whom) = (Source::Administrator, Whom::default());
        let lesson = Lesson { features: &features, class, source, weight: 1.0, whom, now: TIME };
        let begun = now();
        model.learn(&lesson).map_err(|error| Failure::Wrong(error.to_string()))?;
        spent.learning += begun.elapsed();
        spent.learnt += 1;
    }
    Ok(())
}

fn outcome(scores: &[(Class, f64)], spent: &Spent) -> Option<Outcome> {
    let ham = scores.iter().filter(|score| score.0 == Class::Ham).count();
    let spam = scores.len() - ham;
    if ham == 0 || spam == 0 {
        return None;
    }
    let probabilities: Vec<_> = scores.iter().map(|(class, odds)| (*class, probability(*odds))).collect();
    // Ranks by log-odds, which do not run together near 0 and 1; verdicts by the probability that is shipped.
    let ranks = evaluation::measure(scores, 0.0);
    let verdicts = evaluation::measure(&probabilities, Thresholds::default().tag);
    let Measures { one_minus_roca, spam_missed_at_a_thousandth, spam_missed_at_a_hundredth, .. } = ranks;
    let per_second = |number: f64, spent: Duration| number / spent.as_secs_f64().max(f64::MIN_POSITIVE);
    Some(Outcome {
        messages: scores.len(),
        ham,
        spam,
        one_minus_roca_percent: one_minus_roca,
        ham_misclassified_percent: verdicts.ham_misclassified,
        spam_missed_percent: verdicts.spam_missed,
        lam_percent: verdicts.logistic_mean,
        spam_missed_percent_at_ham_loss_01: spam_missed_at_a_thousandth,
        spam_missed_percent_at_ham_loss_1: spam_missed_at_a_hundredth,
        scored_per_second: per_second(scores.len() as f64, spent.scoring),
        learnt_per_second: if spent.learnt == 0 {
            0.0
        } else {
            per_second(spent.learnt.into(), spent.learning)
        },
    })
}

fn tell(outcome: &Outcome) {
    let threshold = Thresholds::default().tag;
    output::line(&format!(
        "messages              {} ({} ham, {} spam)",
        outcome.messages, outcome.ham, outcome.spam
    ));
    output::line(&format!("1-ROCA                {:.4} %", outcome.one_minus_roca_percent));
    output::line(&format!(
        "ham misclassified     {:.2} % (spam probability of {threshold} and more)",
        outcome.ham_misclassified_percent
    ));
    output::line(&format!("spam misclassified    {:.2} %", outcome.spam_missed_percent));
    output::line(&format!("logistic mean         {:.2} %", outcome.lam_percent));
    output::line(&format!("spam missed at h=.1   {:.2} %", outcome.spam_missed_percent_at_ham_loss_01));
    output::line(&format!("spam missed at h=1    {:.2} %", outcome.spam_missed_percent_at_ham_loss_1));
    output::line(&format!("read and scored       {:.0} messages/s", outcome.scored_per_second));
    output::line(&format!("learnt                {:.0} messages/s", outcome.learnt_per_second));
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

#[allow(
    clippy::disallowed_methods,
    reason = "it tells how fast this machine is: nothing here runs under a simulated clock"
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
        Evaluate { index: folder.join("index"), feedback, scores: Some(folder.join("scores")) }
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
