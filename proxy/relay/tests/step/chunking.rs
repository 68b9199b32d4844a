//! However a session is cut into pieces, client and servers get the same bytes.

use super::harness::{MODERN, OLD, Play};
use super::server::yes;

const SESSION: &str = "EHLO client.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\n\
    RCPT TO:<b@two.example>\r\nRCPT TO:<c@nowhere.example>\r\nDATA\r\nX-Postern-Verdict: forged\r\n\
    Subject: x\r\n\r\n..\r\n..QUIT\r\n.\r\nMAIL FROM:<b@x.example>\r\nRCPT TO:<a@one.example>\r\nBDAT 7\r\n\r\n.\r\n\
    .QBDAT 2 LAST\r\n\r\nNOOP\r\nDATA\r\nMAIL FROM:<c@x.example>\r\nRCPT TO:<a@two.example>\r\nDATA\r\nbare\nfeed\r\n.\r\n\
    QUIT\r\n";

fn outcome(extensions: &'static [&'static str], client: usize, server: usize) -> (Vec<u8>, Vec<String>) {
    let mut play = Play::with_voice(extensions, yes);
    play.pieces = (client, server);
    play.client(SESSION);
    assert!(play.is_finished);
    let mut taken: Vec<String> = play
        .taken()
        .iter()
        .map(|taken| format!("{} {:?} {}", taken.backend, taken.recipients, taken.content.escape_ascii()))
        .collect();
    // Two servers answer in any order.
    taken.sort();
    (std::mem::take(&mut play.said), taken)
}

#[test]
fn every_chunking_gives_the_same_bytes_to_client_and_servers() {
    for extensions in [MODERN, OLD] {
        let whole = outcome(extensions, usize::MAX, usize::MAX);
        assert_eq!(whole.1.len(), 3, "{:?}", whole.1);
        for client in 1..SESSION.len() {
            let server = if client % 3 == 0 { 1 } else { usize::MAX };
            assert!(outcome(extensions, client, server) == whole, "pieces of {client}");
        }
        for server in 1..80 {
            assert!(outcome(extensions, usize::MAX, server) == whole, "the servers' pieces of {server}");
        }
    }
}
