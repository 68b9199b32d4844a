//! The Received field that Postern adds (RFC 5321 §4.4, RFC 3848, RFC 6531 §4.3), with the loop tokens in it
//! (DECISIONS 11).

use std::time::Duration;

use delivery::Client;
use record::TlsOutcome;
use smtp::fields::{Fields, LOOP_COMMENT, LoopToken, TOKEN_LENGTH};
use smtp::{Envelope, RecipientSet, TransactionId};

/// A message that comes by for the third time with the same token is in a loop: a forward passes out and in again.
const LOOPS: usize = 2;
/// RFC 5321 §6.3 wants at least 100.
pub(crate) const MAX_HOPS: u32 = 100;
/// Tokens in one field; with more recipients the count of Received fields has to do.
const MAX_TOKENS: usize = 20;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To a hidden server.
    In,
    /// To the world.
    Out,
    /// To the world, and nothing of the inside is told.
    OutHidden,
}

/// What a Received field tells.
pub(crate) struct Received<'a> {
    pub(crate) id: TransactionId,
    pub(crate) hostname: &'a str,
    pub(crate) client: &'a Client,
    pub(crate) tls: &'a TlsOutcome,
    pub(crate) authenticated: bool,
    pub(crate) date: Duration,
    pub(crate) loop_key: &'a [u8; 32],
    pub(crate) direction: Direction,
}

impl Received<'_> {
    /// The whole field, for these recipients.
    pub(crate) fn field(&self, envelope: &Envelope, recipients: &RecipientSet) -> Vec<u8> {
        let mut field = String::with_capacity(512);
        field.push_str("Received: ");
        if self.direction != Direction::OutHidden {
            self.write_client(&mut field);
        }
        let mut push = |parts: &[&str]| parts.iter().for_each(|part| field.push_str(part));
        let protocol = self.protocol(envelope.mail.smtputf8);
        push(&["by ", self.hostname, " (Postern) with ", &protocol, " id ", &self.id.to_string()]);
        // Others must not learn of each other (RFC 5321 §7.2): one recipient is named, several are not.
        let mut indexes = recipients.iter();
        if let (Some(one), None) = (indexes.next(), indexes.next())
            && let Some(rcpt) = envelope.recipients.get(one)
        {
            ["\r\n\tfor <", rcpt.forward_path.as_str(), ">"].iter().for_each(|part| field.push_str(part));
        }
        self.write_tokens(&mut field, envelope, recipients);
        [";\r\n\t", &record::rfc5322_date(self.date), "\r\n"].iter().for_each(|part| field.push_str(part));
        field.into_bytes()
    }

    fn write_client(&self, field: &mut String) {
        let helo = if self.client.helo.is_empty() { "unknown" } else { &self.client.helo };
        let mut push = |parts: &[&str]| parts.iter().for_each(|part| field.push_str(part));
        push(&["from ", helo, " (["]);
        match self.client.address.ip() {
            std::net::IpAddr::V4(v4) => push(&[&v4.to_string()]),
            std::net::IpAddr::V6(v6) => push(&["IPv6:", &v6.to_string()]),
        }
        push(&["])\r\n\t"]);
        if let Some(facts) = self.tls.facts() {
            let (version, suite, group) = (facts.version.name(), facts.suite, facts.group);
            push(&["(using ", version, " with cipher ", suite, ", group ", group, ")\r\n\t"]);
        }
    }

    fn protocol(&self, smtputf8: bool) -> String {
        let mut protocol = match (smtputf8, self.client.esmtp) {
            (true, _) => "UTF8SMTP".to_owned(),
            (false, true) => "ESMTP".to_owned(),
            (false, false) => return "SMTP".to_owned(),
        };
        if self.tls.facts().is_some() {
            protocol.push('S');
        }
        if self.authenticated {
            protocol.push('A');
        }
        protocol
    }

    fn write_tokens(&self, field: &mut String, envelope: &Envelope, recipients: &RecipientSet) {
        if recipients.len() > MAX_TOKENS {
            return;
        }
        field.push_str("\r\n\t");
        field.push_str(LOOP_COMMENT);
        for (number, index) in recipients.iter().enumerate() {
            let Some(rcpt) = envelope.recipients.get(index) else { continue };
            if number > 0 {
                field.push_str(",\r\n\t");
            }
            let token = token(self.loop_key, self.direction, rcpt.forward_path.as_str());
            field.push_str(std::str::from_utf8(&token.0).unwrap_or_default());
        }
        field.push(')');
    }
}

/// The token of a recipient on the way in or out: a keyed hash, so that it tells outsiders nothing and cannot be forged.
fn token(key: &[u8; 32], direction: Direction, recipient: &str) -> LoopToken {
    let hash = blake3::keyed_hash(key, recipient.to_lowercase().as_bytes());
    let letter = if direction == Direction::In { b'i' } else { b'o' };
    let mut token = [letter; TOKEN_LENGTH];
    token[1..].copy_from_slice(&hash.to_hex().as_bytes()[..TOKEN_LENGTH - 1]);
    LoopToken(token)
}

