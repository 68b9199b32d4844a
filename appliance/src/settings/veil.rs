//! A config's text without its secrets, to be shown and edited, and with them again. In the place of each stands what says that there is
//! one, numbered: who edits the text leaves it as it is, or writes another secret there. Comments are gone through, too: what was
//! switched off by a `#` may be a secret still.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::config::manual::SECRETS;

const BEGIN: &str = "(not shown: ";
const END: &str = ")";
/// For a secret that is in the later of two texts alone.
const NEW: &str = "(new, not shown)";

/// Where a text has a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spot {
    key: String,
    place: Range<usize>,
    is_comment: bool,
}

impl Spot {
    fn written<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.place.clone()).unwrap_or_default()
    }

    /// What stands there instead.
    fn stand_in(&self, words: &str) -> String {
        if self.is_comment { words.to_owned() } else { format!("\"{words}\"") }
    }

    /// Which secret of the other text is meant, if that is what stands here.
    fn number(&self, text: &str) -> Option<usize> {
        let written = self.written(text).trim_matches(['"', '\'']);
        written.strip_prefix(BEGIN)?.strip_suffix(END)?.parse().ok()
    }
}

fn numbered(at: usize) -> String {
    format!("{BEGIN}{}{END}", at + 1)
}

/// The text to show.
///
/// # Errors
///
/// It is no TOML, so that nobody knows where its secrets are; the reason.
pub(crate) fn veiled(text: &str) -> Result<String, String> {
    let spots = spots(text)?;
    let words = (0..spots.len()).map(numbered).collect::<Vec<_>>();
    Ok(replaced(text, &spots, |at, spot| spot.stand_in(words.get(at).map_or(NEW, String::as_str))))
}

/// Both texts to show, so that a difference between them is seen and no secret is.
///
/// # Errors
///
/// One of them is no TOML; the reason.
pub(crate) fn both_veiled(before: &str, after: &str) -> Result<(String, String), String> {
    let (old, new) = (spots(before)?, spots(after)?);
    let known = |spot: &Spot| {
        let same = |one: &Spot| one.key == spot.key && one.written(before) == spot.written(after);
        old.iter().position(same)
    };
    let later =
        replaced(after, &new, |_, spot| spot.stand_in(&known(spot).map_or_else(|| NEW.to_owned(), numbered)));
    Ok((veiled(before)?, later))
}

/// A text that is to be edited further: the secrets that the other one has are stand-ins for them, new ones stand there.
///
/// # Errors
///
/// One of them is no TOML; the reason.
pub(crate) fn stood_in(text: &str, present: &str) -> Result<String, String> {
    let (places, secrets) = (spots(text)?, spots(present)?);
    Ok(replaced(text, &places, |_, spot| {
        let same = |one: &Spot| {
            (&one.key, one.is_comment, one.written(present))
                == (&spot.key, spot.is_comment, spot.written(text))
        };
        match secrets.iter().position(same) {
            Some(at) => spot.stand_in(&numbered(at)),
            None => spot.written(text).to_owned(),
        }
    }))
}

/// What was edited, with the secrets of the text that was shown.
///
/// # Errors
///
/// Where a stand-in has come to a place where its secret would be seen, or would be another one's.
pub(crate) fn unveiled(edited: &str, shown: &str) -> Result<String, String> {
    // What is no TOML is told with its lines by who checks it, and not written.
    let Ok(places) = spots(edited) else { return Ok(edited.to_owned()) };
    let secrets = spots(shown)?;
    let mut wrong = None;
    let whole = replaced(edited, &places, |_, spot| {
        let Some(number) = spot.number(edited) else { return spot.written(edited).to_owned() };
        let secret = number.checked_sub(1).and_then(|at| secrets.get(at));
        match secret.filter(|one| one.key == spot.key && one.is_comment == spot.is_comment) {
            Some(one) => one.written(shown).to_owned(),
            None => {
                wrong.get_or_insert(number);
                String::new()
            }
        }
    });
    let out_of_place = |number: usize| {
        format!(
            "`{BEGIN}{number}{END}` stands for a secret and may stand behind its own key only; write the new secret, or leave it where it was"
        )
    };
    match wrong {
        Some(number) => Err(out_of_place(number)),
        None if whole.contains(BEGIN) && !shown.contains(BEGIN) => {
            let number = whole.split(BEGIN).nth(1).and_then(|rest| rest.split(END).next()?.parse().ok());
            Err(out_of_place(number.unwrap_or_default()))
        }
        None => Ok(whole),
    }
}

