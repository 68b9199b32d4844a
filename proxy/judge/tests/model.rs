//! The model from outside: what lessons do, that they can be taken back, and that a start finds what an end left.

use std::fs::{self, OpenOptions};
use std::time::Duration;

use judge::{
    Class, Features, Learnt, Lesson, Model, Recovered, Settings, Source, Thresholds, Transport, Whom,
};

const NOW: Duration = Duration::from_secs(1_795_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn mail(number: u32, body: &str) -> Features {
    let text = format!(
        "From: Sender {number} <s{number}@example.org>\r\nTo: u@example.net\r\nSubject: number {number}\r\n\r\n{body} {number}\r\n"
    );
    Features::of(&sift::read(text.as_bytes(), &sift::Bounds::default()), &Transport::default())
}

fn ham(number: u32) -> Features {
    mail(number, "The minutes of our meeting on Tuesday are attached, please read them before the next one")
}

fn spam(number: u32) -> Features {
    mail(
        number,
        "Cheap pills without prescription, order now and save 80%! Click here, limited offer for winners",
    )
}

fn lesson(features: &Features, class: Class, source: Source) -> Lesson<'_> {
    Lesson { features, class, source, weight: 1.0, whom: Whom::default(), now: NOW }
}

fn teach(model: &Model, numbers: std::ops::Range<u32>) {
    for number in numbers {
        for (features, class) in [(ham(number), Class::Ham), (spam(number), Class::Spam)] {
            let learnt = model.learn(&lesson(&features, class, Source::Administrator)).expect("memory");
            assert_eq!(learnt, Learnt::New);
        }
    }
}

/// What a model says of both, to the last bit.
fn says(model: &Model) -> [u64; 2] {
    [ham(999), spam(999)].map(|features| model.score(&features, Whom::default(), NOW).log_odds.to_bits())
}

#[test]
fn what_was_learnt_tells_ham_from_spam_and_says_why() {
    let model = Model::in_memory(Settings::default());
    let cold = model.score(&spam(999), Whom::default(), NOW);
    assert!(cold.unsure && (cold.probability - 0.5).abs() < 0.01, "{cold:?}");
    teach(&model, 0..60);
    let [wanted, unwanted] =
        [ham(999), spam(999)].map(|features| model.score(&features, Whom::default(), NOW));
    assert!(wanted.probability < 0.05 && !wanted.unsure, "{wanted:?}");
    assert!(unwanted.probability > 0.95 && !unwanted.unsure, "{unwanted:?}");
    let why = model.explain(&spam(999), Whom::default(), &[], &Thresholds::default(), NOW);
    assert!(why.clues.iter().any(|clue| clue.text.contains("pills") && clue.weight > 0.0), "{:?}", why.clues);
    assert!(why.sequences.iter().any(|clue| clue.weight > 0.0));
}

#[test]
fn the_same_message_counts_once_and_the_other_class_corrects() {
    let model = Model::in_memory(Settings::default());
    teach(&model, 0..30);
    let before = model.learned();
    let again = spam(3);
    assert_eq!(model.learn(&lesson(&again, Class::Spam, Source::Report)).unwrap(), Learnt::Again);
    assert_eq!(model.learned(), before);
    assert_eq!(model.learn(&lesson(&again, Class::Ham, Source::Report)).unwrap(), Learnt::Corrected);
    assert_eq!((model.learned().spam, model.learned().ham), (before.spam - 1.0, before.ham + 1.0));
}

#[test]
fn a_lesson_is_taken_back_exactly_for_thirty_days_and_not_after() {
    let model = Model::in_memory(Settings::default());
    teach(&model, 0..120);
    let (before, learned) = (says(&model), model.learned());
    let features = mail(500, "Cheap minutes of our meeting, order the pills on Tuesday");
    for class in [Class::Ham, Class::Spam] {
        assert_eq!(model.learn(&lesson(&features, class, Source::Report)).unwrap(), Learnt::New);
        assert_ne!(says(&model), before, "a lesson that changes nothing proves nothing");
        assert!(model.forget(&features.digest(), NOW + DAY * 29).unwrap());
        assert_eq!((says(&model), model.learned()), (before, learned));
        assert!(!model.forget(&features.digest(), NOW + DAY * 29).unwrap(), "once");
    }
    model.learn(&lesson(&features, Class::Spam, Source::Report)).unwrap();
    assert!(!model.forget(&features.digest(), NOW + DAY * 31).unwrap(), "it is too old");
}

