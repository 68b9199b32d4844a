//! The servers behind: backends, and what they offer.

use super::*;

pub(super) fn plain() -> LegPolicy {
    LegPolicy { ladder: Ladder::Off, ..LegPolicy::default() }
}

static CONNECTOR: LazyLock<Connector> =
    LazyLock::new(|| match Connector::new(&tls::Settings::default(), &plain(), Arc::new(SystemClock)) {
        Ok(connector) => connector,
        Err(error) => panic!("{error}"),
    });

pub(super) fn routing(stage: &Stage) -> Arc<Routing> {
    match Routing::new(["one", "two"].map(|name| backend(name, stage)).into()) {
        Ok(routing) => Arc::new(routing),
        Err(error) => panic!("{error}"),
    }
}

pub(super) fn backend(name: &str, stage: &Stage) -> Backend {
    let Ok(domain) = format!("{name}.example").parse::<Domain>() else { panic!("no backend {name}") };
    let server = route::Server::new(([127, 0, 0, 1], 25).into(), name);
    let (greeting, plain_offer) =
        (format!("{name}.example remembered").into(), capabilities(stage.remembered));
    server.learn(route::Offered { greeting, plain: plain_offer, ..route::Offered::default() });
    let recipients = Recipients::new(name, Arc::clone(&stage.known), stage.list.clone());
    let backend = Backend::new(BackendSettings {
        name: name.into(),
        domains: vec![domain],
        servers: vec![server],
        submission: Vec::new(),
        tls: plain(),
        connector: CONNECTOR.clone(),
        client_address: ClientAddress::None,
        banner: if stage.is_inbound { Banner::Server } else { Banner::Postern },
        world: None,
    });
    backend.with_recipients(recipients)
}

pub(super) fn capabilities(extensions: &[&str]) -> smtp::Capabilities {
    far_side(extensions).capabilities().clone()
}

/// A far side after its EHLO, made by the bytes of a real dialogue.
pub(super) fn far_side(extensions: &[&str]) -> Far<delivery::Unproven> {
    let (mut far, mut out) = (Far::new(), Vec::new());
    let mut ehlo = String::from("250-server.example");
    extensions.iter().for_each(|extension| ehlo.push_str(&format!("\r\n250-{extension}")));
    ehlo.push_str("\r\n250 HELP\r\n");
    let greeted = far.read(&mut &b"220 server.example ESMTP\r\n"[..], &mut out);
    far.say(Sent::Ehlo, &format!("EHLO {HOSTNAME}"), &mut out);
    let told = far.read(&mut ehlo.as_bytes(), &mut out);
    assert!(greeted.is_ok() && told.is_ok(), "a server that greets");
    far
}

pub(super) fn proven(backend: &Arc<Backend>, extensions: &[&str]) -> Far<Proven> {
    let leg = Leg {
        backend: backend.name().into(),
        server: ([127, 0, 0, 1], 25).into(),
        tls: TlsOutcome::Plain,
        client_address: "none",
        reused: false,
        policy: "".into(),
    };
    match far_side(extensions).prove(backend, leg) {
        Ok(far) => far,
        Err(_) => panic!("plain text is allowed here"),
    }
}

/// What leaves for content that came.
pub(crate) fn leaving(content: &[u8], outgoing: &delivery::Outgoing) -> Vec<u8> {
    let mut left = outgoing.added.clone();
    let is_cut = |at: u64| outgoing.cuts.iter().any(|cut| cut.contains(&at));
    left.extend(content.iter().zip(0..).filter(|(_, at)| !is_cut(*at)).map(|(octet, _)| *octet));
    left
}
