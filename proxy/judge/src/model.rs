//! The classifier as a whole: scored by many threads at once, taught by one at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::JudgeError;
use crate::explanation::{Clue, Explanation};
use crate::features::{Digest, Features};
use crate::journal::{Entry, Journal, SEGMENT};
use crate::known::{Known, Lessons};
use crate::language::Language;
use crate::lesson::{Class, Learnt, Lesson, Source, Whom};
use crate::members::{Members, Opinion};
use crate::self_training::{self, Temperance};
use crate::slots::UNIT;
use crate::snapshot;
use crate::stack::LatestHam;
use crate::verdict::{Check, Thresholds, log_odds, probability};

/// How large a model is, and how it is tuned.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The share of ham that may be taken for spam: the cut follows it.
    pub ham_loss: f64,
    /// The spam probability from which something is done: the loss of ham is counted there.
    pub acts_from: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { ham_loss: 0.001, acts_from: Thresholds::default().tag }
    }
}

/// What the classifier says of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Calibrated; above 0 is spam.
    pub log_odds: f64,
    /// The same as a probability.
    pub probability: f64,
    /// It says too little to act upon alone.
    pub unsure: bool,
    /// The language of its text, or the script where that is all one sees: one of [`crate::LANGUAGE_NAMES`].
    pub language: &'static str,
}

/// What was found at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Lessons that the snapshot holds.
    pub in_snapshot: u64,
    /// Lessons of the log's tail that were learnt again.
    pub replayed: u64,
    /// Octets at the end of the log that made no sense and were cut; 0 after an orderly end.
    pub cut: u64,
    /// The snapshot was damaged and was moved aside: what it held beyond the log is lost.
    pub snapshot_lost: bool,
}

/// How much a model has learnt.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Learned {
    /// Ham, by weight.
    pub ham: f64,
    /// Spam, by weight.
    pub spam: f64,
    /// Octets of counters in use.
    pub memory: u64,
}

/// Probabilities between these act on nobody's mail by themselves.
const UNSURE: (f64, f64) = (0.2, 0.8);
/// With fewer messages of each class the classifier is unsure whatever it says.
const FEW: f32 = 25.0;
/// Segments of lessons that are kept for undoing: a gigabyte.
const SEGMENTS: u32 = 16;
/// The weight of the model's own opinion, in eighths.
const OWN_WEIGHT: f32 = 0.3;

/// The classifier.
#[derive(Debug)]
pub struct Model {
    settings: Settings,
    folder: Option<PathBuf>,
    members: Members,
    teaching: Mutex<Teaching>,
}

/// What one teacher at a time has in hand.
#[derive(Debug)]
struct Teaching {
    journal: Journal,
    lessons: Lessons,
    latest_ham: LatestHam,
    temperance: Temperance,
    /// The first segment of lessons that no snapshot holds.
    since: u32,
    day: u32,
}

impl Model {
    /// An empty model that is kept nowhere.
    pub fn in_memory(settings: Settings) -> Self {
        Self::of(settings, None, Members::new(), Teaching::new(Journal::Memory { octets: Vec::new() }))
    }

    fn of(settings: Settings, folder: Option<PathBuf>, members: Members, teaching: Teaching) -> Self {
        Self { settings, folder, members, teaching: Mutex::new(teaching) }
    }

