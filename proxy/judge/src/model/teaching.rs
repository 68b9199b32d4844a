//! One lesson after another: what is new, what is known, what is undone; and the log that outlives a restart.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Model, Recovered, epoch, overlays};
use crate::error::JudgeError;
use crate::features::{Digest, Features, MAX_BYTES};
use crate::lesson::{Class, Learnt, Lesson, Source, Whom};
use crate::letters::Letters;
use crate::sections::Expectations;
use crate::slots::{Epoch, UNIT};
use crate::stack::Step;
use crate::verdict::{Thresholds, log_odds};

/// What the model's own verdicts count.
pub(super) const OWN_WEIGHT: f32 = 0.3;
/// Lessons that can be undone: the newest. Each holds the message's words and what it changed, some 7 KiB.
const MAX_UNDO: usize = 8_192;
/// Time for which lessons can be undone.
const UNDO_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// Trusted ham whose scores set the cut.
const RECENT: usize = 2_000;
/// Trusted ham before there is a cut at all.
const FEW: usize = 200;
/// Own verdicts are learnt between these log-odds.
const OWN_BAND: std::ops::Range<f64> = 1.0..4.0;
/// Siblings that are learnt of one's own accord in a day.
const OWN_SIBLINGS: u8 = 2;
/// Siblings that are remembered.
const MAX_SIBLINGS: usize = 65_536;
/// Own lessons by which one class may be ahead.
const OWN_AHEAD: i64 = 20;
/// Octets of a log record before its features: length, checksum, class, source, units, time.
const RECORD_HEAD: usize = 4 + 4 + 1 + 1 + 1 + 8;

/// What a lesson changed.
#[derive(Debug)]
struct Taught {
    features: Features,
    class: Class,
    source: Source,
    units: i32,
    epoch: Epoch,
    when: Duration,
    salts: Vec<u64>,
    letters: i32,
    chain: Vec<i32>,
    sections: Expectations,
    stack: Step,
}

/// What is known of lessons past.
#[derive(Debug, Default)]
pub(super) struct Teacher {
    taught: HashMap<Digest, Taught>,
    order: VecDeque<Digest>,
    /// Log-odds that recent trusted ham had before it was learnt.
    ham: VecDeque<f32>,
    day: u64,
    siblings: HashMap<u64, u8>,
    own: [i64; 2],
    log: Option<File>,
}

pub(super) fn locked(teacher: &Mutex<Teacher>) -> MutexGuard<'_, Teacher> {
    teacher.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn learn(model: &Model, teacher: &mut Teacher, lesson: &Lesson<'_>) -> Result<Learnt, JudgeError> {
    let units = (lesson.weight.clamp(0.0, 1.0) * UNIT as f32).round() as i32;
    let digest = lesson.features.digest();
    let former = teacher.taught.get(&digest).map(|taught| (taught.class, taught.source));
    let learnt = match former {
        _ if units == 0 => return Ok(Learnt::Declined),
        Some((_, source)) if source.is_trusted() && !lesson.source.is_trusted() => {
            return Ok(Learnt::Declined);
        }
        // What the model believed and a person confirms counts in full from now on.
        Some((class, source))
            if class == lesson.class && source.is_trusted() == lesson.source.is_trusted() =>
        {
            return Ok(Learnt::Again);
        }
        Some(_) => Learnt::Corrected,
        None => Learnt::New,
    };
    teacher.take_back(model, &digest, lesson.now);
    teacher.teach(model, lesson, units);
    teacher.note(lesson.features, Some(lesson.class), lesson.source, units, lesson.now)?;
    Ok(learnt)
}

pub(super) fn forget(
    model: &Model,
    teacher: &mut Teacher,
    digest: &Digest,
    now: Duration,
) -> Result<bool, JudgeError> {
    let Some(taught) = teacher.take_back(model, digest, now) else { return Ok(false) };
    teacher.note(&taught.features, None, taught.source, taught.units, now)?;
    Ok(true)
}

impl Teacher {
    fn teach(&mut self, model: &Model, lesson: &Lesson<'_>, units: i32) {
        let prepared = lesson.features.prepared();
        let epoch = epoch(lesson.now);
        let weight = units as f32 / UNIT as f32;
        let said = model.said(prepared, lesson.whom, epoch);
        let letters = model.letters.score(&prepared.letters);
        let taught = Taught {
            features: lesson.features.clone(),
            class: lesson.class,
            source: lesson.source,
            units,
            epoch,
            when: lesson.now,
            salts: overlays(lesson.whom).iter().map(|overlay| overlay.salt).collect(),
            letters: Letters::step(letters, lesson.class == Class::Spam, weight),
            chain: model.chain.expectations(&prepared.sequence, lesson.class, epoch),
            sections: model.sections.expectations(&prepared.sequence, lesson.class),
            stack: if lesson.source.is_trusted() {
                model.stack.step(&said, lesson.class, weight, model.rarer())
            } else {
                Step::default()
            },
        };
        if lesson.source.is_trusted() && lesson.class == Class::Ham {
            self.cut(model, model.stack.shares(&said).iter().sum());
        }
        taught.apply(model, 1, epoch);
        self.keep(taught);
    }

    fn keep(&mut self, taught: Taught) {
        let digest = taught.features.digest();
        self.order.push_back(digest);
        self.taught.insert(digest, taught);
        while self.order.len() > MAX_UNDO {
            if let Some(oldest) = self.order.pop_front() {
                self.taught.remove(&oldest);
            }
        }
    }

    fn take_back(&mut self, model: &Model, digest: &Digest, now: Duration) -> Option<Taught> {
        let recent = now.saturating_sub(self.taught.get(digest)?.when) <= UNDO_LIFE;
        let taught = self.taught.remove(digest)?;
        self.order.retain(|known| known != digest);
        if !recent {
            return None;
        }
        taught.apply(model, -1, epoch(now));
        Some(taught)
    }

