//! Telling the server who the client is: XCLIENT and XFORWARD (Postfix's XCLIENT_README and XFORWARD_README).

use std::net::{IpAddr, SocketAddr};

use route::{Backend, ClientAddress};
use smtp::dialogue::Sent;
use smtp::{Extension, Reply};
use tokio::io::AsyncWriteExt;

use super::{Client, OpenError, OpenLeg, answer};
use crate::far::{Answered, Far, Proven};
use crate::network::Stream;

/// Chooses the method by the config and by what the server offers, and carries it out.
pub(super) async fn tell(
    mut leg: OpenLeg,
    backend: &Backend,
    client: &Client,
    name: &str,
) -> Result<OpenLeg, OpenError> {
    let offers = leg.far.capabilities();
    let (xclient, xforward) = (offers.has(Extension::Xclient), offers.has(Extension::Xforward));
    match backend.client_address() {
        ClientAddress::Xclient if !xclient => return Err(OpenError::NoClientAddress("XCLIENT")),
        ClientAddress::Xforward if !xforward => return Err(OpenError::NoClientAddress("XFORWARD")),
        ClientAddress::Xclient => tell_xclient(&mut leg, client, name).await?,
        ClientAddress::Auto if xclient => tell_xclient(&mut leg, client, name).await?,
        ClientAddress::Xforward => tell_xforward(&mut leg, client),
        ClientAddress::Auto if xforward => tell_xforward(&mut leg, client),
        _ => {}
    }
    Ok(leg)
}

/// XCLIENT is answered like the start of a connection: by a banner. What the server offers is learnt again, since it
/// may depend on the client.
async fn tell_xclient(leg: &mut OpenLeg, client: &Client, name: &str) -> Result<(), OpenError> {
    let attributes = leg.far.capabilities().xclient.clone();
    let line = line("XCLIENT", &attributes, client);
    let banner = ask(&mut leg.far, &mut leg.stream, Sent::Xclient, &line).await?;
    if !banner.code().is_positive() {
        return Err(OpenError::Refused(banner));
    }
    let hello = ask(&mut leg.far, &mut leg.stream, Sent::Ehlo, &format!("EHLO {name}")).await?;
    if !hello.code().is_positive() {
        return Err(OpenError::Refused(hello));
    }
    leg.far.set_client_address("xclient", None);
    Ok(())
}

/// XFORWARD goes before each MAIL: its attributes last for one transaction.
fn tell_xforward(leg: &mut OpenLeg, client: &Client) {
    let line = line("XFORWARD", &leg.far.capabilities().xforward, client);
    leg.far.set_client_address("xforward", Some(format!("{line}\r\n").into_bytes()));
}

pub(super) async fn ask(
    far: &mut Far<Proven>,
    stream: &mut Stream,
    sent: Sent,
    line: &str,
) -> Result<Reply, OpenError> {
    let mut out = Vec::new();
    far.say(sent, line, &mut out);
    stream.write_all(&out).await?;
    stream.flush().await?;
    answer(stream, |input, out| {
        Ok(far.read(input, out)?.map(|answered| match answered {
            Answered::Reply(sent, reply) => (sent, reply),
            Answered::Delivered(delivered) => (Sent::Content, delivered.reply().clone()),
            Answered::Undelivered(reply) => (Sent::Content, reply),
        }))
    })
    .await
}

fn line(command: &str, attributes: &[Box<str>], client: &Client) -> String {
    let mut line = command.to_owned();
    for attribute in attributes {
        if let Some(value) = value(attribute, client) {
            line.push_str(&format!(" {attribute}={value}"));
        }
    }
    line
}

fn value(attribute: &str, client: &Client) -> Option<String> {
    match attribute {
        "ADDR" => Some(address(client.address)),
        "PORT" => Some(client.address.port().to_string()),
        "DESTADDR" => Some(address(client.destination)),
        "DESTPORT" => Some(client.destination.port().to_string()),
        "PROTO" => Some(if client.esmtp { "ESMTP" } else { "SMTP" }.into()),
        // Not "temporarily": a server would defer the mail for it. The name is not looked up in the path.
        "NAME" => Some("[UNAVAILABLE]".into()),
        "HELO" if client.helo.is_empty() => Some("[UNAVAILABLE]".into()),
        "HELO" => Some(xtext(&client.helo)),
        "SOURCE" => Some("REMOTE".into()),
        _ => None,
    }
}

fn address(address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("IPV6:{address}"),
    }
}

/// RFC 3461 §4.
fn xtext(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'+' && byte != b'=' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("+{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_attributes_that_the_server_knows_are_told() {
        let client = Client {
            address: "[2001:db8::1]:4000".parse().unwrap(),
            destination: "192.0.2.1:25".parse().unwrap(),
            helo: "a=b.example".into(),
            esmtp: true,
        };
        let known = ["NAME", "ADDR", "PORT", "HELO", "PROTO", "LOGIN"].map(Into::into);
        assert_eq!(
            line("XCLIENT", &known, &client),
            "XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1 PORT=4000 HELO=a+3Db.example PROTO=ESMTP"
        );
    }
}
