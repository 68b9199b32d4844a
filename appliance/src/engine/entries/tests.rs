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

#[tokio::test]
async fn an_alias_leads_one_step_to_an_address_behind_postern() {
    let (_folder, store) = store();
    let known = entries(&store).await;
    let alias = async |domain: &str, entry: &str, target: &str| {
        known.decide(&order(domain, EntryKind::Alias, entry, target), NOW).await
    };
    assert_eq!(alias("a.test", "Info@a.test", "Ann@B.test.").await, Ok(true));
    assert_eq!(alias("a.test", "info@a.test", "Ann@b.test").await, Ok(false), "the same");
    assert_eq!(alias("a.test", "info@a.test", "Bob@bücher.test").await, Ok(true), "it leads elsewhere now");
    let again = entries(&store).await;
    for known in [&known, &again] {
        let to = |address: &str| known.target(&mailbox(address)).map(|target| target.to_string());
        assert_eq!(to("INFO@A.test"), Some("Bob@xn--bcher-kva.test".into()), "in the case it was written in");
        assert_eq!(to("\"in\\fo\"@a.test"), to("info@a.test"));
        assert_eq!((to("info@b.test"), to("Bob@xn--bcher-kva.test")), (None, None));
    }
    for (entry, target) in [
        ("x@a.test", ""),
        ("x@a.test", "ann@elsewhere.test"),
        ("x@a.test", "ann@[192.0.2.1]"),
        ("x@a.test", "ann%elsewhere.test@b.test"),
        ("x@a.test", "\"ann@elsewhere.test\"@b.test"),
        ("x@a.test", "elsewhere.test!ann@b.test"),
        ("x@a.test", "änn@b.test"),
        ("x@a.test", "ann@b.test>\r\nDATA"),
        ("x@a.test", "ann@b.test ORCPT=rfc822;x"),
        ("x@a.test", "X@a.test"),
        ("x%b.test@a.test", "ann@b.test"),
        ("x@b.test", "ann@b.test"),
        ("postmaster", "ann@b.test"),
    ] {
        let refused = alias("a.test", entry, target).await;
        assert!(matches!(refused, Err(EntryError::Wrong(_))), "{entry} {target}: {refused:?}");
    }
    // Neither chains nor circles, whichever comes first.
    assert_eq!(add(&known, "a.test", EntryKind::Trap, "old@a.test").await, Ok(true));
    for (domain, entry, target, why) in [
        ("b.test", "x@b.test", "INFO@a.test", "is an alias itself"),
        ("xn--bcher-kva.test", "bob@bücher.test", "ann@b.test", "another alias leads to this address"),
        ("a.test", "old@a.test", "ann@b.test", "the address is a trap"),
        ("a.test", "x@a.test", "Old@a.test", "nobody reads the address"),
        ("a.test", "x@a.test", "spam@a.test", "nobody reads the address"),
        ("a.test", "bait@a.test", "ann@b.test", "the config has a use"),
    ] {
        let refused = alias(domain, entry, target).await.unwrap_err();
        assert!(
            matches!(refused, EntryError::Conflict(_)) && refused.to_string().contains(why),
            "{entry}: {refused}"
        );
    }
    for (domain, entry, why) in [
        ("a.test", "INFO@a.test", "the address is an alias"),
        ("xn--bcher-kva.test", "BOB@bücher.test", "an alias leads to this address"),
    ] {
        let refused = add(&known, domain, EntryKind::Trap, entry).await.unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
    }
    assert_eq!(
        alias("a.test", "postmaster@a.test", "ann@b.test").await,
        Ok(true),
        "somebody is to read that"
    );
    // A domain that goes takes the way to it along.
    assert_eq!(alias("b.test", "y@b.test", "ann@a.test").await, Ok(true));
    let without = crate::config::parse(
        "hostname = \"mx.test\"\n[[backend]]\ndomains = [\"b.test\"]\nservers = [\"192.0.2.1\"]\n",
        std::path::Path::new("postern.toml"),
    );
    known.config_is(&without.unwrap()).await;
    assert_eq!((known.target(&mailbox("y@b.test")), known.target(&mailbox("info@a.test"))), (None, None));
    known.config_is(&config("enabled = false\n")).await;
    assert!(known.target(&mailbox("y@b.test")).is_some(), "an alias needs no judge");
}
