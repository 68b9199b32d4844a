//! The demo's sample mails: what an MX sees on a day, in several languages and forms, and four things that it must
//! refuse.

/// A mail, and what must become of it.
#[derive(Debug)]
pub(super) struct Sample {
    /// For people.
    pub(super) name: &'static str,
    /// What the client calls itself.
    pub(super) helo: &'static str,
    /// Whether it asks for TLS.
    pub(super) encrypted: bool,
    /// The reverse-path; each sample has its own.
    pub(super) from: &'static str,
    /// MAIL's parameters.
    pub(super) parameters: &'static str,
    /// Each recipient, and the code that it must get.
    pub(super) recipients: &'static [(&'static str, u16)],
    /// How it is sent.
    pub(super) form: Form,
    /// The code that must be the last word.
    pub(super) expected: u16,
}

/// How the content is sent.
#[derive(Debug)]
pub(super) enum Form {
    /// It is not: nobody takes it.
    Nothing,
    /// By DATA.
    Data(Vec<u8>),
    /// By BDAT, in chunks of so many octets.
    Chunks(Vec<u8>, usize),
    /// Behind DATA as it stands, with no regard to the rules.
    Raw(&'static [u8]),
    /// Not at all: commands in the same segment as STARTTLS.
    BehindStartTls(&'static [u8]),
}

impl Form {
    /// The content that must arrive unchanged.
    pub(super) fn content(&self) -> &[u8] {
        match self {
            Self::Data(content) | Self::Chunks(content, _) => content,
            Self::Nothing | Self::Raw(_) | Self::BehindStartTls(_) => &[],
        }
    }
}

/// The sample of an attack that reaches past the end of its own message is sent under this name, too.
pub(super) const SMUGGLED: &str = "director@demo.example";

/// Ends a message for servers that take a bare line feed for the end of a line (CVE-2023-51764 and its kin).
const SMUGGLING: &[u8] =
    b"From: Mallory <mallory@attacker.example>\r\nTo: anna@demo.example\r\nSubject: Hello\r\n\r\n\
    Nothing to see here.\n.\r\nMAIL FROM:<director@demo.example>\r\nRCPT TO:<anna@demo.example>\r\nDATA\r\n\
    From: director@demo.example\r\nSubject: Urgent\r\n\r\nPay this invoice today.\r\n.\r\n";

/// The Generic Test for Unsolicited Bulk Email; in two pieces, so that this file is none.
const GTUBE: &str = concat!("XJS*C4JDBQADN1.NSBN3*2IDNEN*", "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X");

const INJECTION: &[u8] =
    b"STARTTLS\r\nMAIL FROM:<injected@attacker.example>\r\nRCPT TO:<anna@demo.example>\r\n";

/// All of them, with this date in their header.
pub(super) fn all(date: &str) -> Vec<Sample> {
    let mut samples = ordinary(date);
    samples.extend(refused(date));
    samples
}

fn ordinary(date: &str) -> Vec<Sample> {
    vec![
        Sample {
            name: "German, 8 bit, DATA",
            helo: "mail.absender.example",
            encrypted: true,
            from: "greta@absender.example",
            parameters: " BODY=8BITMIME",
            recipients: &[("anna@demo.example", 250)],
            form: Form::Data(text(
                date,
                "From: Greta <greta@absender.example>\r\nTo: anna@demo.example\r\nSubject: Gruesse\r\n",
                "Schöne Grüße aus Köln.\r\n.Diese Zeile beginnt mit einem Punkt.\r\n",
            )),
            expected: 250,
        },
        Sample {
            name: "Japanese, one chunk of BDAT, DSN",
            helo: "mx.okurinushi.example",
            encrypted: true,
            from: "hanako@okurinushi.example",
            parameters: " BODY=8BITMIME RET=HDRS ENVID=demo-2",
            recipients: &[("chiyo@demo.example", 250)],
            form: Form::Chunks(
                text(
                    date,
                    "From: hanako@okurinushi.example\r\nTo: chiyo@demo.example\r\nSubject: =?utf-8?B?44GU5oyo5ou2?=\r\n",
                    "いつもお世話になっております。\r\n",
                ),
                usize::MAX,
            ),
            expected: 250,
        },
        Sample {
            name: "English, three recipients, one unknown",
            helo: "out.lists.example",
            encrypted: true,
            from: "team@lists.example",
            parameters: "",
            recipients: &[
                ("anna@demo.example", 250),
                ("nobody@demo.example", 550),
                ("bob@demo.example", 250),
            ],
            form: Form::Data(text(
                date,
                "From: team@lists.example\r\nTo: anna@demo.example, nobody@demo.example, bob@demo.example\r\nSubject: Friday\r\n",
                "See you on Friday at ten.\r\n",
            )),
            expected: 250,
        },
        Sample {
            name: "Cyrillic to Chinese address, SMTPUTF8",
            helo: "mx.xn--80a1acny.example",
            encrypted: true,
            from: "грета@почта.example",
            parameters: " SMTPUTF8 BODY=8BITMIME",
            recipients: &[("用户@demo.example", 250)],
            form: Form::Data(text(
                date,
                "From: Грета <грета@почта.example>\r\nTo: 用户@demo.example\r\nSubject: Привет, 用户\r\n",
                "Как дела? 你好吗？\r\n",
            )),
            expected: 250,
        },
        Sample {
            name: "Arabic, 1 MiB attached, BDAT in chunks",
            helo: "smtp.mursil.example",
            encrypted: true,
            from: "layla@mursil.example",
            parameters: " BODY=8BITMIME",
            recipients: &[("bob@demo.example", 250), ("postmaster@demo.example", 250)],
            form: Form::Chunks(with_attachment(date), 200_000),
            expected: 250,
        },
        Sample {
            name: "an old scanner, plain text without TLS",
            helo: "scanner",
            encrypted: false,
            from: "scanner@office.example",
            parameters: "",
            recipients: &[("anna@demo.example", 250)],
            form: Form::Data(text(
                date,
                "From: scanner@office.example\r\nTo: anna@demo.example\r\nSubject: Scan 0042\r\n",
                "One page.\r\n",
            )),
            expected: 250,
        },
    ]
}

fn refused(date: &str) -> Vec<Sample> {
    vec![
        Sample {
            name: "relaying to a foreign domain",
            helo: "bulk.attacker.example",
            encrypted: true,
            from: "offers@attacker.example",
            parameters: "",
            recipients: &[("someone@elsewhere.example", 550)],
            form: Form::Nothing,
            expected: 550,
        },
        Sample {
            name: "smuggling a second mail behind a bare line feed",
            helo: "relay.attacker.example",
            encrypted: true,
            from: "mallory@attacker.example",
            parameters: "",
            recipients: &[("anna@demo.example", 250)],
            form: Form::Raw(SMUGGLING),
            expected: 550,
        },
        Sample {
            name: "the test string that every spam filter refuses",
            helo: "bulk.spammer.example",
            encrypted: true,
            from: "gtube@spammer.example",
            parameters: "",
            recipients: &[("anna@demo.example", 250)],
            form: Form::Data(text(
                date,
                "From: gtube@spammer.example\r\nTo: anna@demo.example\r\nSubject: Test\r\n",
                &format!("{GTUBE}\r\n"),
            )),
            expected: 550,
        },
        Sample {
            name: "commands injected behind STARTTLS",
            helo: "middle.attacker.example",
            encrypted: false,
            from: "injected@attacker.example",
            parameters: "",
            recipients: &[],
            form: Form::BehindStartTls(INJECTION),
            expected: 554,
        },
    ]
}

fn text(date: &str, fields: &str, body: &str) -> Vec<u8> {
    let mime =
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";
    format!("{fields}Date: {date}\r\n{mime}\r\n{body}").into_bytes()
}

fn with_attachment(date: &str) -> Vec<u8> {
    use base64::Engine as _;
    /// RFC 2045 §6.8.
    const LINE: usize = 76;

    // No octet of it matters; that each of them arrives does.
    let attached: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let encoded = base64::engine::general_purpose::STANDARD.encode(attached);
    let mut message = format!(
        "From: layla@mursil.example\r\nTo: bob@demo.example\r\nSubject: =?utf-8?B?2LXZiNix?=\r\nDate: {date}\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n\
         --b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nمرحبا، الصورة مرفقة.\r\n\
         --b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    .into_bytes();
    for line in encoded.as_bytes().chunks(LINE) {
        message.extend_from_slice(line);
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(b"--b--\r\n");
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_can_be_told_from_the_others_by_its_sender() {
        let samples = all("Sat, 21 Nov 2026 19:10:05 +0000");
        for (at, sample) in samples.iter().enumerate() {
            assert!(samples[..at].iter().all(|other| other.from != sample.from), "{}", sample.name);
            assert!(sample.expected != 250 || sample.form.content().ends_with(b"\r\n"), "{}", sample.name);
        }
    }
}
