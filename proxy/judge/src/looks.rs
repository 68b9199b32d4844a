//! What a domain looks like to a reader: names that differ and look the same (UTS #39).

use unicode_security::{RestrictionLevel, RestrictionLevelDetection as _, skeleton};

/// Letters of a name from which on another that is one letter away is no chance: below that, short names are neighbours.
const LONG_ENOUGH: usize = 8;

/// How a domain is like another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// They cannot be told apart by the eye.
    Same,
    /// They differ by one letter, put in, left out or exchanged.
    Near,
}

/// What a domain looks like; equal for names that look the same. Digits and letters that are confused are one, and so are `rn` and `m`.
pub fn face(domain: &str) -> String {
    skeleton(&shown(domain)).collect::<String>().to_lowercase().replace('0', "o").replace(['1', 'i'], "l")
}

/// How two registered domains are alike, if they are not the same.
pub fn likeness(domain: &str, known: &str) -> Option<Likeness> {
    if domain == known || domain.is_empty() {
        return None;
    }
    if face(domain) == face(known) {
        return Some(Likeness::Same);
    }
    let (label, own) = (first_label(domain), first_label(known));
    let near = own.chars().count() >= LONG_ENOUGH && strsim::osa_distance(&shown(label), &shown(own)) == 1;
    near.then_some(Likeness::Near)
}

/// Why no honest domain has such a label: it mixes scripts, or it is of another script and looks Latin letter by letter.
pub fn deception(host: &str) -> Option<String> {
    if !host.contains("xn--") {
        return None;
    }
    let shown = shown(host);
    let ends_in_latin = host.rsplit('.').next().is_some_and(|top| !top.starts_with("xn--"));
    let deceives = |label: &str| {
        let mixes = label.detect_restriction_level() > RestrictionLevel::HighlyRestrictive;
        let poses = !label.chars().any(|c| c.is_ascii_alphabetic()) && skeleton(label).all(|c| c.is_ascii());
        mixes || ends_in_latin && poses
    };
    let looks: String = skeleton(&shown).collect();
    shown
        .split('.')
        .filter(|label| !label.is_ascii())
        .any(deceives)
        .then(|| format!("{host} looks like {looks}"))
}

/// In U-labels.
fn shown(domain: &str) -> String {
    idna::domain_to_unicode(domain).0
}

fn first_label(domain: &str) -> &str {
    domain.split('.').next().unwrap_or(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_the_same_are_found_and_neighbours_by_chance_are_not() {
        for (domain, likeness) in [
            ("examp1e-bank.test", Some(Likeness::Same)),
            ("exarnple-bank.test", Some(Likeness::Same)),
            ("xn--exmple-bank-zij.test", Some(Likeness::Same)),
            ("exmaple-bank.test", Some(Likeness::Near)),
            ("example-banks.test", Some(Likeness::Near)),
            ("example-bank.example", None),
            ("other-bank.test", None),
            ("example-bank.test", None),
            ("", None),
        ] {
            assert_eq!(super::likeness(domain, "example-bank.test"), likeness, "{domain}");
        }
        assert_eq!(likeness("ingo.test", "ing.test"), None);
    }

    #[test]
    fn scripts_that_are_mixed_or_pose_as_latin_deceive() {
        // A Cyrillic а in Latin; аррӏе in Cyrillic alone.
        assert!(deception("www.xn--pypal-4ve.test").is_some());
        assert!(deception("xn--80ak6aa92e.test").is_some());
        for honest in [
            "example.test",
            "xn--mnchen-3ya.test",
            "xn--80adxhks.test",
            "xn--fiqs8s",
            "xn--e1afmkfd.xn--p1ai",
        ] {
            assert_eq!(deception(honest), None, "{honest}");
        }
    }
}