fn replaced(text: &str, spots: &[Spot], mut by: impl FnMut(usize, &Spot) -> String) -> String {
    let (mut whole, mut from) = (String::with_capacity(text.len()), 0);
    for (at, spot) in spots.iter().enumerate() {
        whole.push_str(text.get(from..spot.place.start).unwrap_or_default());
        whole.push_str(&by(at, spot));
        from = spot.place.end;
    }
    whole.push_str(text.get(from..).unwrap_or_default());
    whole
}

/// In the order of the text.
fn spots(text: &str) -> Result<Vec<Spot>, String> {
    let tree = DeTable::parse(text).map_err(|error| error.message().to_owned())?;
    let mut found = Found::default();
    found.table(tree.get_ref());
    found.strings.sort_by_key(|place| place.start);
    let comments = comments(text, &found.strings);
    found.spots.extend(comments.into_iter().filter_map(|place| in_comment(text, place)));
    found.spots.sort_by_key(|spot| spot.place.start);
    Ok(found.spots)
}

#[derive(Default)]
struct Found {
    spots: Vec<Spot>,
    /// Keys and values in which a `#` begins no comment.
    strings: Vec<Range<usize>>,
}

impl Found {
    fn table(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            self.strings.push(key.span());
            self.value(key.get_ref(), value);
        }
    }

    fn value(&mut self, key: &str, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::String(text) => {
                self.strings.push(value.span());
                if SECRETS.contains(&key) && !text.is_empty() {
                    self.spots.push(Spot { key: key.to_owned(), place: value.span(), is_comment: false });
                }
            }
            DeValue::Array(values) => self.array(key, values),
            DeValue::Table(table) => self.table(table),
            _ => {}
        }
    }

    fn array(&mut self, key: &str, values: &DeArray<'_>) {
        values.iter().for_each(|value| self.value(key, value));
    }
}

/// From each `#` to the end of its line.
fn comments(text: &str, strings: &[Range<usize>]) -> Vec<Range<usize>> {
    let (mut found, mut at, mut strings) = (Vec::new(), 0, strings.iter().peekable());
    while let Some(next) = text.get(at..).and_then(|rest| rest.find('#')).map(|next| at + next) {
        while strings.next_if(|place| place.end <= next).is_some() {}
        if let Some(place) = strings.peek().filter(|place| place.start <= next) {
            at = place.end;
            continue;
        }
        let end =
            text.get(next..).and_then(|rest| rest.find(['\r', '\n'])).map_or(text.len(), |end| next + end);
        found.push(next..end);
        at = end;
    }
    found
}