    /// The model of a folder: its snapshot, and what the log has beyond it. A folder that is empty or missing is a cold start;
    /// damage is moved aside or cut and told in [`Recovered`].
    ///
    /// # Errors
    ///
    /// [`JudgeError::Folder`] if the folder cannot be read or written at all.
    pub fn open(folder: &Path, settings: Settings, now: Duration) -> Result<(Self, Recovered), JudgeError> {
        fs::create_dir_all(folder)?;
        let mut members = Members::new();
        let restored = snapshot::read(folder, &members)?;
        if restored.lost {
            members = Members::new();
        }
        let mut recovered = Recovered {
            in_snapshot: restored.lessons.number(),
            snapshot_lost: restored.lost,
            ..Recovered::default()
        };
        let mut teaching = Teaching::new(Journal::Memory { octets: Vec::new() });
        teaching.lessons = restored.lessons;
        teaching.latest_ham = restored.latest_ham;
        teaching.since = restored.segment;
        teaching.day = day(now);
        // What an entry takes back lies in the same folder, and cannot be read while the folder is being read.
        let mut entries = Vec::new();
        let (journal, replay) = Journal::open(folder, restored.segment, |entry, place| {
            entries.push((entry, place));
        })?;
        teaching.journal = journal;
        recovered.cut = replay.cut;
        for (entry, place) in entries {
            recovered.replayed += u64::from(teaching.replay(&members, entry, place)?);
        }
        let model = Self::of(settings, Some(folder.to_owned()), members, teaching);
        model.cut(&model.teaching());
        Ok((model, recovered))
    }

    /// The model of a folder as it was last put away, to be asked and not to be taught: nothing in the folder is changed, and
    /// [`Self::learn`] fails. A folder that is empty or missing is a model that has learnt nothing.
    ///
    /// # Errors
    ///
    /// [`JudgeError::Folder`] if the folder is there and cannot be read.
    pub fn consult(folder: &Path, settings: Settings, now: Duration) -> Result<Self, JudgeError> {
        let mut teaching = Teaching::new(Journal::Memory { octets: Vec::new() });
        if !folder.try_exists()? {
            return Ok(Self::of(settings, None, Members::new(), teaching));
        }
        let mut members = Members::new();
        let restored = snapshot::look(folder, &members)?;
        if restored.lost {
            members = Members::new();
        }
        teaching.lessons = restored.lessons;
        teaching.latest_ham = restored.latest_ham;
        teaching.day = day(now);
        let mut entries = Vec::new();
        teaching.journal =
            Journal::look(folder, restored.segment, |entry, place| entries.push((entry, place)))?;
        for (entry, place) in entries {
            teaching.replay(&members, entry, place)?;
        }
        let model = Self::of(settings, None, members, teaching);
        model.cut(&model.teaching());
        Ok(model)
    }

    /// What the classifier says of a message. Never waits for training.
    pub fn score(&self, features: &Features, whom: Whom<'_>, now: Duration) -> Score {
        let _ = now;
        self.score_of(&self.members.opinion(features.prepared(), whom), features.prepared().language)
    }

    fn score_of(&self, opinion: &Opinion, language: Language) -> Score {
        let log_odds = f64::from(opinion.log_odds - self.members.stack.cut());
        let probability = probability(log_odds);
        let [ham, spam] = self.members.learned();
        let unsure = (probability > UNSURE.0 && probability < UNSURE.1) || ham.min(spam) < FEW;
        Score { log_odds, probability, unsure, language: language.name() }
    }

    /// Learns a message. One at a time: waits for another lesson, never for a score.
    ///
    /// # Errors
    ///
    /// [`JudgeError::Folder`] if the log could not be written; nothing has been learnt then.
    pub fn learn(&self, lesson: &Lesson<'_>) -> Result<Learnt, JudgeError> {
        let Lesson { features, class, source, weight, whom, now } = *lesson;
        let units = units(weight);
        let mut teaching = self.teaching();
        let digest = features.digest();
        let mut learnt = Learnt::New;
        if let Some(known) = teaching.lessons.get(&digest) {
            let same = known.spam == (class == Class::Spam);
            if !source.is_trusted() || units == 0 {
                return Ok(if same { Learnt::Again } else { Learnt::Declined });
            }
            if same && !known.own {
                return Ok(Learnt::Again);
            }
            teaching.take_back(&self.members, &digest, known)?;
            learnt = if same { Learnt::New } else { Learnt::Corrected };
        }
        if units == 0 {
            return Ok(Learnt::Declined);
        }
        let addition = self.members.addition(features, class, source, units, whom, now);
        let known =
            Known { spam: addition.spam, own: addition.own, day: day(now), place: Default::default() };
        let entry = Entry::Add(Box::new(addition));
        let place = teaching.journal.append(&entry)?;
        if let Entry::Add(addition) = entry {
            self.members.apply(&addition, features.prepared(), true);
            teaching.note(&addition, digest, Known { place, ..known });
        }
        self.cut(&teaching);
        Ok(learnt)
    }

