//! What clamd answers to INSTREAM: octets up to a NUL, of which the scanner decides how many there are.

/// Octets of an answer with its NUL: a number, the words around, and a signature's name, which clamd bounds much lower.
pub const MAX_ANSWER: usize = 1024;
/// Characters of a signature's name that are kept.
const MAX_SIGNATURE: usize = 120;

/// What clamd found in what it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `stream: OK`
    Clean,
    /// `stream: NAME FOUND`; the name has no control characters.
    Found(Box<str>),
    /// `INSTREAM size limit exceeded. ERROR`; nothing follows on this connection.
    TooLarge,
    /// `... ERROR`, or what nobody knows.
    Trouble(Box<str>),
}

impl Answer {
    /// Reads an answer without its NUL, with or without the number that IDSESSION puts before it.
    pub fn read(octets: &[u8]) -> Self {
        let text = String::from_utf8_lossy(octets.get(..MAX_ANSWER).unwrap_or(octets));
        let text = text.trim();
        let text = without_number(text);
        let Some(said) = text.strip_prefix("stream:").map(str::trim) else {
            return match text.starts_with("INSTREAM size limit exceeded") {
                true => Self::TooLarge,
                false => Self::Trouble(printable(text)),
            };
        };
        if said == "OK" {
            return Self::Clean;
        }
        match said.strip_suffix("FOUND").and_then(|name| name.strip_suffix(' ')).map(str::trim) {
            Some(name) if !name.is_empty() => Self::Found(printable(name)),
            _ => Self::Trouble(printable(said)),
        }
    }
}

fn without_number(text: &str) -> &str {
    match text.split_once(": ") {
        Some((number, rest)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            rest.trim_start()
        }
        _ => text,
    }
}

fn printable(text: &str) -> Box<str> {
    let sound = |c: char| if c.is_control() { '?' } else { c };
    text.chars().take(MAX_SIGNATURE).map(sound).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_in_a_session_and_without() {
        for (text, answer) in [
            ("stream: OK", Answer::Clean),
            ("17: stream: OK", Answer::Clean),
            ("1: stream: Eicar-Test-Signature FOUND", Answer::Found("Eicar-Test-Signature".into())),
            ("stream: A name: with FOUND FOUND", Answer::Found("A name: with FOUND".into())),
            ("stream: a\u{1b}[2J FOUND", Answer::Found("a?[2J".into())),
            ("INSTREAM size limit exceeded. ERROR", Answer::TooLarge),
            ("2: INSTREAM size limit exceeded. ERROR", Answer::TooLarge),
            ("stream: Can't allocate memory ERROR", Answer::Trouble("Can't allocate memory ERROR".into())),
            ("UNKNOWN COMMAND", Answer::Trouble("UNKNOWN COMMAND".into())),
            ("stream: FOUND", Answer::Trouble("FOUND".into())),
            ("stream: OKAY", Answer::Trouble("OKAY".into())),
            ("", Answer::Trouble("".into())),
        ] {
            assert_eq!(Answer::read(text.as_bytes()), answer, "{text}");
        }
    }

    #[test]
    fn a_name_without_end_is_cut() {
        let long = format!("stream: {} FOUND", "x".repeat(500));
        assert_eq!(Answer::read(long.as_bytes()), Answer::Found("x".repeat(MAX_SIGNATURE).into()));
        assert!(
            matches!(Answer::read(&[0xff; 5000]), Answer::Trouble(said) if said.chars().count() == MAX_SIGNATURE)
        );
    }
}
