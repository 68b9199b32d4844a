//! Whether a server accepts recipients that cannot exist (DECISIONS 31): what it accepts then proves nothing.

use std::sync::Arc;

use record::Leg;
use route::{Backend, Server};
use smtp::dialogue::Sent;
use smtp::{Domain, Mail, ReversePath};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::far::{Answered, Far, Proven};
use crate::network::Stream;
use crate::open::{Greeted, Hail, OpenError, Opener, answer, greet};
use crate::probe::{connect, say_goodbye};
use crate::timeouts;

/// Domains that are asked about on one connection: servers close on clients that name many unknown recipients.
const ON_ONE_CONNECTION: usize = 5;

/// Names one recipient in each domain and gives the transaction up; `local_part` is to be one that cannot exist. Of each domain
/// whether it was accepted (`true`) or refused for good; a domain of which the server said neither is left out.
///
/// # Errors
///
/// The server cannot be used; what it said before counts and is not told.
pub async fn probe_recipients(
    opener: &Opener,
    backend: &Arc<Backend>,
    server: &Server,
    local_part: &str,
) -> Result<Vec<(Domain, bool)>, OpenError> {
    let mut found = Vec::new();
    for domains in backend.domains().chunks(ON_ONE_CONNECTION) {
        let asked = timeout(timeouts::ALL_SERVERS, ask(opener, backend, server, domains, local_part));
        found.extend(asked.await.unwrap_or(Err(OpenError::Silent))?);
    }
    Ok(found)
}

async fn ask(
    opener: &Opener,
    backend: &Arc<Backend>,
    server: &Server,
    domains: &[Domain],
    local_part: &str,
) -> Result<Vec<(Domain, bool)>, OpenError> {
    let stream = connect(&*opener.network, backend, server).await?;
    let hail = Hail::of(backend, server);
    let greeted = match greet(stream, hail, &opener.hostname, None).await {
        Err(OpenError::Tls(error)) if backend.tls().allows_plain() => {
            let stream = connect(&*opener.network, backend, server).await?;
            greet(stream, hail, &opener.hostname, Some(error.reason())).await?
        }
        greeted => greeted?,
    };
    let Greeted { far, mut stream, tls, .. } = greeted;
    let leg = Leg {
        backend: backend.name().into(),
        server: server.address(),
        tls,
        client_address: "none",
        reused: false,
        policy: "".into(),
    };
    let far = far.prove(backend, leg).map_err(|_| OpenError::TooWeak(backend.tls().ladder.name()));
    let found = name(&mut far?, &mut stream, domains, local_part).await?;
    say_goodbye(&mut stream).await;
    Ok(found)
}

async fn name(
    far: &mut Far<Proven>,
    stream: &mut Stream,
    domains: &[Domain],
    local_part: &str,
) -> Result<Vec<(Domain, bool)>, OpenError> {
    let mut out = Vec::new();
    far.mail(&Mail::new(ReversePath::Null), None, &mut out);
    for (index, domain) in domains.iter().enumerate() {
        let line = format!("RCPT TO:<{local_part}@{domain}>");
        if let Ok(smtp::Command::Rcpt(rcpt)) = smtp::Command::parse(line.as_bytes()) {
            far.rcpt(index, &rcpt, &mut out);
        }
    }
    let mut found = Vec::new();
    let mut mail_refused = false;
    while !far.is_settled() {
        stream.write_all(&out).await?;
        stream.flush().await?;
        out.clear();
        let mut more = Vec::new();
        // One reply is read whole; those that came with it are read by the calls after this one.
        answer(stream, |input, out| {
            let mut last = None;
            while let Some(answered) = far.read(input, out)? {
                more.append(out);
                let Answered::Reply(sent, reply) = answered else { continue };
                match sent {
                    Sent::Mail => mail_refused = !reply.code().is_positive(),
                    Sent::Rcpt(index) if !mail_refused => {
                        let everything = reply.code().is_positive();
                        if let Some(domain) = domains.get(index)
                            && (everything || route::denies_mailbox(&reply))
                        {
                            found.push((domain.clone(), everything));
                        }
                    }
                    _ => {}
                }
                last = Some((sent, reply));
            }
            Ok(last)
        })
        .await?;
        out.append(&mut more);
    }
    Ok(found)
}
