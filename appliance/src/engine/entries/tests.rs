use smtp::ReversePath;

use super::*;

const NOW: Duration = Duration::from_secs(1_795_288_205);

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let settings = store::Settings::in_folder(folder.path().to_owned());
    let store = Store::start(settings, Arc::new(record::SystemClock)).unwrap();
    (folder, store)
}

fn config(more: &str) -> Config {
    let text = format!(
        "hostname = \"mx.test\"\n[[backend]]\nname = \"one\"\ndomains = [\"a.test\", \"bücher.test\"]\nservers = [\"192.0.2.1\"]\n\
         [[backend]]\nname = \"two\"\ndomains = [\"b.test\"]\nservers = [\"192.0.2.2\"]\n\
         [judge]\ntraps = [\"Bait@a.test\"]\nreport_spam = \"spam@a.test\"\nreport_ham = \"ham@mx.test\"\n{more}"
    );
    crate::config::parse(&text, std::path::Path::new("postern.toml")).unwrap()
}

async fn entries(store: &Store) -> Arc<Entries> {
    let entries = Entries::new(store.clone());
    entries.config_is(&config("")).await;
    entries
}

fn order(domain: &str, kind: EntryKind, entry: &str, target: &str) -> EntryOrder {
    EntryOrder {
        domain: domain.parse().unwrap(),
        adds: true,
        kind,
        entry: entry.to_owned(),
        target: target.to_owned(),
        by: "dom\r\nx".to_owned(),
    }
}

async fn add(entries: &Entries, domain: &str, kind: EntryKind, entry: &str) -> Result<bool, EntryError> {
    entries.decide(&order(domain, kind, entry, ""), NOW).await
}

fn mailbox(address: &str) -> Mailbox {
    address.parse().unwrap()
}

