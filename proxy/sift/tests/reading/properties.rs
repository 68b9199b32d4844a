//! What holds of every message: what was put in comes out, and no octets make a reader fail.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::collection::vec;
use proptest::prelude::*;

use sift::encoded::{decode, encode};
use sift::{Bounds, Content, read};

fn content(message: &[u8]) -> Content {
    read(message, &Bounds::default())
}

/// Words of text, as a reader would see them.
fn words() -> impl Strategy<Value = String> {
    vec("[a-zà-üа-я0-9,.!]{1,12}", 1..40).prop_map(|words| words.join(" "))
}

fn quoted(text: &str) -> String {
    text.bytes()
        .map(
            |octet| {
                if octet.is_ascii_lowercase() {
                    char::from(octet).to_string()
                } else {
                    format!("={octet:02X}")
                }
            },
        )
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn text_comes_out_of_each_encoding_as_it_went_in(text in words(), width in 1_usize..80) {
        let lines = |encoded: &str, end: &str| {
            let letters: Vec<char> = encoded.chars().collect();
            letters.chunks(width * 4).map(|line| line.iter().collect::<String>() + end).collect::<String>()
        };
        let base64 = lines(&STANDARD.encode(&text), "\r\n");
        // An escape has three letters.
        let soft: String = quoted(&text).replace('=', "=\r\n=");
        for (encoding, body) in [("base64", base64), ("quoted-printable", soft), ("8bit", text.clone())] {
            let message = format!(
                "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}"
            );
            let content = content(message.as_bytes());
            prop_assert_eq!(&content.text.start, &text);
            prop_assert!(!content.oddities.encoding && !content.oddities.charset);
        }
    }

    #[test]
    fn all_parts_are_found_in_their_order(texts in vec(words(), 1..10), newline in prop_oneof![Just("\n"), Just("\r\n")]) {
        let parts: String = texts.iter().map(|text| format!("--=b{newline}{newline}{text}{newline}")).collect();
        let message = format!("Content-Type: multipart/mixed;{newline} boundary=\"=b\"{newline}{newline}{parts}--=b--{newline}");
        let content = content(message.as_bytes());
        prop_assert_eq!(content.text.start, texts.join("\n"));
        prop_assert_eq!(content.parts.len(), texts.len() + 1);
        prop_assert!(!content.oddities.boundary);
    }

    #[test]
    fn hidden_and_shown_text_add_up(shown in words(), hidden in words()) {
        let escaped = |text: &str| text.replace('.', "&#46;");
        let page = format!("<div>{}</div><div style='display:none'>{}</div>", escaped(&shown), escaped(&hidden));
        let content = content(format!("Content-Type: text/html; charset=utf-8\r\n\r\n{page}").as_bytes());
        prop_assert_eq!(content.text.start, shown);
        prop_assert_eq!(content.hidden, hidden);
    }

    #[test]
    fn any_octets_have_a_content_that_travels(octets in vec(any::<u8>(), 0..2000), html in any::<bool>()) {
        let header: &[u8] = if html { b"Content-Type: text/html\r\n\r\n" } else { b"" };
        let content = content(&[header, &octets].concat());
        prop_assert_eq!(decode(&encode(&content).unwrap()), Ok(content));
    }
}
