use super::*;

const NOW: Duration = Duration::from_secs(1_795_288_205);

fn small() -> Known {
    Known::new(Memory { accepted: SHARDS * 8, refused: SHARDS * 8, ..Memory::default() })
}

fn stored(changes: &[Change]) -> Pairs {
    let mut pairs: Pairs = Vec::new();
    for change in changes {
        match change {
            Change::Put(key, value) => pairs.push((key.clone(), value.clone())),
            Change::Remove(key) => pairs.retain(|(stored, _)| stored != key),
            Change::Add(..) => panic!("nothing is counted here"),
        }
    }
    pairs
}

#[test]
fn the_last_word_of_the_server_counts() {
    let known = Known::default();
    let key = Known::key("b", "one.example", "anna");
    known.accepted(&key, NOW);
    assert!(known.fact(&key, NOW).is_some() && !known.was_refused(&key, NOW));
    known.refused(&key, NOW);
    assert!(known.fact(&key, NOW).is_none() && known.was_refused(&key, NOW));
    known.accepted(&key, NOW);
    assert!(known.fact(&key, NOW).is_some() && !known.was_refused(&key, NOW));
}

#[test]
fn what_is_old_no_longer_counts() {
    let known = Known::default();
    known.accepted("b\0d\0a", NOW);
    known.refused("b\0d\0x", NOW);
    let (days, hours) = (Memory::default().accepted_for, Memory::default().refused_for);
    assert!(known.fact("b\0d\0a", NOW + days - Duration::from_secs(1)).is_some());
    assert!(known.fact("b\0d\0a", NOW + days).is_none());
    assert!(!known.was_refused("b\0d\0x", NOW + hours));
    known.changes();
    known.sweep(NOW + days);
    let gone = known.changes();
    assert!(gone.len() == 2 && gone.iter().all(|change| matches!(change, Change::Remove(_))), "{gone:?}");
    assert_eq!(known.count("b"), Count::default());
}

#[test]
fn guessed_names_do_not_push_out_real_ones_and_old_ones_make_room_for_new() {
    let known = small();
    for number in 0..32 {
        known.accepted(&format!("b\0d\0real{number}"), NOW);
    }
    for number in 0..10_000 {
        known.refused(&format!("b\0d\0guess{number}"), NOW);
    }
    let count = known.count("b");
    assert!(count.accepted >= 24 && count.refused <= SHARDS * 8, "{count:?}");
    for number in 0..10_000 {
        known.accepted(&format!("b\0d\0new{number}"), NOW + Duration::from_secs(1 + number));
    }
    assert!(known.count("b").accepted <= SHARDS * 8);
    assert!(known.fact("b\0d\0new9999", NOW).is_some());
    let real = (0..32).filter(|number| known.fact(&format!("b\0d\0real{number}"), NOW).is_some());
    assert_eq!(real.count(), 0, "the oldest go first");
}

#[test]
fn what_is_stored_comes_back_and_what_was_forgotten_does_not() {
    let known = Known::default();
    known.accepted("b\0d\0a", NOW);
    known.delivered("b\0d\0b", NOW);
    known.accepted("b\0d\0c", NOW);
    known.refused("b\0d\0c", NOW);
    known.domain_found("b", "d", true, NOW);
    let (changes, domains) = (known.changes(), known.domain_changes());
    assert!(known.changes().is_empty() && known.domain_changes().is_empty());

    let after = Known::default();
    after.restore(&stored(&changes), NOW);
    after.restore_domains(&stored(&domains));
    assert_eq!(after.fact("b\0d\0a", NOW), Some(Fact { seen: NOW.as_secs(), delivered: false }));
    assert_eq!(after.fact("b\0d\0b", NOW), Some(Fact { seen: NOW.as_secs(), delivered: true }));
    assert_eq!(after.fact("b\0d\0c", NOW), None);
    assert!(after.was_refused("b\0d\0c", NOW) && !after.was_refused("b\0d\0a", NOW));
    assert_eq!(after.accepts_everything("b", "d"), Some(true));
    assert!(after.changes().is_empty(), "what came from the store is not stored again");
}

#[test]
fn what_could_not_be_stored_is_given_again() {
    let known = Known::default();
    known.accepted("b\0d\0a", NOW);
    known.domain_found("b", "d", false, NOW);
    let (changes, domains) = (known.changes(), known.domain_changes());
    known.not_stored(&changes);
    known.not_stored(&domains);
    assert_eq!((known.changes(), known.domain_changes()), (changes.clone(), domains.clone()));
    known.store_all_again();
    assert_eq!((known.changes(), known.domain_changes()), (changes, domains));
}

#[test]
fn a_recipient_that_has_mail_all_day_is_stored_once_an_hour() {
    let known = Known::default();
    known.delivered("b\0d\0a", NOW);
    assert_eq!(known.changes().len(), 1);
    for minute in 1..60 {
        known.accepted("b\0d\0a", NOW + Duration::from_secs(60 * minute));
        known.delivered("b\0d\0a", NOW + Duration::from_secs(60 * minute));
    }
    assert!(known.changes().is_empty());
    known.accepted("b\0d\0a", NOW + REFRESH);
    assert_eq!(known.changes().len(), 1);
    assert!(known.fact("b\0d\0a", NOW).is_some_and(|fact| fact.delivered), "once delivered, it stays so");
}

#[test]
fn only_facts_are_read_as_facts() {
    let facts = [false, true].map(|delivered| Stored::Accepted(Fact { seen: 7, delivered }));
    for fact in [facts[0], facts[1], Stored::Refused(8)] {
        assert_eq!(Stored::from_bytes(&fact.to_bytes()), Some(fact));
    }
    for bytes in
        [&b""[..], b"\x01", b"\0\0\0\0\0\0\0\0\0", b"\x07\0\0\0\0\0\0\0\0", b"\x01\0\0\0\0\0\0\0\0\0"]
    {
        assert_eq!(Stored::from_bytes(bytes), None, "{bytes:?}");
    }
}
