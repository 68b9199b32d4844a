//! What is other in a text than it was, line by line: for people, in signs that need no colour.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lines that stand around what was changed.
const AROUND: usize = 2;
/// The most comparisons of one line with another; larger changes are told as all of the old and all of the new.
const MAX_WORK: usize = 4_000_000;
/// The most lines of an answer.
const MAX_LINES: usize = 2000;

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sign {
    /// It is as it was.
    Kept,
    /// It was there.
    Removed,
    /// It was not there.
    Added,
}

/// A line of a difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Line {
    /// What became of it.
    pub(crate) sign: Sign,
    /// Its number in the text that has it, from 1: in the new one, unless it was removed.
    pub(crate) number: usize,
    /// The line, without secrets.
    pub(crate) text: String,
}

impl Line {
    /// `+`, `-` or a space.
    pub(crate) fn mark(&self) -> &'static str {
        match self.sign {
            Sign::Kept => " ",
            Sign::Removed => "-",
            Sign::Added => "+",
        }
    }
}

/// How many lines are new, and how many are gone.
pub(crate) fn count(lines: &[Line]) -> (usize, usize) {
    let of = |sign| lines.iter().filter(|line| line.sign == sign).count();
    (of(Sign::Added), of(Sign::Removed))
}

/// Nothing where the texts are the same.
pub(crate) fn difference(before: &str, after: &str) -> Vec<Line> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let head = old.iter().zip(&new).take_while(|(one, other)| one == other).count();
    let rest = old.len().min(new.len()) - head;
    let tail =
        old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(one, other)| one == other).count();
    let (left, right) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut all: Vec<Line> = Vec::new();
    let line = |sign, at: usize, text: &str| Line { sign, number: at + 1, text: text.to_owned() };
    all.extend(new.iter().take(head).enumerate().map(|(at, text)| line(Sign::Kept, at, text)));
    for step in steps(left, right) {
        all.push(match step {
            Step::Keep(at) => line(Sign::Kept, head + at, right[at]),
            Step::Remove(at) => line(Sign::Removed, head + at, left[at]),
            Step::Add(at) => line(Sign::Added, head + at, right[at]),
        });
    }
    let end = new.len() - tail;
    all.extend(new.iter().enumerate().skip(end).map(|(at, text)| line(Sign::Kept, at, text)));
    near_changes(all)
}

enum Step {
    Keep(usize),
    Remove(usize),
    Add(usize),
}

/// By the longest sequence of lines that both have.
fn steps(left: &[&str], right: &[&str]) -> Vec<Step> {
    let mut steps = Vec::new();
    let width = right.len() + 1;
    if left.len().saturating_add(1).saturating_mul(width) > MAX_WORK {
        steps.extend((0..left.len()).map(Step::Remove));
        steps.extend((0..right.len()).map(Step::Add));
        return steps;
    }
    // The length of the longest common sequence of what is left, from each pair of places on.
    let mut longest = vec![0_u32; (left.len() + 1) * width];
    for at in (0..left.len()).rev() {
        for to in (0..right.len()).rev() {
            longest[at * width + to] = if left[at] == right[to] {
                longest[(at + 1) * width + to + 1] + 1
            } else {
                longest[(at + 1) * width + to].max(longest[at * width + to + 1])
            };
        }
    }
    let (mut at, mut to) = (0, 0);
    while at < left.len() || to < right.len() {
        if at < left.len() && to < right.len() && left[at] == right[to] {
            steps.push(Step::Keep(to));
            (at, to) = (at + 1, to + 1);
        } else if to == right.len()
            || (at < left.len() && longest[(at + 1) * width + to] >= longest[at * width + to + 1])
        {
            steps.push(Step::Remove(at));
            at += 1;
        } else {
            steps.push(Step::Add(to));
            to += 1;
        }
    }
    steps
}

fn near_changes(all: Vec<Line>) -> Vec<Line> {
    let is_change = |line: &Line| line.sign != Sign::Kept;
    let mut near = vec![false; all.len()];
    for at in all.iter().enumerate().filter(|(_, line)| is_change(line)).map(|(at, _)| at) {
        let to = (at + AROUND + 1).min(all.len());
        near[at.saturating_sub(AROUND)..to].fill(true);
    }
    all.into_iter().zip(near).filter_map(|(line, near)| near.then_some(line)).take(MAX_LINES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(before: &str, after: &str) -> Vec<String> {
        difference(before, after)
            .iter()
            .map(|line| format!("{}{} {}", line.mark(), line.number, line.text))
            .collect()
    }

    #[test]
    fn lines_that_are_new_and_gone_are_told_with_what_stands_around_them() {
        let before = "a\nb\nc\nd\ne\nf\ng\n";
        assert_eq!(told(before, before), Vec::<String>::new());
        let after = "a\nb\nc\nD\ne\nf\ng\nh\n";
        assert_eq!(told(before, after), [" 2 b", " 3 c", "-4 d", "+4 D", " 5 e", " 6 f", " 7 g", "+8 h"]);
        assert_eq!(told("", "x"), ["+1 x"]);
        assert_eq!(told("x\ny", ""), ["-1 x", "-2 y"]);
        assert_eq!(count(&difference(before, after)), (2, 1));
    }

    #[test]
    fn a_change_of_everything_is_bounded() {
        let text = |letter: &str| (0..3000).map(|at| format!("{letter}{at}\n")).collect::<String>();
        assert_eq!(difference(&text("a"), &text("b")).len(), MAX_LINES);
    }
}
