//! Bytes in clear behind STARTTLS.

use std::sync::Arc;
use std::time::Duration;

use record::{Abuse, Protocol, SessionEnd};
use relay::{Action, Beginning, Budget, Input, Limits, Session, Settings, Wants, step};
use smtp::TraceId;
use tokio::time::Instant;

/// What a session that offers TLS does with these bytes.
fn told(bytes: &[u8]) -> (Session, Wants) {
    let limits = Limits::default();
    let budget = Budget::new(limits.in_flight);
    let settings = Settings {
        hostname: "mx.postern.example".into(),
        routing: Arc::new(route::Routing::new(Vec::new()).unwrap()),
        limits,
        inbound_plain: relay::InboundPlain::Accept,
        offers_tls: true,
        loop_key: [7; 32],
        inside: intercept::Networks::none(),
        originators: intercept::Networks::none(),
        mends_lines_of: intercept::Networks::none(),
        hides: true,
        judging: None,
        signs: false,
        own: relay::OwnAddresses::default(),
    };
    let beginning = Beginning {
        arrival: relay::Arrival::Here { may_relay: false },
        id: TraceId::new(1_795_288_205_000, 5),
        settings: Arc::new(settings),
        protocol: Protocol::Smtp,
        client: ([192, 0, 2, 1], 40_000).into(),
        destination: ([192, 0, 2, 2], 25).into(),
        unwelcome: None,
        wall: Duration::from_secs(1_795_288_205),
        budget,
    };
    let now = Instant::now();
    let (session, _) = step(Session::new(beginning, now), Input::Begin, now);
    let (session, _) = step(session, Input::Client(b"EHLO client.example\r\n"), now);
    step(session, Input::Client(bytes), now)
}

#[test]
fn commands_behind_starttls_are_told_so_and_not_silently_dropped() {
    for behind in [&b"MAIL FROM:<x@y.example>\r\n"[..], b"M", b"\r\n"] {
        let (session, wants) = told(&[b"starttls\r\n", behind].concat());
        assert!(wants.to_client.starts_with(b"554 5.5.0 "), "{}", String::from_utf8_lossy(&wants.to_client));
        assert!(!wants.actions.iter().any(|action| matches!(action, Action::StartTls(None))));
        assert_eq!(session.end(), Some(&SessionEnd::Abuse(Abuse::InjectedBeforeTls)));
    }
    let (session, wants) = told(b"STARTTLS\r\n");
    assert!(wants.to_client.starts_with(b"220 ") && session.end().is_none());
    assert!(wants.actions.iter().any(|action| matches!(action, Action::StartTls(None))));
}