#[tokio::test]
async fn entries_are_their_domains_alone_and_stay_until_somebody_removes_them() {
    let (_folder, store) = store();
    let known = entries(&store).await;
    assert!(known.are_none());
    for (domain, kind, entry) in [
        ("a.test", EntryKind::Block, " News@Shop.example "),
        ("a.test", EntryKind::Block, "Bad.EXAMPLE."),
        ("b.test", EntryKind::Allow, "bad.example"),
        ("a.test", EntryKind::Trap, "Old.Name@A.test"),
        ("xn--bcher-kva.test", EntryKind::Trap, "alt@Bücher.test"),
    ] {
        assert_eq!(add(&known, domain, kind, entry).await, Ok(true), "{entry}");
        assert_eq!(add(&known, domain, kind, &entry.to_uppercase()).await, Ok(false), "{entry}");
    }
    // The same after a restart.
    let again = entries(&store).await;
    for known in [&known, &again] {
        let block = |domain: &str, address: &str| known.sender(domain, EntryKind::Block, address);
        assert_eq!(block("a.test", "NEWS@shop.example"), Some("news@shop.example".into()));
        assert_eq!(
            block("a.test", "\"n\\ews\"@shop.example"),
            Some("news@shop.example".into()),
            "quotes mean nothing"
        );
        assert_eq!(block("a.test", "other@shop.example"), None);
        assert_eq!(block("a.test", "x@mail.bad.example"), Some("bad.example".into()));
        assert_eq!((block("a.test", "x@notbad.example"), block("a.test", "")), (None, None));
        assert_eq!((block("b.test", "x@bad.example"), block("c.test", "x@bad.example")), (None, None));
        assert_eq!(known.sender("b.test", EntryKind::Allow, "x@bad.example"), Some("bad.example".into()));
        for (address, is_trap) in [
            ("old.name@a.test", true),
            ("OLD.NAME@A.TEST", true),
            ("\"old.name\"@a.test", true),
            ("old.name@b.test", false),
            ("alt@bücher.test", true),
            ("alt@xn--bcher-kva.test", true),
            ("alt@b\u{fc}cher.test", true),
            ("alt@bucher.test", false),
        ] {
            assert_eq!(known.is_trap(&mailbox(address)), is_trap, "{address}");
        }
        let told = known.of("a.test").unwrap();
        assert_eq!((told.len(), known.numbers("a.test"), known.of("c.test")), (3, [2, 0, 1, 0], None));
        assert!(told.iter().all(|one| one.by == "domx" && one.since == NOW.as_secs()), "{told:?}");
    }
    let removes = EntryOrder { adds: false, ..order("a.test", EntryKind::Block, "BAD.example", "") };
    assert_eq!(again.decide(&removes, NOW).await, Ok(true));
    assert_eq!(again.decide(&removes, NOW).await, Ok(false));
    assert_eq!(entries(&store).await.sender("a.test", EntryKind::Block, "x@bad.example"), None);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_words() {
    let (_folder, store) = store();
    let known = entries(&store).await;
    for entry in [
        "",
        "x",
        "com",
        "a b@c.example",
        "a@b@c.example",
        "a@c.example\r\nRCPT TO:<x@y.example>",
        "a\r\n@c.example",
        "a\u{202e}@c.example",
        "a@[192.0.2.1]",
        "a@localhost",
        "\"a\"@c.example",
        "<a@c.example>",
        "192.0.2.0/24",
        &format!("a@{}.example", "x".repeat(64)),
        &format!("{}@c.example", "x".repeat(320)),
    ] {
        for kind in [EntryKind::Block, EntryKind::Allow, EntryKind::Trap] {
            let refused = add(&known, "a.test", kind, entry).await;
            assert!(matches!(refused, Err(EntryError::Wrong(_))), "{kind:?} {entry}: {refused:?}");
        }
    }
    let elsewhere = add(&known, "a.test", EntryKind::Trap, "x@b.test").await;
    assert!(elsewhere.unwrap_err().to_string().contains("not in this domain"));
    let postmaster = add(&known, "a.test", EntryKind::Trap, "POSTMASTER@a.test").await;
    assert!(matches!(postmaster, Err(EntryError::Wrong(_))), "{postmaster:?}");
    for reserved in ["SPAM@a.test", "bait@a.test"] {
        let refused = add(&known, "a.test", EntryKind::Trap, reserved).await.unwrap_err();
        assert!(refused.to_string().contains("the config has a use for this address"), "{reserved}");
    }
    assert_eq!(add(&known, "c.test", EntryKind::Block, "x.example").await, Err(EntryError::NoDomain));
    let targeted = known.decide(&order("a.test", EntryKind::Block, "x.example", "y@a.test"), NOW).await;
    assert!(matches!(targeted, Err(EntryError::Wrong(_))));
    assert!(known.are_none());
}

#[tokio::test]
async fn a_list_has_an_end_and_a_domain_that_goes_takes_its_entries_along() {
    let (_folder, store) = store();
    let known = entries(&store).await;
    for number in 0..MOST {
        assert_eq!(add(&known, "a.test", EntryKind::Block, &format!("x{number}.example")).await, Ok(true));
    }
    let more = add(&known, "a.test", EntryKind::Block, "more.example").await;
    assert!(matches!(more, Err(EntryError::Full(_))), "{more:?}");
    assert_eq!(add(&known, "a.test", EntryKind::Block, "x7.example").await, Ok(false), "it is there");
    assert_eq!(
        add(&known, "a.test", EntryKind::Trap, "old@a.test").await,
        Ok(true),
        "other lists are others"
    );
    assert_eq!(add(&known, "b.test", EntryKind::Block, "more.example").await, Ok(true));
    let without = crate::config::parse(
        "hostname = \"mx.test\"\n[[backend]]\ndomains = [\"b.test\"]\nservers = [\"192.0.2.1\"]\n",
        std::path::Path::new("postern.toml"),
    );
    known.config_is(&without.unwrap()).await;
    assert_eq!((known.of("a.test"), known.is_trap(&mailbox("old@a.test"))), (None, false));
    assert_eq!(known.sender("a.test", EntryKind::Block, "x@x7.example"), None);
    known.config_is(&config("")).await;
    assert!(known.is_trap(&mailbox("old@a.test")), "it came back");
    known.config_is(&config("enabled = false\n")).await;
    assert!(!known.is_trap(&mailbox("old@a.test")), "nobody would learn from it");
    let refused = add(&known, "a.test", EntryKind::Allow, "x.example").await.unwrap_err();
    assert!(refused.to_string().contains("[judge] is off"));
}

#[test]
fn what_is_stored_is_read_again_and_nothing_else_is() {
    let fact = Fact { since: 7, by: "dom".repeat(60), target: Some(mailbox("Ann@b.test")) };
    let read = Fact::from_bytes(&fact.to_bytes()).unwrap();
    assert_eq!((read.since, read.target, read.by.len()), (7, fact.target, format::MAX_NAME));
    for bytes in [
        &b""[..],
        b"1234567",
        b"12345678",
        b"12345678\x05abc",
        b"12345678\x00a@b.test\r\nDATA",
        b"12345678\x01\xff",
    ] {
        assert_eq!(Fact::from_bytes(bytes), None, "{bytes:?}");
    }
    let key = format::key("a.test", b'b', "x@shop.example");
    assert_eq!(format::read_key(&key), Some(("a.test", b'b', "x@shop.example")));
    for key in
        ["a.test\0b", "A.test\0b\0x.example", "a.test\0bb\0x.example", "a.test\0b\0x", "a.test\0b\0X.example"]
    {
        assert_eq!(format::read_key(key.as_bytes()), None, "{key}");
    }
    let path = ReversePath::Mailbox(mailbox("\"a@b\"@c.example"));
    assert_eq!(
        names_of(&folded_text(path.as_str())).collect::<Vec<_>>(),
        ["a@b@c.example", "c.example", "example"]
    );
}
