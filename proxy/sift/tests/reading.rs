//! Messages made by hand, each for one thing that mail programs show or that hides something; and the corpora, where they are.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fmt::Write as _;

use sift::content::{Kind, Purpose};
use sift::{Bounds, Content, read};

#[path = "reading/corpora.rs"]
mod corpora;
#[path = "reading/hostile.rs"]
mod hostile;
#[path = "reading/properties.rs"]
mod properties;

fn of(message: &str) -> Content {
    read(message.as_bytes(), &Bounds::default())
}

fn html(page: &str) -> Content {
    of(&format!("From: a@b.example\r\nDate: x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{page}"))
}

#[test]
fn a_header_is_decoded_as_it_is_shown() {
    let content = of(concat!(
        "Received: from x\r\n\tby y\r\n",
        "From: =?utf-8?Q?J=C3=BCrgen?= <J@Example.ORG>\r\n",
        "To: \"Doe, Jane\" <jane@a.example>, b@b.example\r\n",
        "Cc: Group: c@c.example, d@d.example;\r\n",
        "Reply-To: nobody\r\n",
        "SUBJECT: =?iso-8859-1?q?caf=E9?= =?utf-8?b?w7w=?=\r\n",
        "Subject: second\r\n",
        "Message-ID: <1@a.example>\r\n",
        "Date: x\r\n\r\ntext",
    ));
    let mailboxes = |list: &[sift::content::Address]| {
        list.iter().map(|one| format!("{}|{}", one.name, one.mailbox)).collect::<Vec<_>>()
    };
    assert_eq!(mailboxes(&content.from), ["J\u{fc}rgen|J@example.org"]);
    assert_eq!(
        mailboxes(&content.to),
        ["Doe, Jane|jane@a.example", "|b@b.example", "|c@c.example", "|d@d.example"]
    );
    assert_eq!(mailboxes(&content.reply_to), ["nobody|"]);
    assert_eq!((content.subject.as_str(), content.message_id.as_str()), ("caf\u{e9}\u{fc}", "1@a.example"));
    assert_eq!(
        (content.fields[0].name.as_str(), content.fields[0].value.as_str()),
        ("received", "from x\tby y")
    );
    assert!(
        content.oddities.doubled_fields
            && !content.oddities.missing_fields
            && !content.oddities.broken_header
    );
    assert_eq!(content.text.start, "text");
}

#[test]
fn headers_that_are_none_are_noticed() {
    let none = of("Just some text\r\nFrom: x\r\n\r\nmore");
    assert!(none.oddities.broken_header && none.oddities.missing_fields && none.fields.is_empty());
    assert_eq!(none.text.start, "Just some text\nFrom: x\nmore");
    let torn = of("From: a@b.example\r\nno field\r\nDate: x\r\n\r\nbody");
    assert!(torn.oddities.broken_header && torn.fields.len() == 2 && torn.text.start == "body");
    let mbox = of("From a@b Thu Jan  1 00:00:00 1970\nFrom: a@b.example\nDate: x\n\nbody");
    assert!(!mbox.oddities.broken_header && mbox.fields.len() == 2 && mbox.text.start == "body");
    assert!(of("").fields.is_empty());
}

#[test]
fn an_alternative_shows_its_html_and_keeps_another_text_apart() {
    let message = |plain: &str| {
        of(&format!(
            "Content-Type: multipart/alternative; boundary=b\r\n\r\npreamble\r\n--b\r\n\r\n{plain}\r\n--b\r\n\
             Content-Type: multipart/related; boundary=c\r\n\r\n--c\r\nContent-Type: text/html\r\n\r\n\
             <p>Buy now, the best pills in town\r\n--c--\r\n--b--\r\nepilogue"
        ))
    };
    let same = message("Buy now: the best pills in town!");
    assert_eq!(
        (same.text.start.as_str(), same.alternative.as_str()),
        ("Buy now, the best pills in town", "")
    );
    let other = message("Minutes of our meeting last Tuesday");
    assert_eq!(other.alternative, "Minutes of our meeting last Tuesday");
    let kinds: Vec<_> = other.parts.iter().map(|part| (part.kind, part.depth)).collect();
    assert_eq!(kinds, [(Kind::Multipart, 0), (Kind::Text, 1), (Kind::Multipart, 1), (Kind::Html, 2)]);
}

#[test]
fn what_calls_itself_text_is_shown_whatever_it_is() {
    for (text, kind) in [
        ("-----BEGIN PGP SIGNED MESSAGE-----\nseen", Kind::Cryptographic),
        ("#!/bin/sh\nseen", Kind::Script),
        ("MZ is seen", Kind::Text),
    ] {
        let content = of(&format!("Content-Type: text/plain\r\n\r\n{text}"));
        assert_eq!(content.parts[0].kind, kind);
        assert_eq!(content.text.start, text);
    }
    let packed = of("Content-Type: application/zip\r\n\r\nUEsDBA==");
    assert_eq!((packed.parts[0].kind, packed.text.octets), (Kind::Text, 0));
}