    /// Undoes what was learnt from a message within the last 30 days, exactly; `false` if nothing was.
    ///
    /// # Errors
    ///
    /// As [`Self::learn`].
    pub fn forget(&self, digest: &Digest, now: Duration) -> Result<bool, JudgeError> {
        let mut teaching = self.teaching();
        teaching.grow_older(now);
        let Some(known) = teaching.lessons.get(digest) else { return Ok(false) };
        let taken = teaching.take_back(&self.members, digest, known)?;
        self.cut(&teaching);
        Ok(taken)
    }

    /// Lets the model learn its own verdict on a message where that helps: neither what it knows well nor what it only guesses,
    /// little of each sibling, ham and spam in balance, never on the word of one member. [`Learnt::Declined`] mostly.
    ///
    /// # Errors
    ///
    /// As [`Self::learn`].
    pub fn teach_itself(
        &self,
        features: &Features,
        score: &Score,
        now: Duration,
    ) -> Result<Learnt, JudgeError> {
        let [ham, spam] = self.members.learned();
        if ham.min(spam) < FEW {
            return Ok(Learnt::Declined);
        }
        {
            let mut teaching = self.teaching();
            if score.log_odds < log_odds(self.settings.acts_from) {
                teaching.latest_ham.pass();
            }
            if !self_training::is_worth_it(score.log_odds)
                || teaching.lessons.get(&features.digest()).is_some()
            {
                return Ok(Learnt::Declined);
            }
        }
        // Outside of the lock: it takes as long as a score, and most messages do not get here.
        let said = self.members.opinion(features.prepared(), Whom::default()).said;
        let allowed =
            self.teaching().temperance.allows(features.body_hash(), score.log_odds, &said, day(now));
        if !allowed {
            return Ok(Learnt::Declined);
        }
        let class = if score.log_odds > 0.0 { Class::Spam } else { Class::Ham };
        let whom = Whom::default();
        self.learn(&Lesson { features, class, source: Source::Own, weight: OWN_WEIGHT, whom, now })
    }

    /// To be called about once a second: makes the log durable, and writes a snapshot when the log has grown long.
    ///
    /// # Errors
    ///
    /// [`JudgeError::Folder`] if the disk fails; the next call tries again.
    pub fn tick(&self, now: Duration) -> Result<(), JudgeError> {
        let mut teaching = self.teaching();
        teaching.grow_older(now);
        teaching.journal.sync()?;
        let long = teaching.journal.length() >= SEGMENT;
        drop(teaching);
        if long { self.snapshot(now) } else { Ok(()) }
    }

