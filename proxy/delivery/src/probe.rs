//! Looking at a server without mail: what it offers before and after STARTTLS (DECISIONS 1).

use intercept::Source;
use record::TlsOutcome;
use route::{Backend, ClientAddress, Offered, Server};
use smtp::dialogue::Sent;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use crate::far::Far;
use crate::network::{Network, Stream};
use crate::open::{Greeted, Hail, OpenError, Opener, answer, greet};
use crate::timeouts;

/// Connects from Postern's own address, learns what the server offers, says QUIT. What was learnt is noted with the
/// server; it proves nothing for a session with another source address.
///
/// # Errors
///
/// What failed; it is noted with the server too.
pub async fn probe(opener: &Opener, backend: &Backend, server: &Server) -> Result<Offered, OpenError> {
    let (network, hostname) = (&*opener.network, &*opener.hostname);
    let looked = timeout(timeouts::ALL_SERVERS, look(network, backend, server, hostname)).await;
    let looked = looked.unwrap_or(Err(OpenError::Silent));
    match &looked {
        Ok(offered) => {
            server.learn(offered.clone());
            server.proved_well();
        }
        Err(error) => server.failed(Instant::now(), opener.clock.now(), &error.to_string()),
    }
    looked
}

async fn look(
    network: &dyn Network,
    backend: &Backend,
    server: &Server,
    hostname: &str,
) -> Result<Offered, OpenError> {
    let in_clear = connect(network, backend, server).await?;
    let (plain, greeting) = look_in_clear(in_clear, hostname).await?;
    let mut offered = Offered { greeting, plain, ..Offered::default() };
    if backend.tls().ladder == tls::Ladder::Off || !offered.plain.has(smtp::Extension::StartTls) {
        return Ok(offered);
    }
    let stream = connect(network, backend, server).await?;
    match greet(stream, Hail::of(backend, server), hostname, None).await {
        Ok(Greeted { far, mut stream, tls, .. }) => {
            if let TlsOutcome::Established { facts, .. } = &tls {
                offered.encrypted = Some(far.capabilities().clone());
                offered.tls = format!("{} {} {}", facts.version.name(), facts.suite, facts.group).into();
            }
            say_goodbye(&mut stream).await;
        }
        Err(OpenError::Tls(error)) if backend.tls().allows_plain() => offered.tls = error.reason(),
        Err(error) => return Err(error),
    }
    Ok(offered)
}

pub(crate) async fn connect(
    network: &dyn Network,
    backend: &Backend,
    server: &Server,
) -> Result<Stream, OpenError> {
    let deadline = Instant::now() + timeouts::CONNECT;
    let mut stream = network.connect(server.address(), Source::Kernel, deadline).await?;
    if backend.client_address() == ClientAddress::Proxy {
        let mut header = Vec::new();
        intercept::proxy_protocol::write_v2_local(&mut header);
        stream.write_all(&header).await?;
    }
    Ok(stream)
}

async fn look_in_clear(
    mut stream: Stream,
    hostname: &str,
) -> Result<(smtp::Capabilities, Box<str>), OpenError> {
    let mut far = Far::new();
    let banner = answer(&mut stream, |input, out| far.read(input, out)).await?;
    if !banner.code().is_positive() {
        return Err(OpenError::Refused(banner));
    }
    let mut out = Vec::new();
    far.say(Sent::Ehlo, &format!("EHLO {hostname}"), &mut out);
    stream.write_all(&out).await?;
    answer(&mut stream, |input, out| far.read(input, out)).await?;
    say_goodbye(&mut stream).await;
    Ok((far.capabilities().clone(), banner.words().into()))
}

/// Politeness: nobody waits for the answer.
pub(crate) async fn say_goodbye(stream: &mut Stream) {
    let _ = stream.write_all(b"QUIT\r\n").await;
    let _ = stream.shutdown().await;
}
