//! The TXT record that says that a domain has a policy, and which (RFC 8461 §3.1).

/// Characters of an identifier.
const MAX_ID: usize = 32;

/// The identifier in the one record among these texts that is one. None, or several, are as if there were no record: the domain
/// has no policy, or keeps the one that is known.
pub fn policy_id<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut records = texts.into_iter().filter_map(fields);
    match (records.next(), records.next()) {
        (Some(record), None) => id(record),
        _ => None,
    }
}

/// What stands behind the version. The version comes first, and nothing before it.
fn fields(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("v=STSv1")?.trim_ascii_start();
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(';') }
}

fn id(fields: &str) -> Option<&str> {
    let mut pairs = fields.split(';').filter_map(|field| field.split_once('='));
    let (_, id) = pairs.find(|(key, _)| key.trim_ascii() == "id")?;
    let id = id.trim_ascii();
    let sound = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_alphanumeric());
    sound.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_record_of_the_kind_counts() {
        for (texts, id) in [
            (&["v=STSv1; id=20160831085700Z;"][..], Some("20160831085700Z")),
            (&["v=STSv1;id=1"], Some("1")),
            (&["v=STSv1 ; future=x; id = abc ; id=second"], Some("abc")),
            (&["something else", "v=STSv1; id=2"], Some("2")),
            (&["v=STSv1; id=1", "v=STSv1; id=1"], None),
            (&["v=STSv1; id=1", "v=STSv1;"], None),
            (&["v=STSv1"], None),
            (&["v=STSv1; id="], None),
            (&["v=STSv1; id=a-b"], None),
            (&["v=STSv1; id=012345678901234567890123456789012"], None),
            (&["v=STSv10; id=1"], None),
            (&[" v=STSv1; id=1"], None),
            (&["id=1; v=STSv1"], None),
            (&[], None),
        ] {
            assert_eq!(policy_id(texts.iter().copied()), id, "{texts:?}");
        }
    }
}
