//! The demo's name server: it knows no name, and says so at once. A laptop may have no DNS, and the samples' senders are in none.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// A question over UDP without extensions is not longer (RFC 1035 §2.3.4); with EDNS it stays far below.
const MAX_QUESTION: usize = 1232;
/// Octets of a message's header.
const HEADER: usize = 12;

/// Starts it on a free port of this machine.
pub(super) async fn start() -> std::io::Result<(JoinHandle<()>, SocketAddr)> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = socket.local_addr()?;
    let serving = tokio::spawn(async move {
        let mut question = [0; MAX_QUESTION];
        // A client that is gone by now makes the next call fail, which says nothing of the others.
        loop {
            let Ok((length, client)) = socket.recv_from(&mut question).await else { continue };
            if let Some(answer) = answer(&question[..length]) {
                let _ = socket.send_to(&answer, client).await;
            }
        }
    });
    Ok((serving, address))
}

/// There is no such name: the question, as it was asked, and nothing else.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let header = question.first_chunk::<HEADER>()?;
    let end = HEADER + end_of_name(&question[HEADER..])? + 4;
    let mut answer = question.get(..end)?.to_vec();
    // QR, AA, and RD as it was; RA and NXDOMAIN (RFC 1035 §4.1.1).
    answer[2] = 0x84 | (header[2] & 0x01);
    answer[3] = 0x83;
    answer[4..HEADER].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    Some(answer)
}

/// Behind the empty label.
fn end_of_name(labels: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match usize::from(*labels.get(at)?) {
            0 => return Some(at + 1),
            length @ 1..=63 => at += length + 1,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_gets_its_own_no() {
        let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x01x\x07example\x00\x00\x10\x00\x01\x00\x00\x29";
        let answer = answer(question).unwrap();
        assert_eq!(answer[..4], [0x12, 0x34, 0x85, 0x83]);
        assert_eq!(answer[4..], *b"\x00\x01\x00\x00\x00\x00\x00\x00\x01x\x07example\x00\x00\x10\x00\x01");
        for odd in [
            &question[..5],
            &question[..15],
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\xc0\x0c\x00\x01\x00\x01",
        ] {
            assert_eq!(super::answer(odd), None, "{odd:?}");
        }
    }
}
