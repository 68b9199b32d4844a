//! DKIM and ARC against the vectors of others: the 175 chains of ValiMail's suite, and the messages of mail-auth and rspamd, where
//! they are there.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use dns::{Resolver, Settings, Trust};
use evidence::{Authenticator, Authenticity, Sender, Verdict};
use smtp::ReversePath;
use tokio::time::Instant;
use yaml_rust2::{Yaml, YamlLoader};

#[path = "suites/archive.rs"]
mod archive;
#[path = "suites/name_server.rs"]
mod name_server;

use archive::vectors;
use name_server::{NameServer, Texts};

/// Reads a message by the records of a suite.
struct Reader {
    runtime: tokio::runtime::Runtime,
    asks: Authenticator,
    _names: NameServer,
}

impl Reader {
    fn new(texts: Texts) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let names = NameServer::start(texts);
        let settings =
            Settings { servers: vec![names.address()], trust: Trust::Nothing, ..Settings::default() };
        let asks =
            runtime.block_on(async { Authenticator::new(&Resolver::new(&settings).expect("a resolver")) });
        Self { runtime, asks, _names: names }
    }

    fn read(&self, message: &str) -> Authenticity {
        let message = message.replace("\r\n", "\n").replace('\n', "\r\n");
        let sender = Sender {
            client: [192, 0, 2, 1].into(),
            helo: "client.example",
            reverse_path: &ReversePath::Null,
        };
        let spf = evidence::Spf { verdict: Verdict::None, domain: "client.example".into() };
        self.runtime.block_on(async {
            let deadline = Instant::now() + Duration::from_secs(20);
            self.asks.authenticity(sender, &spf, message.as_bytes(), deadline).await
        })
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).expect("a file")).into_owned()
}

/// `name text` lines, an empty one, and the message.
fn reader_of(text: &str) -> (Reader, String) {
    let (records, message) = text.split_once("\n\n").expect("records and a message");
    let records = records.lines().filter_map(|line| line.split_once(' '));
    (
        Reader::new(records.map(|(name, text)| (name.to_lowercase(), text.to_owned())).collect()),
        message.to_owned(),
    )
}