    /// Writes a snapshot now, where there is something new. Lessons wait meanwhile, scores do not.
    ///
    /// # Errors
    ///
    /// [`JudgeError::Folder`] if the disk fails: the former snapshot and the log remain.
    pub fn snapshot(&self, now: Duration) -> Result<(), JudgeError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let mut teaching = self.teaching();
        teaching.grow_older(now);
        if teaching.journal.length() == 0 {
            return Ok(());
        }
        let since = teaching.journal.turn()?;
        let Teaching { journal, lessons, latest_ham, .. } = &*teaching;
        snapshot::write(folder, &self.members, lessons, latest_ham, since)?;
        journal.drop_before(since, &|segment| since - segment <= SEGMENTS && lessons.needs(segment))?;
        teaching.since = since;
        Ok(())
    }

    /// How much has been learnt.
    pub fn learned(&self) -> Learned {
        let [ham, spam] = self.members.learned().map(f64::from);
        Learned { ham, spam, memory: self.members.octets() }
    }

    /// Why a message gets its verdict. Slower than a score: it looks the words up by name.
    pub fn explain(
        &self,
        features: &Features,
        whom: Whom<'_>,
        checks: &[Check],
        thresholds: &Thresholds,
        now: Duration,
    ) -> Explanation {
        let _ = now;
        let opinion = self.members.opinion(features.prepared(), whom);
        let score = self.score_of(&opinion, features.prepared().language);
        crate::why::explain(&self.members, features, whom, (&score, &opinion.said), checks, thresholds)
    }

    /// The words and the sequences that weighed most, the strongest first: what [`Self::explain`] has of them, for less.
    pub fn weighed_most(&self, features: &Features, whom: Whom<'_>) -> (Vec<Clue>, Vec<Clue>) {
        crate::why::weighed_most(&self.members, features, whom)
    }

    fn teaching(&self) -> MutexGuard<'_, Teaching> {
        self.teaching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what is taken off every score, by the latest ham.
    fn cut(&self, teaching: &Teaching) {
        let bound = log_odds(self.settings.acts_from) as f32;
        self.members.stack.set_cut(teaching.latest_ham.cut(self.settings.ham_loss, bound));
    }
}

impl Teaching {
    fn new(journal: Journal) -> Self {
        Self {
            journal,
            lessons: Lessons::default(),
            latest_ham: LatestHam::default(),
            temperance: Temperance::default(),
            since: 0,
            day: 0,
        }
    }

    /// A lesson has been added.
    fn note(&mut self, addition: &crate::members::Addition, digest: Digest, known: Known) {
        self.lessons.add(digest, known);
        if let (false, Some(before)) = (addition.spam, addition.before) {
            self.latest_ham.add(before);
        }
    }

    fn take_back(&mut self, members: &Members, digest: &Digest, known: Known) -> Result<bool, JudgeError> {
        let Some(addition) = self.journal.read(known.place)?.filter(|addition| addition.digest == *digest)
        else {
            return Ok(false);
        };
        let features = Features::from_bytes(&addition.features)?;
        self.journal.append(&Entry::Forget(*digest))?;
        self.undo(members, &addition, &features);
        Ok(true)
    }

    fn undo(&mut self, members: &Members, addition: &crate::members::Addition, features: &Features) {
        members.apply(addition, features.prepared(), false);
        if let (false, Some(before)) = (addition.spam, addition.before) {
            self.latest_ham.remove(before);
        }
        self.lessons.remove(&addition.digest);
    }

    /// An entry of the log at a start; whether it was a lesson.
    fn replay(
        &mut self,
        members: &Members,
        entry: Entry,
        place: crate::journal::Place,
    ) -> Result<bool, JudgeError> {
        match entry {
            Entry::Add(addition) => {
                let Ok(features) = Features::from_bytes(&addition.features) else { return Ok(false) };
                members.apply(&addition, features.prepared(), true);
                let known = Known { spam: addition.spam, own: addition.own, day: self.day, place };
                self.note(&addition, addition.digest, known);
                Ok(true)
            }
            Entry::Forget(digest) => {
                let Some(known) = self.lessons.get(&digest) else { return Ok(false) };
                let Some(addition) = self.journal.read(known.place)? else { return Ok(false) };
                let Ok(features) = Features::from_bytes(&addition.features) else { return Ok(false) };
                self.undo(members, &addition, &features);
                Ok(false)
            }
        }
    }

    fn grow_older(&mut self, now: Duration) {
        let today = day(now);
        if today != self.day {
            self.day = today;
            self.lessons.age(today);
        }
    }
}

fn day(now: Duration) -> u32 {
    u32::try_from(now.as_secs() / 86_400).unwrap_or(u32::MAX)
}

/// A weight in eighths; what is no number counts nothing.
fn units(weight: f32) -> i32 {
    (weight.clamp(0.0, 1.0) * UNIT as f32).round() as i32
}