#[test]
fn its_own_opinion_gives_way_to_a_person_and_never_the_other_way() {
    let model = Model::in_memory(Settings::default());
    teach(&model, 0..30);
    let features = spam(700);
    assert_eq!(model.learn(&lesson(&features, Class::Ham, Source::Own)).unwrap(), Learnt::New);
    assert_eq!(model.learn(&lesson(&features, Class::Spam, Source::Report)).unwrap(), Learnt::Corrected);
    assert_eq!(model.learn(&lesson(&features, Class::Ham, Source::Own)).unwrap(), Learnt::Declined);
    assert!(model.forget(&features.digest(), NOW).unwrap());
}

#[test]
fn a_start_finds_what_was_there_with_a_snapshot_without_one_and_with_both() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Model::open(folder.path(), Settings::default(), NOW).unwrap();
    let (model, recovered) = open();
    assert_eq!(recovered, Recovered::default());
    teach(&model, 0..40);
    let wrong = mail(800, "Cheap minutes");
    model.learn(&lesson(&wrong, Class::Ham, Source::Report)).unwrap();
    assert!(model.forget(&wrong.digest(), NOW).unwrap());
    let said = says(&model);
    // Killed: nothing was put away.
    drop(model);
    let (model, recovered) = open();
    assert_eq!((recovered.in_snapshot, recovered.replayed, recovered.cut), (0, 81, 0));
    assert_eq!(says(&model), said);
    model.snapshot(NOW).unwrap();
    teach(&model, 40..50);
    let said = says(&model);
    drop(model);
    let (model, recovered) = open();
    assert_eq!((recovered.in_snapshot, recovered.replayed), (81, 20));
    assert_eq!(says(&model), said);
    assert!(
        model.forget(&spam(5).digest(), NOW).unwrap(),
        "lessons behind the snapshot can be taken back, too"
    );
}

#[test]
fn a_damaged_end_is_cut_and_a_damaged_snapshot_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Model::open(folder.path(), Settings::default(), NOW).unwrap();
    let (model, _) = open();
    teach(&model, 0..10);
    let said = says(&model);
    model.tick(NOW).unwrap();
    drop(model);
    let log = folder.path().join("lessons-00000000.log");
    std::io::Write::write_all(&mut OpenOptions::new().append(true).open(&log).unwrap(), b"half a fr")
        .unwrap();
    let (model, recovered) = open();
    assert_eq!((recovered.replayed, recovered.cut), (20, 9));
    assert_eq!(says(&model), said);
    model.snapshot(NOW).unwrap();
    drop(model);
    let snapshot = folder.path().join("model.snapshot");
    let mut octets = fs::read(&snapshot).unwrap();
    let middle = octets.len() / 2;
    octets[middle] ^= 1;
    fs::write(&snapshot, octets).unwrap();
    let (model, recovered) = open();
    assert!(recovered.snapshot_lost);
    teach(&model, 100..110);
    assert!(folder.path().join("model.snapshot.damaged").exists());
}

#[test]
fn who_only_consults_a_model_changes_nothing_and_hears_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Model::consult(&folder.path().join("none"), Settings::default(), NOW).unwrap();
    assert_eq!((missing.learned().ham, folder.path().join("none").exists()), (0.0, false));
    let (model, _) = Model::open(folder.path(), Settings::default(), NOW).unwrap();
    teach(&model, 0..20);
    model.snapshot(NOW).unwrap();
    teach(&model, 20..40);
    let wrong = mail(800, "Cheap minutes");
    model.learn(&lesson(&wrong, Class::Ham, Source::Report)).unwrap();
    assert!(model.forget(&wrong.digest(), NOW).unwrap());
    let said = says(&model);
    drop(model);
    let names = || {
        let entries = fs::read_dir(folder.path()).unwrap().map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name(), entry.metadata().unwrap().len(), fs::read(entry.path()).unwrap())
        });
        let mut entries: Vec<_> = entries.collect();
        entries.sort();
        entries
    };
    let before = names();
    let consulted = Model::consult(folder.path(), Settings::default(), NOW).unwrap();
    assert_eq!(says(&consulted), said);
    assert!(consulted.learn(&lesson(&spam(999), Class::Spam, Source::Report)).is_err());
    assert_eq!(names(), before);
}
