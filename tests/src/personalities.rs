//! Mail servers that cannot be run here, as data: what they say, in their own words, and the habits that trouble a proxy.

use std::time::Duration;

use crate::scripted::Personality;

const MINUTE: Duration = Duration::from_secs(60);

/// Exchange 2019, a Receive connector for clients of the Internet: X- verbs in EHLO, 250 to every RCPT (recipients are looked
/// up after the dot), an answer to the dot only when all mailboxes have it or 30 s have passed, 5 minutes of patience.
pub const EXCHANGE: Personality = Personality {
    name: "Exchange",
    greeting: "220 ex01.corp.test Microsoft ESMTP MAIL Service ready at Sat, 21 Nov 2026 20:10:05 +0100\r\n",
    ehlo: "250-ex01.corp.test Hello [10.0.0.2]\r\n\
           250-SIZE 37748736\r\n\
           250-PIPELINING\r\n\
           250-DSN\r\n\
           250-ENHANCEDSTATUSCODES\r\n\
           250-STARTTLS\r\n\
           250-X-ANONYMOUSTLS\r\n\
           250-AUTH NTLM\r\n\
           250-X-EXPS GSSAPI NTLM\r\n\
           250-8BITMIME\r\n\
           250-BINARYMIME\r\n\
           250-CHUNKING\r\n\
           250-SMTPUTF8\r\n\
           250-XEXCH50\r\n\
           250-XRDST\r\n\
           250 XSHADOWREQUEST\r\n",
    ehlo_tls: "250-ex01.corp.test Hello [10.0.0.2]\r\n\
               250-SIZE 37748736\r\n\
               250-PIPELINING\r\n\
               250-DSN\r\n\
               250-ENHANCEDSTATUSCODES\r\n\
               250-AUTH NTLM LOGIN\r\n\
               250-X-EXPS GSSAPI NTLM\r\n\
               250-8BITMIME\r\n\
               250-BINARYMIME\r\n\
               250-CHUNKING\r\n\
               250-SMTPUTF8\r\n\
               250-XEXCH50\r\n\
               250-XRDST\r\n\
               250 XSHADOWREQUEST\r\n",
    helo: "250 ex01.corp.test Hello [10.0.0.2]\r\n",
    answers: &[
        ("MAIL FROM:", "250 2.1.0 Sender OK\r\n"),
        ("RCPT TO:", "250 2.1.5 Recipient OK\r\n"),
        ("DATA", "354 Start mail input; end with <CRLF>.<CRLF>\r\n"),
        ("RSET", "250 2.0.0 Resetting\r\n"),
        ("NOOP", "250 2.0.0 OK\r\n"),
        ("STARTTLS", "220 2.0.0 SMTP server ready\r\n"),
        ("VRFY", "252 2.1.5 Cannot VRFY user\r\n"),
        ("XEXCH50", "504 Need to authenticate first\r\n"),
        ("X-EXPS", "504 5.7.4 Unrecognized authentication type\r\n"),
        ("QUIT", "221 2.0.0 Service closing transmission channel\r\n"),
    ],
    unknown: "500 5.3.3 Unrecognized command '<unknown>'\r\n",
    accepted: "250 2.6.0 <1@postern.test> [InternalId=4711, Hostname=ex01.corp.test] 1234 bytes in 0.101, \
               11,931 KB/sec Queued mail for delivery\r\n",
    thinks: Duration::ZERO,
    idle: (MINUTE.saturating_mul(5), "451 4.7.0 Timeout waiting for client input\r\n"),
};

/// Exchange with shadow redundancy: the answer to the dot comes only after 30 s.
pub const EXCHANGE_DELAYED: Personality =
    Personality { name: "Exchange, delayed", thinks: Duration::from_secs(30), ..EXCHANGE };

/// What Exchange offers to a client whose address its connector does not trust: no BINARYMIME, no CHUNKING.
pub const EXCHANGE_OTHER_SOURCE: Personality = Personality {
    name: "Exchange, another source",
    ehlo: "250-ex01.corp.test Hello [192.0.2.7]\r\n\
           250-SIZE 10485760\r\n\
           250-PIPELINING\r\n\
           250-DSN\r\n\
           250-ENHANCEDSTATUSCODES\r\n\
           250-STARTTLS\r\n\
           250 8BITMIME\r\n",
    ehlo_tls: "250-ex01.corp.test Hello [192.0.2.7]\r\n\
               250-SIZE 10485760\r\n\
               250-PIPELINING\r\n\
               250-DSN\r\n\
               250-ENHANCEDSTATUSCODES\r\n\
               250 8BITMIME\r\n",
    ..EXCHANGE
};

