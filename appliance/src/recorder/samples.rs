//! Events as they come from real mail, for tests.

use std::time::Duration;

use record::{
    Abuse, Afterwards, FarProof, GroupOutcome, Leg, LegFailure, Protocol, RecipientOutcome, Session,
    SessionEnd, Step, TlsFacts, TlsOutcome, TlsVersion, Transaction, Verdict,
};
use smtp::{EnhancedCode, Reply, ReplyCode, TraceId, TransactionId};

/// When everything here began, since 1970.
pub(crate) const BEGAN: Duration = Duration::from_secs(1_795_288_205);

pub(crate) fn reply(code: u16, words: &str) -> Reply {
    let class = u8::try_from(code / 100).unwrap();
    Reply::new(ReplyCode::new(code).unwrap(), Some(EnhancedCode(class, 0, 0)), words)
}

pub(crate) fn tls(server_name: &str) -> TlsOutcome {
    TlsOutcome::Established {
        facts: TlsFacts {
            version: TlsVersion::Tls13,
            suite: "TLS_AES_256_GCM_SHA384",
            group: "X25519MLKEM768",
            server_name: Some(server_name.into()),
        },
        proof: FarProof::Unverified,
    }
}

pub(crate) fn transaction(number: u32) -> Transaction {
    let server = "10.0.0.10:25".parse().unwrap();
    let leg = Leg {
        backend: "exchange".into(),
        server,
        tls: tls("mail.inside"),
        client_address: "xclient",
        reused: number.is_multiple_of(2),
        policy: "".into(),
    };
    let recipient =
        |address: &str, reply| RecipientOutcome { address: address.into(), alias: None, reply: Some(reply) };
    Transaction {
        id: TransactionId { session: session_id(), number },
        began: BEGAN + Duration::from_secs(number.into()),
        lasted: Duration::from_millis(48),
        settled_in: Duration::from_millis(21),
        protocol: Protocol::Smtp,
        client: "192.0.2.7:40112".parse().unwrap(),
        helo: "out.sender.example".into(),
        tls: tls("mx1.example.net"),
        authenticated: false,
        direction: record::Direction::Inbound,
        reverse_path: "alice@sender.example".into(),
        recipients: vec![
            recipient("bob@example.net", reply(250, "ok")),
            recipient("<script>@example.net", reply(550, "no such user")),
        ],
        recipients_named: 2,
        size: 10_240,
        verdict: Verdict::Unjudged,
        opinion: None,
        reply: Some(reply(250, "queued as 4XyZ")),
        groups: vec![GroupOutcome::Delivered { leg, reply: reply(250, "queued as 4XyZ") }],
        alike: 0,
    }
}

/// One that was judged, with a subject.
pub(crate) fn judged(number: u32) -> Transaction {
    let opinion = record::Opinion {
        direction: record::Direction::Inbound,
        carried_out: Verdict::Tag,
        probability: Some(0.875),
        checks: Vec::new(),
        words: vec![("rechnung offen".into(), 1.5)],
        otherwise: vec![(Verdict::Pass, "with 0.56 less in log-odds".into())],
        subject: format!("Rechnung Nr. {number}").into(),
        message_id: format!("<{number}.one@mail.sender.example>").into(),
        language: "German",
        trouble: "".into(),
        took: Duration::from_millis(3),
    };
    Transaction { verdict: Verdict::Tag, opinion: Some(Box::new(opinion)), ..transaction(number) }
}

pub(crate) fn session_id() -> TraceId {
    TraceId::new(1_795_288_205_000, 7)
}

pub(crate) fn session(tls: TlsOutcome) -> Session {
    Session {
        id: session_id(),
        began: BEGAN,
        lasted: Duration::from_millis(310),
        protocol: Protocol::Smtp,
        client: "192.0.2.7:40112".parse().unwrap(),
        helo: "out.sender.example".into(),
        tls,
        authenticated: false,
        transactions: 1,
        unwelcome: false,
        bytes: (11_200, 900),
        end: SessionEnd::Quit,
    }
}

pub(crate) fn refused_session() -> Session {
    let end = SessionEnd::Abuse(Abuse::TooManyErrors);
    let client = "[2001:db8:77::9]:5000".parse().unwrap();
    Session {
        id: TraceId::new(1_795_288_206_000, 9),
        end,
        client,
        transactions: 0,
        ..session(TlsOutcome::Plain)
    }
}

pub(crate) fn leg_failure() -> LegFailure {
    LegFailure {
        session: Some(session_id()),
        backend: "exchange".into(),
        server: "10.0.0.11:25".parse().unwrap(),
        source: None,
        reason: "connection refused".into(),
    }
}

pub(crate) fn afterwards(transaction: TransactionId, step: Step, at: Duration) -> Afterwards {
    let leg = Leg {
        backend: "exchange".into(),
        server: "10.0.0.10:25".parse().unwrap(),
        tls: tls("mail.inside"),
        client_address: "xclient",
        reused: false,
        policy: "".into(),
    };
    Afterwards {
        transaction,
        at,
        step,
        leg: Some(leg),
        recipients: vec![RecipientOutcome { address: "bob@example.net".into(), alias: None, reply: None }],
        recipients_in_all: 1,
        words: Some(reply(451, "come back later")),
    }
}
