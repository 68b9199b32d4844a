//! OpenSSL's client as a stranger with old habits. Its lowest security level makes it offer what Debian forbids.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use record::{SystemClock, TlsFacts, TlsVersion};
use tls::{Acceptor, Chain, Interception, Missing, Settings, TlsError};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::material::{Authority, acceptor, now, rsa};

/// In TLS 1.2 the server hears in the handshake whether it was believed.
const VERIFYING: [&str; 4] = ["-tls1_2", "-x509_strict", "-verify_return_error", "-verify_hostname"];

/// Longest that one handshake of a local process may take before the test is broken.
const BOUND: Duration = Duration::from_secs(60);

/// One handshake of `openssl s_client` with these options; `None`, and said loudly, where there is no openssl.
async fn s_client(acceptor: &Acceptor, options: &[&str]) -> Option<Result<TlsFacts, TlsError>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let client = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-servername", "mx.example.net"])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let Ok(mut client) = client else {
        eprintln!("SKIPPED: no openssl on this machine; apt install openssl");
        return None;
    };
    let handshake = async {
        let (stream, _) = listener.accept().await.expect("a connection");
        let result = acceptor.accept(stream, None).await.map(|(_, facts)| facts);
        client.wait().await.expect("openssl ends");
        result
    };
    Some(tokio::time::timeout(BOUND, handshake).await.expect("in time"))
}

/// A server with both kinds of key, so that no suite fails for want of a certificate.
fn server() -> Acceptor {
    let authority = Authority::new();
    let by_rsa = authority.issue_until(&["mx.example.net"], &rsa(), now() + Duration::from_secs(86_400));
    acceptor(&Settings::default(), vec![authority.issue(&["mx.example.net"]), by_rsa])
}

#[tokio::test]
async fn openssl_is_served_with_forward_secrecy() {
    let server = server();
    for (options, version, suite) in [
        (&["-tls1_3"][..], TlsVersion::Tls13, "TLS_AES_256_GCM_SHA384"),
        (&["-tls1_2"], TlsVersion::Tls12, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
        (
            &["-tls1_2", "-cipher", "AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256"],
            TlsVersion::Tls12,
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        ),
    ] {
        let Some(result) = s_client(&server, options).await else { return };
        let facts = result.unwrap();
        assert_eq!((facts.version, facts.suite), (version, suite));
        assert_eq!(facts.server_name.as_deref(), Some("mx.example.net"));
    }
}

#[tokio::test]
async fn old_versions_and_suites_without_forward_secrecy_are_refused() {
    let server = server();
    // Without elliptic curves there is no list of groups either; which of the two is noticed first is the library's affair.
    let no_curves = &[Missing::Group, Missing::Suite][..];
    for (options, expected) in [
        (&["-tls1", "-cipher", "ALL:@SECLEVEL=0"][..], &[Missing::Version][..]),
        (&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], &[Missing::Version]),
        (&["-tls1_2", "-cipher", "AES128-SHA:AES256-SHA256:@SECLEVEL=0"], no_curves),
        (&["-tls1_2", "-cipher", "AES128-GCM-SHA256:AES256-GCM-SHA384"], no_curves),
        (&["-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384"], no_curves),
        (&["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384"], &[Missing::Suite]),
    ] {
        let Some(result) = s_client(&server, options).await else { return };
        let error = result.unwrap_err();
        assert!(error.is_no_forward_secrecy(), "{options:?}: {error}");
        let TlsError::NoForwardSecrecy(missing) = error else { panic!("{options:?}: {error}") };
        assert!(expected.contains(&missing), "{options:?}: {missing}");
    }
}

#[tokio::test]
async fn openssl_at_its_strictest_believes_a_leaf_for_what_is_genuine_and_only_that() {
    let folder = tempfile::tempdir().unwrap();
    let authority = tls::Authority::load_or_create(folder.path(), "mx1.example.net", now()).unwrap();
    let ca_file = folder.path().join("interception-ca.pem");
    let interception = Interception::new(authority, &Settings::default(), Arc::new(SystemClock));
    let far = Chain::new(Authority::new().issue(&["mx.example.net", "192.0.2.1"]).chain());
    for (genuine, name, believed) in
        [(true, "mx.example.net", true), (true, "mx.example.org", false), (false, "mx.example.net", false)]
    {
        let acceptor = interception.acceptor(&far, genuine).unwrap();
        let options = [&VERIFYING[..], &[name, "-CAfile", ca_file.to_str().unwrap()]].concat();
        let Some(result) = s_client(&acceptor, &options).await else { return };
        assert_eq!(result.is_ok(), believed, "{genuine} {name}: {result:?}");
    }
}