/// Domino 12: no CHUNKING, no SMTPUTF8, no enhanced codes, replies of its own wording.
pub const DOMINO: Personality = Personality {
    name: "Domino",
    greeting: "220 domino.corp.test ESMTP Service (HCL Domino Release 12.0.2) ready at Sat, 21 Nov 2026 20:10:05 +0100\r\n",
    ehlo: "250-domino.corp.test Hello client.test ([10.0.0.2]), pleased to meet you\r\n\
           250-TLS\r\n\
           250-HELP\r\n\
           250-STARTTLS\r\n\
           250-DSN\r\n\
           250-SIZE 20480000\r\n\
           250 PIPELINING\r\n",
    ehlo_tls: "250-domino.corp.test Hello client.test ([10.0.0.2]), pleased to meet you\r\n\
               250-HELP\r\n\
               250-AUTH LOGIN PLAIN\r\n\
               250-DSN\r\n\
               250-SIZE 20480000\r\n\
               250 PIPELINING\r\n",
    helo: "250 domino.corp.test Hello client.test ([10.0.0.2]), pleased to meet you\r\n",
    answers: &[
        ("MAIL FROM:", "250 Sender OK\r\n"),
        ("RCPT TO:<NOBODY", "550 nobody@corp.test... No such user\r\n"),
        ("RCPT TO:", "250 Recipient OK\r\n"),
        ("DATA", "354 Enter message, end with \".\" on a line by itself\r\n"),
        ("RSET", "250 Reset state\r\n"),
        ("NOOP", "250 OK\r\n"),
        ("STARTTLS", "220 Ready to start TLS\r\n"),
        ("VRFY", "502 Command is disabled\r\n"),
        ("QUIT", "221 domino.corp.test SMTP Service closing transmission channel\r\n"),
    ],
    unknown: "500 Syntax error, command unrecognized\r\n",
    accepted: "250 Message accepted for delivery\r\n",
    thinks: Duration::ZERO,
    idle: (
        MINUTE.saturating_mul(10),
        "421 domino.corp.test SMTP Service not available, closing transmission channel\r\n",
    ),
};

/// GroupWise 18, its Internet agent: 8BITMIME and little else, `250 Ok` to most things.
pub const GROUPWISE: Personality = Personality {
    name: "GroupWise",
    greeting: "220 gwia.corp.test GroupWise Internet Agent 18.4.2 Ready (C)1993-2022 Micro Focus\r\n",
    ehlo: "250-gwia.corp.test\r\n\
           250-AUTH LOGIN\r\n\
           250-8BITMIME\r\n\
           250-SIZE\r\n\
           250-DSN\r\n\
           250 STARTTLS\r\n",
    ehlo_tls: "250-gwia.corp.test\r\n\
               250-AUTH LOGIN\r\n\
               250-8BITMIME\r\n\
               250-SIZE\r\n\
               250 DSN\r\n",
    helo: "250 gwia.corp.test\r\n",
    answers: &[
        ("MAIL FROM:", "250 Ok\r\n"),
        ("RCPT TO:<NOBODY", "550 No such recipient\r\n"),
        ("RCPT TO:", "250 Ok\r\n"),
        ("DATA", "354 Enter mail, end with '.' on a line by itself\r\n"),
        ("RSET", "250 Ok\r\n"),
        ("NOOP", "250 Ok\r\n"),
        ("STARTTLS", "220 Ready to start TLS\r\n"),
        ("VRFY", "252 Cannot verify user\r\n"),
        ("QUIT", "221 gwia.corp.test Closing connection. Good bye\r\n"),
    ],
    unknown: "500 Command not recognized\r\n",
    accepted: "250 Ok\r\n",
    thinks: Duration::ZERO,
    idle: (MINUTE.saturating_mul(5), "421 gwia.corp.test Timeout, closing connection\r\n"),
};

/// All of them.
pub const ALL: [Personality; 5] = [EXCHANGE, EXCHANGE_DELAYED, EXCHANGE_OTHER_SOURCE, DOMINO, GROUPWISE];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reply_is_whole() {
        for personality in ALL {
            let answers = personality.answers.iter().map(|(_, answer)| *answer);
            let rest = [
                personality.greeting,
                personality.ehlo,
                personality.ehlo_tls,
                personality.helo,
                personality.unknown,
                personality.accepted,
                personality.idle.1,
            ];
            for reply in answers.chain(rest) {
                let lines: Vec<_> = reply.strip_suffix("\r\n").unwrap().split("\r\n").collect();
                let (last, others) = lines.split_last().unwrap();
                assert!(last.as_bytes()[3] == b' ', "{}: {reply}", personality.name);
                assert!(
                    others.iter().all(|line| line.as_bytes()[3] == b'-'),
                    "{}: {reply}",
                    personality.name
                );
                assert!(lines.iter().all(|line| line[..3] == reply[..3]), "{}: {reply}", personality.name);
            }
        }
    }
}