#[test]
fn attached_messages_are_read_too() {
    let content = of(concat!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nouter\r\n--b\r\nContent-Type: message/rfc822\r\n",
        "Content-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDogeAoKaW5uZXIgaHR0cDovL2EuZXhhbXBsZS8=\r\n--b--\r\n",
    ));
    assert_eq!(content.text.start, "outer\ninner http://a.example/");
    assert_eq!(content.links.len(), 1);
    assert!(content.parts[2].kind == Kind::Message && content.parts[3].depth == 2);
}

#[test]
fn text_of_any_charset_becomes_unicode() {
    let bodies: [(&str, &[u8], &str, bool); 8] = [
        ("koi8-r", b"\xf0\xd2\xc9\xd7\xc5\xd4", "Привет", false),
        ("iso-2022-jp", b"\x1b$B$3$s\x1b(B", "こん", false),
        ("gb2312", b"\xc4\xe3\xba\xc3", "你好", false),
        ("utf-7", b"+AOQ-", "\u{e4}", false),
        ("us-ascii", b"\xc3\xa4", "\u{e4}", true),
        ("no-such-charset", b"\xe4", "\u{e4}", true),
        ("utf-8", b"a\xffb", "a\u{fffd}b", true),
        ("utf-8", b"\xff\xfea\0b\0", "ab", false),
    ];
    for (charset, body, text, odd) in bodies {
        let header = format!("Content-Type: text/plain; charset={charset}\r\n\r\n");
        let content = read(&[header.as_bytes(), body].concat(), &Bounds::default());
        assert_eq!((content.text.start.as_str(), content.oddities.charset), (text, odd), "{charset}");
    }
    let declared = b"Content-Type: text/html\r\n\r\n<meta charset=\"koi8-r\"><p>\xf0\xd2\xc9\xd7\xc5\xd4";
    assert_eq!(read(declared, &Bounds::default()).text.start, "Привет");
}

#[test]
fn what_html_does_not_show_is_kept_apart() {
    for hides in [
        "<p style='display:none'>H</p>",
        "<p hidden>H</p>",
        "<div style='visibility:hidden'>H</div>",
        "<span style='font-size:0'>H</span>",
        "<span style='font-size:1px;color:red'>H</span>",
        "<font color=white>H</font>",
        "<font color='#fefefe'>H</font>",
        "<table bgcolor=navy><tr><td><font color='#000080'>H</font></td></tr></table>",
        "<div style='background:#123456;color:#123457'>H</div>",
        "<div style='opacity:0'><b>H</b></div>",
        "<div style='position:absolute;left:-5000px'>H</div>",
        "<div style='max-height:0;overflow:hidden'>H</div>",
        "<style>.x{display:none}</style><p class='y x'>H</p>",
        "<style><!-- #z { font-size: 0px } --></style><p id=z>H</p>",
        "<div style='display:none'><div style='display:block;color:red'>H</div></div>",
        "<p style='color:transparent'>H",
        "<div style='display:none'>H<div>H</div>",
    ] {
        // The stray text is behind what hides; only elements that were closed give it back.
        let content = html(&format!("<body>seen {hides}</div></p> and seen"));
        assert!(!content.text.start.contains('H') && content.hidden.contains('H'), "{hides}: {content:?}");
        assert!(content.text.start.starts_with("seen") && content.markup.hidden_octets > 0, "{hides}");
    }
    for shows in [
        "<p style='visibility:hidden'><b style='visibility:visible'>H</b></p>",
        "<p style='font-size:0'><span style='font-size:12px'>H</span></p>",
        "<table bgcolor=black><tr><td><font color=white>H</font></table>",
        "<td background='x.png'><font color=white>H</font>",
        "<p style='display:none'>x<p>H",
        "<tr><td style='display:none'>x<td>H",
        "<!-- comment -->H",
        "<style>@media print{.x{display:none}}</style><p class=x>H",
        "<script>x</script><title>x</title>H",
    ] {
        let content = html(shows);
        assert!(content.text.start.contains('H') && !content.hidden.contains('H'), "{shows}: {content:?}");
    }
}

