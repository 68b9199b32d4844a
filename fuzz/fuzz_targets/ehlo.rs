//! A server's EHLO reply (RFC 5321 §4.1.1.1): what is offered on to the client reads back the same, and holds nothing that
//! Postern does not know.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtp::reply::{MAX_REPLY_LINE, ReplyReader};
use smtp::{Capabilities, Reply, ReplyCode};

fuzz_target!(|text: &[u8]| {
    let Some(code) = ReplyCode::new(250) else { return };
    let capabilities = Capabilities::from_ehlo(&Reply::new(code, None, text));
    let offer = capabilities.to_ehlo_reply("mx.example");
    assert_eq!(offer.lines().count(), 1 + capabilities.keywords().count());

    // Which attributes of XCLIENT and XFORWARD a server takes is nothing to offer on.
    let mut offered = capabilities.clone();
    offered.xclient.clear();
    offered.xforward.clear();
    let mut wire = Vec::new();
    offer.write(&mut wire);
    if wire.split(|&b| b == b'\n').all(|line| line.len() <= MAX_REPLY_LINE) {
        let read = ReplyReader::new().read(&mut &wire[..]);
        assert_eq!(read, Ok(Some(offer)));
        assert_eq!(read.ok().flatten().map(|reply| Capabilities::from_ehlo(&reply)), Some(offered));
    }

    let relayable = capabilities.relayable_mechanisms();
    assert!(relayable.iter().all(|m| capabilities.mechanisms.contains(m) && !m.ends_with("-PLUS")));
});
