//! Why: the words and sequences that weighed most, by name.

use std::collections::HashMap;

use crate::explanation::{Clue, Explanation, MemberSays, otherwise};
use crate::features::Features;
use crate::lesson::Whom;
use crate::members::Members;
use crate::model::Score;
use crate::prepared::{pair_hash, word_hash};
use crate::stack::{NAMES, Said};
use crate::verdict::{Check, Thresholds, judge};
use crate::words::{Hearer, Space, tell};

/// Clues and sequences that are named.
const NAMED: usize = 15;
/// Clues weaker than this are noise.
const FAINT: f32 = 0.3;
/// Octets of a clue's text.
const MAX_TEXT: usize = 100;

pub(crate) fn explain(
    members: &Members,
    features: &Features,
    whom: Whom<'_>,
    (score, said): (&Score, &Said),
    checks: &[Check],
    thresholds: &Thresholds,
) -> Explanation {
    let judgement = judge(Some(score), checks, thresholds);
    let otherwise = otherwise(&judgement, thresholds);
    let shares = members.stack.shares(said, members.learned());
    let says = NAMES.into_iter().zip(shares).map(|(name, share)| MemberSays { name, share: share.into() });
    let (clues, sequences) = weighed_most(members, features, whom);
    Explanation { judgement, members: says.collect(), clues, sequences, otherwise }
}

/// The words and the sequences that weighed most.
pub(crate) fn weighed_most(members: &Members, features: &Features, whom: Whom<'_>) -> (Vec<Clue>, Vec<Clue>) {
    let mut heard = Heard::default();
    tell(features.pieces(), &mut heard);
    (clues(members, whom, &heard), sequences(members, features, &heard))
}

/// Words and neighbours by their hashes.
#[derive(Default)]
struct Heard {
    names: HashMap<u64, String>,
    former: Option<(u64, String)>,
}

impl Hearer for Heard {
    fn word(&mut self, space: Space, tag: &str, text: &str) {
        let hash = word_hash(tag, text);
        let name = match (space, tag) {
            (Space::Body, _) | (_, "") => text.to_owned(),
            (_, tag) => format!("{tag}:{text}"),
        };
        if matches!(space, Space::Body | Space::Field) {
            if let Some((before, words)) = &self.former {
                let pair = format!("{words} {text}");
                self.names.entry(pair_hash(*before, hash, 1)).or_insert(pair);
            }
            self.former = Some((hash, name.clone()));
        }
        self.names.entry(hash).or_insert(name);
    }

    fn pause(&mut self) {
        self.former = None;
    }
}

fn clues(members: &Members, whom: Whom<'_>, heard: &Heard) -> Vec<Clue> {
    let (epoch, overlays, odds) = (members.epoch(), members.overlays(whom), members.bayes.odds());
    let clues = heard.names.iter().filter_map(|(hash, name)| {
        let counts = members.bayes.counts(*hash, &overlays, epoch);
        let weight = odds.weight(counts);
        let seen = counts.spam + counts.ham > 0.0;
        (seen && weight.abs() > FAINT).then(|| Clue {
            text: shown(name),
            weight: weight.into(),
            spam: counts.spam,
            ham: counts.ham,
        })
    });
    strongest(clues.collect())
}

fn sequences(members: &Members, features: &Features, heard: &Heard) -> Vec<Clue> {
    let words = &features.prepared().sequence;
    let mut found: HashMap<String, f64> = HashMap::new();
    for (place, weight) in members.chain.word_by_word(words, members.epoch()).enumerate() {
        let begin = place.saturating_sub(2);
        let named: Option<Vec<&str>> =
            words[begin..=place].iter().map(|word| heard.names.get(word).map(String::as_str)).collect();
        if let (true, Some(named)) = (weight.abs() > FAINT, named) {
            *found.entry(shown(&named.join(" "))).or_default() += f64::from(weight);
        }
    }
    strongest(found.into_iter().map(|(text, weight)| Clue { text, weight, spam: 0.0, ham: 0.0 }).collect())
}

/// The strongest first; names in order where they are as strong, so that the same message is explained the same.
fn strongest(mut clues: Vec<Clue>) -> Vec<Clue> {
    clues.sort_by(|a, b| b.weight.abs().total_cmp(&a.weight.abs()).then_with(|| a.text.cmp(&b.text)));
    clues.truncate(NAMED);
    clues
}

/// As it may be printed: no control characters, not endless.
fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(MAX_TEXT).collect()
}