#[test]
fn words_that_mark_up_tears_apart_are_whole() {
    let content =
        html("<p>Vi<b>ag</b>ra<span style='font-size:0'>x</span>! <br>a&nbsp;b</p><td>c</td><td>d<div>e");
    assert_eq!(content.text.start, "Viagra!\na b\nc d\ne");
    let content = html("f&#8203;r&shy;ee");
    assert_eq!((content.text.start.as_str(), content.markup.zero_width), ("free", 2));
}

#[test]
fn links_are_kept_with_what_is_shown_for_them() {
    let content = html(
        "<base href='http://base.example/d/'><a href='HTTP://Evil.example/%41?a&amp;b'>www.bank.example</a>\
         <a href=x.html><img src='p.png' alt='Press here' width=1 height=1></a><form action='//f.example/s'>\
         <input type=password></form><iframe src='http://i.example/'></iframe><meta http-equiv=refresh \
         content='0; url=http://r.example/'> see http://plain.example/. <a href='javascript:x()' onclick='y()'>z</a>",
    );
    let links: Vec<_> = content.links.iter().map(|l| (l.host.as_str(), l.text.as_str(), l.purpose)).collect();
    assert_eq!(
        links,
        [
            ("evil.example", "www.bank.example", Purpose::Follow),
            ("base.example", "Press here", Purpose::Follow),
            ("base.example", "", Purpose::Picture),
            ("f.example", "", Purpose::Form),
            ("i.example", "", Purpose::Load),
            ("r.example", "", Purpose::Load),
            ("plain.example", "", Purpose::Follow),
            ("", "z", Purpose::Follow),
        ]
    );
    assert_eq!(content.links[0].target, "http://evil.example/%41?a&b");
    let markup = content.markup;
    assert_eq!((markup.forms, markup.passwords, markup.scripts, markup.frames), (1, 1, 2, 1));
    assert_eq!((markup.pictures, markup.beacons), (1, 1));
}

#[test]
fn the_test_of_all_filters_is_noticed_wherever_it_is_shown() {
    let gtube = ["XJS*C4JDBQADN1.NSBN3*2IDNEN*", "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"].concat();
    assert!(of(&format!("Subject: x\r\n\r\n{gtube}\r\n")).oddities.gtube);
    assert!(html(&format!("<p>{gtube}</p>")).oddities.gtube);
    assert!(!of(&format!("Subject: x\r\n\r\n{}\r\n", &gtube[1..])).oddities.gtube);
}

#[test]
fn a_broken_boundary_hides_nothing() {
    for message in [
        "Content-Type: multipart/mixed\r\n\r\nSEEN",
        "Content-Type: multipart/mixed; boundary=x\r\n\r\nSEEN",
        "Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n\r\nSEEN",
        "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nSEEN",
        "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x and more\r\n\r\nSEEN\r\n--x-- end",
    ] {
        let content = of(message);
        assert!(content.text.start.contains("SEEN"), "{message}");
    }
    let other = of("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\na\r\n--xy\r\nb\r\n--x--\r\n");
    assert_eq!(other.text.start, "a\n--xy\nb");
    assert!(!other.oddities.boundary);
}

#[test]
fn nesting_and_crowds_stop_at_their_bounds() {
    let mut nested = String::new();
    for level in 0..5000 {
        write!(nested, "Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n").unwrap();
    }
    assert!(of(&nested).oddities.too_deep);
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(100_000);
    let content = of(&messages);
    assert!(content.oddities.too_deep && content.parts.len() <= 17);
    let crowd =
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n\r\nx\r\n".repeat(100_000));
    let content = of(&crowd);
    assert_eq!(content.parts.len(), sift::content::MAX_PARTS);
    assert!(content.oddities.left_out > 0);
    let fields = "X: y\r\n".repeat(100_000);
    let content = of(&format!("{fields}\r\nbody"));
    assert_eq!((content.fields.len(), content.text.start.as_str()), (sift::content::MAX_FIELDS, "body"));
    let addresses = format!("To: {}\r\n\r\n", "a@b.example, ".repeat(1000));
    assert_eq!(of(&addresses).to.len(), sift::content::MAX_ADDRESSES);
}

#[test]
fn each_text_keeps_to_its_bound() {
    let words = "many words ".repeat(200_000);
    let content = of(&format!("Subject: {words}\r\n\r\n{words}END"));
    assert_eq!(content.text.start.len(), sift::content::MAX_START);
    assert!(
        content.text.end.len() <= sift::content::MAX_END && content.subject.len() <= sift::content::MAX_FIELD
    );
    let content =
        html(&format!("<a href='http://a.example/{}'>{words}</a><p hidden>{words}", "x".repeat(10_000)));
    assert!(
        content.hidden.len() <= sift::content::MAX_HIDDEN
            && content.links[0].text.len() <= sift::content::MAX_LINK
    );
    assert!(sift::encoded::encode(&content).is_ok());
}