/// All that stands behind a secret's key and `=`.
fn in_comment(text: &str, place: Range<usize>) -> Option<Spot> {
    let comment = text.get(place.clone())?;
    let of_key = |key: &&str| {
        let at = comment.match_indices(*key).find_map(|(at, _)| {
            let behind = at + key.len();
            let rest = comment.get(behind..)?.trim_start_matches(['"', '\'']).trim_start();
            rest.starts_with(['=', ':']).then(|| comment.len() - rest.len() + 1)
        })?;
        Some((at, (*key).to_owned()))
    };
    let (at, key) = SECRETS.iter().filter_map(of_key).min()?;
    let secret = comment.get(at..)?;
    let start = place.start + at + (secret.len() - secret.trim_start().len());
    let place = start..start + secret.trim().len();
    (!place.is_empty()).then_some(Spot { key, place, is_comment: true })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "hostname = \"mx#1.test\" # a name\n# password = \"once\"\n[outbound.relay]\npassword = 'hunter2' # of ann\n\
        [[backend]]\nrecipients = { ldap = { password = \"s#cret\", url = \"ldap://x\" } }\n[log]\nalerts_key = { file = \"/k\" }\n";

    #[test]
    fn no_secret_is_shown_and_all_come_back() {
        let shown = veiled(TEXT).unwrap();
        for secret in ["once", "hunter2", "s#cret"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(
            shown.contains("# password = (not shown: 1)\n")
                && shown.contains("password = \"(not shown: 2)\" # of ann"),
            "{shown}"
        );
        assert!(shown.contains("mx#1.test\" # a name") && shown.contains("{ file = \"/k\" }"), "{shown}");
        assert_eq!(unveiled(&shown, TEXT).unwrap(), TEXT);
        let moved = format!("# more\n{shown}");
        assert_eq!(unveiled(&moved, TEXT).unwrap(), format!("# more\n{TEXT}"));
        let other = shown.replace("\"(not shown: 2)\"", "\"another\"");
        assert_eq!(unveiled(&other, TEXT).unwrap(), TEXT.replace("'hunter2'", "\"another\""));
    }

    #[test]
    fn a_stand_in_shows_its_secret_nowhere_else() {
        let shown = veiled(TEXT).unwrap();
        for (from, to) in [
            ("\"mx#1.test\"", "\"(not shown: 2)\""),
            ("# a name", "# (not shown: 2)"),
            ("(not shown: 1)", "(not shown: 2)"),
            ("\"(not shown: 2)\"", "\"(not shown: 9)\""),
            ("\"(not shown: 2)\"", "\"(not shown: 0)\""),
        ] {
            let edited = shown.replacen(from, to, 1);
            assert!(unveiled(&edited, TEXT).is_err(), "{edited}");
        }
    }

    #[test]
    fn of_two_texts_a_changed_secret_is_told_apart_and_not_shown() {
        let (before, after) = both_veiled(TEXT, &TEXT.replace("hunter2", "hunter3")).unwrap();
        assert!(before.contains("password = \"(not shown: 2)\""), "{before}");
        assert!(after.contains("password = \"(new, not shown)\"") && !after.contains("hunter"), "{after}");
        assert!(veiled("a = ").is_err());
    }

    #[test]
    fn what_only_looks_like_a_comment_is_none() {
        let text = "a = '''\n# password = x\n'''\nb = \"# secret = y\" # secret: z\n";
        assert_eq!(veiled(text).unwrap(), text.replace(" z\n", " (not shown: 1)\n"));
    }

    /// What no text may show.
    const MARK: &str = "S3CRET";

    fn value() -> impl Strategy<Value = String> {
        let secret = "[a-z#=' ]{0,8}".prop_map(|more| format!("{MARK}{more}"));
        let string = (secret, 0..4).prop_map(|(secret, style)| match style {
            0 => format!("\"{secret}\\n\\\"#\""),
            1 => format!("'{}'", secret.replace('\'', "")),
            2 => format!("\"\"\"\n{secret}\n# \"\" x\n\"\"\""),
            _ => format!("'''\n{0}\n# password = {0}'''", secret.replace('\'', "")),
        });
        (string, 0..3).prop_map(|(string, inside)| match inside {
            0 => string,
            1 => format!("[{string}, [{string}]]"),
            _ => format!("[ # secret = {MARK}\n  {string}\n]"),
        })
    }

    /// An entry with a secret, in any of the ways that TOML has to write one.
    fn entry() -> impl Strategy<Value = String> {
        let key = prop::sample::select(&SECRETS[..]);
        (key, value(), 0..7).prop_map(|(key, value, style)| match style {
            0 => format!("{key} = {value}"),
            1 => format!("\"{key}\"={value}# more"),
            2 => format!("x.'{key}' = {value}"),
            3 => format!("in = {{ a = 1, {key} = {value}, b = [1] }}"),
            4 => format!("list = [{{ {key} = {value} }}, {{ {key} = {value} }}]"),
            5 => format!("# {key} = {MARK}{}", value.replace(['\r', '\n'], " ")),
            _ => format!("open = \"# {key} = x\" #{key}: {MARK}"),
        })
    }

    proptest! {
        #[test]
        fn however_a_secret_is_written_it_is_not_shown_and_comes_back(
            entries in prop::collection::vec(entry(), 0..8), newline in prop::sample::select(&["\n", "\r\n"][..])
        ) {
            let text: String = entries.iter().map(|entry| format!("[[t]]\n{entry}\n")).collect();
            let text = text.replace('\n', newline);
            prop_assert!(spots(&text).is_ok(), "{}", text);
            let shown = veiled(&text).map_err(TestCaseError::fail)?;
            prop_assert!(!shown.contains(MARK), "{}\n{}", text, shown);
            prop_assert_eq!(unveiled(&shown, &text), Ok(text.clone()));
            let (before, after) = both_veiled("", &text).map_err(TestCaseError::fail)?;
            prop_assert!(before.is_empty() && !after.contains(MARK), "{}\n{}", text, after);
        }

        /// Whatever is handed in: an answer, and no secret of the text that serves.
        #[test]
        fn what_is_no_config_is_gone_through_all_the_same(edited in any::<String>(), cut in 0..400_usize) {
            let _ = unveiled(&edited, TEXT);
            let shown = veiled(TEXT).map_err(TestCaseError::fail)?;
            let end = shown.floor_char_boundary(cut);
            let torn = format!("{}{edited}{}", &shown[..end], &shown[end..]);
            if let Ok(whole) = unveiled(&torn, TEXT)
                && let Ok(again) = veiled(&whole)
            {
                prop_assert!(!again.contains("hunter2") && !again.contains("s#cret"), "{}", again);
            }
        }
    }
}