fn text(yaml: &Yaml) -> String {
    yaml.as_str().map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Some cases of the suite have one name, which YAML does not take.
fn with_names_of_their_own(suite: &str) -> String {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let renamed = suite.lines().map(|line| {
        let is_name = line.starts_with("  ") && !line.starts_with("   ") && line.ends_with(':');
        match is_name.then(|| seen.entry(line).and_modify(|times| *times += 1).or_insert(1)) {
            Some(times) if *times > 1 => format!("{}_{times}:\n", line.trim_end_matches(':')),
            _ => format!("{line}\n"),
        }
    });
    renamed.collect()
}

/// What comes out otherwise than ValiMail's suite says, and why.
const OTHERWISE: [(&str, &str); 2] = [
    (
        "ams_fields_c_na",
        "without c= mail-auth does not take `simple`, as RFC 6376 §3.5 wants; every sealer known writes it",
    ),
    (
        "ams_fields_h_empty",
        "a signature that covers no field is refused, though it would hold: RFC 6376 §3.5 wants From in h=",
    ),
];

#[test]
fn the_chains_of_valimails_suite_come_out_as_they_should() {
    let Some(place) = vectors() else { return };
    let suite = read(&place.path().join("auth-vectors/arc/arc-draft-validation-tests.yml"));
    let explained: HashMap<&str, &str> = OTHERWISE.into_iter().collect();
    let (mut number, mut wrong, mut seen) = (0, Vec::new(), 0);
    for scenario in YamlLoader::load_from_str(&with_names_of_their_own(&suite)).expect("YAML") {
        let records = scenario["txt-records"].as_hash().into_iter().flatten();
        let reader =
            Reader::new(records.map(|(name, data)| (text(name).to_lowercase(), text(data))).collect());
        for (name, case) in scenario["tests"].as_hash().expect("tests") {
            number += 1;
            let found = reader.read(case["message"].as_str().unwrap_or_default()).arc.verdict;
            let is_right = match text(&case["cv"]).to_lowercase().as_str() {
                "" => found != Verdict::Pass,
                expected => found.name() == expected,
            };
            let name = text(name);
            match (is_right, explained.contains_key(name.as_str())) {
                (true, false) => {}
                (false, true) => seen += 1,
                (true, true) => wrong.push(format!("{name}: it is as it should be, and explained")),
                (false, false) => {
                    wrong.push(format!("{name}: {} and not {}", found.name(), text(&case["cv"])))
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {number}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!((number, seen), (175, OTHERWISE.len()));
}

/// Messages whose signatures held until a day that is over (`x=`, RFC 6376 §3.5); mail-auth's own tests turn the clock back.
const EXPIRED: [&str; 1] = ["005.txt"];

#[test]
fn the_messages_of_mail_auth_are_authentic() {
    let Some(place) = vectors() else { return };
    let mut number = 0;
    for folder in ["dkim", "arc"] {
        let files =
            std::fs::read_dir(place.path().join("auth-vectors/mail-auth").join(folder)).expect("a folder");
        for file in files.map(|file| file.expect("a file").path()) {
            number += 1;
            let (reader, message) = reader_of(&read(&file));
            let found = reader.read(&message);
            let name = file.file_name().expect("a name").to_string_lossy().into_owned();
            let passes = found.dkim.iter().any(|one| one.verdict == Verdict::Pass);
            assert_eq!(passes, !EXPIRED.contains(&&*name) || folder != "dkim", "{name}: {found:?}");
            assert_eq!(found.arc.verdict == Verdict::Pass, folder == "arc", "{}: {found:?}", file.display());
        }
    }
    assert_eq!(number, 8);
}

/// TXT records of rspamd's test configuration.
fn records_of_rspamd(folder: &Path) -> Texts {
    let mut texts = Texts::new();
    for file in std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path()) {
        if file.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let mut name = None;
        for line in read(&file).lines() {
            let quoted: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
            let word = line.trim().split([' ', '=']).next().unwrap_or_default();
            match (word, &quoted[..]) {
                ("name", [found, ..]) => name = Some(found.to_lowercase()),
                ("replies", [..]) if !quoted.is_empty() => {
                    if let Some(name) = name.take() {
                        texts.insert(name, quoted.concat());
                    }
                }
                _ => {}
            }
        }
    }
    texts
}

/// Of rspamd's messages: how the best of each one's signatures comes out, and why.
const OF_RSPAMD: [(&str, &str, &str); 9] = [
    ("dkim_broken_key.eml", "neutral", BODY),
    ("dkim_huge_hlist.eml", "none", FIELDS),
    ("dkim_key_too_long.eml", "neutral", BODY),
    ("dkim_key_too_wide.eml", "neutral", BODY),
    ("dkim_key_wide_ok.eml", "neutral", BODY),
    ("dkim_large_hlist.eml", "none", FIELDS),
    ("dkim_many_sigs.eml", "pass", "the five before it have neither b= nor bh= and are no signatures"),
    ("dkim_revoked_key.eml", "neutral", BODY),
    ("dkim_sigs_at_limit.eml", "pass", "as above, with four"),
];
/// These are made to try keys: their bh= is another message's, which is seen before anybody is asked for a key.
const BODY: &str = "bh= is not this body's";
const FIELDS: &str = "more fields than are searched for";

#[test]
fn the_messages_of_rspamd_come_out_as_the_table_says() {
    let Some(place) = vectors() else { return };
    let place = place.path().join("auth-vectors");
    let reader = Reader::new(records_of_rspamd(&place.join("dmarc/rspamd")));
    for (file, verdict, why) in OF_RSPAMD {
        let found = reader.read(&read(&place.join("dkim/rspamd").join(file)));
        let passes = found.dkim.iter().find(|one| one.verdict == Verdict::Pass);
        let best = passes.or_else(|| found.dkim.first()).map_or("none", |one| one.verdict.name());
        assert_eq!(best, verdict, "{file} ({why}): {found:?}");
    }
    assert_eq!(std::fs::read_dir(place.join("dkim/rspamd")).expect("a folder").count(), OF_RSPAMD.len());
}

/// mail-auth alone says otherwise of the second and third.
#[test]
fn white_lines_at_the_end_of_a_relaxed_body_are_no_part_of_it() {
    use evidence::signing::{Algorithm, DkimKey, Signing};
    let pem = DkimKey::generate(Algorithm::Ed25519).expect("a key");
    let key = DkimKey::from_pem("s", &pem).expect("a key");
    let name = "s._domainkey.corp.example".to_owned();
    let reader = Reader::new([(name, key.record().to_owned())].into_iter().collect());
    let header = "From: a@corp.example\r\nSubject: x\r\n\r\n";
    for body in ["text\r\n", "text\r\n \r\n", "text \t\r\n\t\r\n \r\n\r\n", " \r\n"] {
        let message = format!("{header}{body}");
        let pieces = std::iter::once(Ok(message.as_bytes()));
        let signature =
            Signing::new(&[&key], "corp.example", header.as_bytes()).sign(pieces).expect("it signs");
        let read = reader.read(&format!("{signature}{message}"));
        assert_eq!(read.dkim[0].verdict, Verdict::Pass, "{body:?}: {:?}", read.dkim);
        let other = reader.read(&format!("{signature}{header}other{body}"));
        assert_ne!(other.dkim[0].verdict, Verdict::Pass, "{body:?}");
    }
}