/// Whether the message passed here too often for one of these recipients, in one direction.
pub(crate) fn loops(key: &[u8; 32], fields: &Fields, envelope: &Envelope, recipients: &RecipientSet) -> bool {
    if fields.tokens.len() < LOOPS {
        return false;
    }
    recipients.iter().filter_map(|index| envelope.recipients.get(index)).any(|rcpt| {
        [Direction::In, Direction::Out].into_iter().any(|direction| {
            let token = token(key, direction, rcpt.forward_path.as_str());
            fields.tokens.iter().filter(|&&seen| seen == token).count() >= LOOPS
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use smtp::fields::FieldScanner;

    const KEY: [u8; 32] = [7; 32];

    fn envelope(recipients: &[&str]) -> Envelope {
        let mut stored = b"MAIL FROM:<a@x.example>\r\n".to_vec();
        for recipient in recipients {
            stored.extend_from_slice(format!("RCPT TO:<{recipient}>\r\n").as_bytes());
        }
        Envelope::read(&stored).unwrap()
    }

    fn field(envelope: &Envelope) -> Vec<u8> {
        field_towards(Direction::In, envelope)
    }

    fn field_towards(direction: Direction, envelope: &Envelope) -> Vec<u8> {
        let client = Client {
            address: "192.0.2.1:1234".parse().unwrap(),
            destination: "192.0.2.2:25".parse().unwrap(),
            helo: "client.example".into(),
            esmtp: true,
        };
        let received = Received {
            id: "0000000000001.1".parse().unwrap(),
            hostname: "mx.example.net",
            client: &client,
            tls: &TlsOutcome::Plain,
            authenticated: false,
            date: Duration::from_secs(1_795_288_205),
            loop_key: &KEY,
            direction,
        };
        received.field(envelope, &(0..envelope.recipients.len()).collect())
    }

    fn scan(fields: &[u8]) -> Fields {
        let mut scanner = FieldScanner::new("mx.example.net");
        scanner.scan(fields);
        scanner.scan(b"\r\n");
        scanner.finish()
    }

    #[test]
    fn the_field_says_where_the_message_came_from() {
        let field = String::from_utf8(field(&envelope(&["b@y.example"]))).unwrap();
        assert!(field.starts_with("Received: from client.example ([192.0.2.1])\r\n\tby mx.example.net (Postern) with ESMTP id 0000000000001.1\r\n\tfor <b@y.example>\r\n\t(loop i"));
        assert!(field.ends_with(");\r\n\tSat, 21 Nov 2026 19:10:05 +0000\r\n"));
    }

    #[test]
    fn a_hidden_inside_is_not_told_of() {
        let field = field_towards(Direction::OutHidden, &envelope(&["b@y.example"]));
        let field = String::from_utf8(field).unwrap();
        assert!(field.starts_with("Received: by mx.example.net (Postern) with ESMTP id "), "{field}");
        assert!(!field.contains("192.0.2.1") && !field.contains("client.example"), "{field}");
        assert!(field.contains("(loop o"), "{field}");
    }

    #[test]
    fn a_message_that_goes_out_and_comes_in_again_is_no_loop() {
        let envelope = envelope(&["b@y.example"]);
        let all: RecipientSet = [0].into_iter().collect();
        let mut fields = field(&envelope);
        fields.extend_from_slice(&field_towards(Direction::OutHidden, &envelope));
        assert!(!loops(&KEY, &scan(&fields), &envelope, &all));
        fields.extend_from_slice(&field_towards(Direction::Out, &envelope));
        assert!(loops(&KEY, &scan(&fields), &envelope, &all), "out for the third time");
    }

    #[test]
    fn several_recipients_do_not_learn_of_each_other() {
        let field = String::from_utf8(field(&envelope(&["b@y.example", "c@y.example"]))).unwrap();
        assert!(!field.contains("y.example"));
        assert_eq!(scan(field.as_bytes()).tokens.len(), 2);
    }

    #[test]
    fn a_forward_passes_twice_and_a_loop_is_stopped_the_third_time() {
        let (envelope, other) = (envelope(&["B@y.example"]), envelope(&["c@y.example"]));
        let all: RecipientSet = [0].into_iter().collect();
        let mut fields = Vec::new();
        for expected in [false, false, true] {
            assert_eq!(loops(&KEY, &scan(&fields), &envelope, &all), expected);
            fields.extend_from_slice(&field(&envelope));
        }
        assert!(!loops(&KEY, &scan(&fields), &other, &all), "other recipients are not concerned");
    }
}
