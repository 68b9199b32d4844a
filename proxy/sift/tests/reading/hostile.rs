//! Messages whose only purpose is to cost more than they should. Each is of some megabytes, and must be read in the time that
//! honest mail of its size takes, give or take the slowness of a test build.

use std::time::Duration;

use sift::encoded::encode;
use sift::{Bounds, read};
use tokio::time::Instant;

/// A worker has five seconds, and is built for speed; this is not.
const LIMIT: Duration = Duration::from_secs(5);
/// Octets of each message, about.
const SIZE: usize = 4 << 20;

fn is_cheap(what: &str, message: &[u8]) {
    let start = Instant::now();
    let content = read(message, &Bounds::default());
    let took = start.elapsed();
    assert!(took < LIMIT, "{what} takes {took:?}");
    assert!(encode(&content).is_ok(), "{what} is beyond the bounds");
}

fn filled(start: &str, with: &str) -> Vec<u8> {
    [start, &with.repeat(SIZE / with.len())].concat().into_bytes()
}

#[test]
fn no_page_costs_more_than_its_length() {
    let header = "Content-Type: text/html\r\n\r\n";
    for with in [
        "<div>",
        "<p>",
        "<a href=http://a.example/>",
        "</x></y>",
        "<div></p>",
        "<b a=1 b=2 style='color:red;font-size:0'>",
        "<",
        "&",
        "&#",
        "&nbsp",
        "<!--",
        "<style>.a{color:#fff}",
        "<table><tr><td>",
        "http://",
        "(www.(",
        "<p class='a b c d e f g h'>x",
        "<svg/><math>",
        "</",
        "<img src=data:x,",
    ] {
        is_cheap(with, &filled(header, with));
    }
    let rules: String = (0..5000).map(|number| format!(".c{number},#i{number}{{display:none}}")).collect();
    is_cheap("rules", &filled(&format!("{header}<style>{rules}</style>"), "<p class='c1 c2 c3' id=i4>x"));
    is_cheap("one value", &filled(&format!("{header}<p style='"), "color:#fff;"));
    is_cheap("media", &filled(&format!("{header}<style>"), "@media{"));
}

#[test]
fn no_header_costs_more_than_its_length() {
    for with in [
        "=?aa?q?",
        "=?",
        "=?utf-8?b?",
        "a@b.example, ",
        "=?aa?q?x?= <a@b>, ",
        "(",
        "\"",
        "<",
        "a:b;",
        "\r\n ",
        "\r\nTo: =?aa?q?=?aa?q?=?aa?q?",
        "\r\nContent-Type: a/b; x*0=y; x*1=z",
    ] {
        is_cheap(with, &filled("To: ", with));
        is_cheap(with, &filled("Subject: ", with));
        is_cheap(with, &filled("Content-Type: multipart/mixed; boundary=", with));
    }
    let long = "=?aa?q?".repeat(2300);
    is_cheap("many long fields", format!("To: {long}\r\n").repeat(256).as_bytes());
}

#[test]
fn no_structure_costs_more_than_its_length() {
    let multipart = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
    let encoded = "=?aa?q?".repeat(500);
    for with in [
        "--b\r\n\r\n",
        "--b",
        "\n--b x",
        "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n",
        "--b\r\nContent-Type: message/rfc822\r\n\r\n",
        &format!(
            "--b\r\nContent-Type: a/b; x={encoded}\r\nContent-Disposition: a; filename={encoded}\r\n\r\n"
        ),
        "--b\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD=\r\n",
        "--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n= = = =\t\r\n",
    ] {
        is_cheap(with, &filled(multipart, with));
    }
}

#[test]
fn no_archive_costs_more_than_its_length() {
    let header = "Content-Disposition: attachment; filename=x\r\n\r\n";
    let attached = |start: &[u8], with: &[u8]| {
        let octets = with.repeat(SIZE / with.len());
        is_cheap(&format!("{with:?}"), &[header.as_bytes(), start, &octets].concat());
    };
    attached(b"PK\x03\x04", b"PK\x03\x04");
    attached(b"PK\x03\x04", b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\0\0");
    attached(b"PK\x03\x04", b"PK\x05\x06");
    attached(b"PK\x03\x04", b"PK\x01\x02");
    attached(b"\x1f\x8b", b"\x1f\x8b\x08\0\0\0\0\0\0\0");
    attached(b"%PDF-1.5", b"/ObjStm stream x\x9c\xed\xc1\x01\x01");
    attached(b"%PDF-1.5", b"#");
    attached(b"Rar!\x1a\x07\x01\0", b"\0\0\0\0\x02\x02\x01");
    attached(b"{\\rtf", b"\\obj");
    let mut block = vec![0; 512];
    block[0] = b'a';
    block[257..262].copy_from_slice(b"ustar");
    attached(&block, &block);
}