    /// Lowers all log-odds so far that no more trusted ham than one accepts comes to the threshold of a tag.
    fn cut(&mut self, model: &Model, score: f32) {
        self.ham.push_back(score);
        if self.ham.len() > RECENT {
            self.ham.pop_front();
        }
        if self.ham.len() < FEW {
            return;
        }
        let accepted = (self.ham.len() as f64 * model.settings.ham_loss) as usize;
        let mut scores: Vec<f32> = self.ham.iter().copied().collect();
        let (_, highest, _) = scores.select_nth_unstable_by(accepted, |a, b| b.total_cmp(a));
        let shift = (*highest - log_odds(Thresholds::default().tag) as f32).clamp(0.0, MAX_SHIFT);
        model.shift.store(shift.to_bits(), Relaxed);
    }

    pub(super) fn may_teach_itself(&mut self, body: u64, log_odds: f64, class: Class, now: Duration) -> bool {
        let day = now.as_secs() / 86_400;
        if day != self.day || self.siblings.len() >= MAX_SIBLINGS {
            self.day = day;
            self.siblings.clear();
        }
        let ahead = self.own[class as usize] - self.own[1 - class as usize];
        if !OWN_BAND.contains(&log_odds.abs()) || ahead >= OWN_AHEAD {
            return false;
        }
        let siblings = self.siblings.entry(body).or_default();
        let may = *siblings < OWN_SIBLINGS;
        *siblings = siblings.saturating_add(1);
        self.own[class as usize] += i64::from(may);
        may
    }

    fn note(
        &mut self,
        features: &Features,
        class: Option<Class>,
        source: Source,
        units: i32,
        now: Duration,
    ) -> Result<(), JudgeError> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let mut body = vec![class.map_or(2, |class| class as u8), u8::from(source.is_trusted())];
        body.push(u8::try_from(units).unwrap_or_default());
        body.extend_from_slice(&now.as_secs().to_le_bytes());
        body.extend_from_slice(&features.to_bytes());
        let length = u32::try_from(body.len()).unwrap_or_default();
        let mut record = length.to_le_bytes().to_vec();
        record.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        record.append(&mut body);
        // One write: what the kernel has survives the end of the process.
        Ok(log.write_all(&record)?)
    }

    pub(super) fn sync(&mut self) -> Result<(), JudgeError> {
        self.log.as_ref().map_or(Ok(()), |log| Ok(log.sync_data()?))
    }
}

/// The cut never lowers log-odds by more: beyond, learning is at fault.
const MAX_SHIFT: f32 = 4.0;

impl Taught {
    fn apply(&self, model: &Model, sign: i32, now: Epoch) {
        let prepared = self.features.prepared();
        // What has halved since is taken back by half.
        let units = (self.units >> now.since(self.epoch)) * sign;
        model.bayes.add(&prepared.clues, self.class, units, now);
        for salt in &self.salts {
            model.bayes.add_salted(&prepared.clues, *salt, self.class, units, now);
        }
        model.chain.add(&prepared.sequence, &self.chain, self.class, units, now);
        model.sections.add(&prepared.sequence, &self.sections, self.class, units);
        model.letters.add(&prepared.letters, self.letters * sign);
        model.stack.add(&self.stack, sign);
    }
}

/// Learns the log of a folder again, cuts a damaged end, and goes on writing there.
pub(super) fn recover(model: &Model, folder: &Path) -> Result<Recovered, JudgeError> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join("lessons.log");
    let mut log = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let octets = log.metadata()?.len();
    let (replayed, sound) = replay(model, &mut BufReader::new(&log));
    if sound < octets {
        log.set_len(sound)?;
        log.sync_all()?;
    }
    log.flush()?;
    locked(&model.teacher).log = Some(log);
    Ok(Recovered { replayed, cut: octets - sound })
}

/// Learns records until the first that makes no sense: how many, and the octets of the sound ones.
fn replay(model: &Model, log: &mut impl Read) -> (u64, u64) {
    let (mut replayed, mut sound) = (0, 0);
    while let Some((octets, body)) = record(log) {
        let Some((head, features)) = body.split_at_checked(RECORD_HEAD - 8) else { break };
        let Ok(features) = Features::from_bytes(features) else { break };
        let &[class, trusted, units, ref when @ ..] = head else { break };
        let now =
            Duration::from_secs(when.iter().rev().fold(0, |number, octet| (number << 8) | u64::from(*octet)));
        let source = if trusted == 1 { Source::Administrator } else { Source::Own };
        let weight = f32::from(units) / UNIT as f32;
        let mut teacher = locked(&model.teacher);
        let class = match class {
            0 => Some(Class::Ham),
            1 => Some(Class::Spam),
            _ => None,
        };
        match class {
            Some(class) => {
                let lesson =
                    Lesson { features: &features, class, source, weight, whom: Whom::default(), now };
                let _ = learn(model, &mut teacher, &lesson);
            }
            None => {
                let _ = forget(model, &mut teacher, &features.digest(), now);
            }
        }
        replayed += 1;
        sound += octets;
    }
    (replayed, sound)
}

fn record(log: &mut impl Read) -> Option<(u64, Vec<u8>)> {
    let mut head = [0; 8];
    log.read_exact(&mut head).ok()?;
    let [a, b, c, d, crc @ ..] = head;
    let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
    if length > MAX_BYTES + RECORD_HEAD {
        return None;
    }
    let mut body = vec![0; length];
    log.read_exact(&mut body).ok()?;
    let octets = u64::try_from(length + 8).ok()?;
    (crc32fast::hash(&body) == u32::from_le_bytes(crc)).then_some((octets, body))
}
