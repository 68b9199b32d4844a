//! A name server for one suite's records: TXT over UDP, and nothing else is there.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Texts by name, in lower case.
pub(crate) type Texts = HashMap<String, String>;

/// Serves until it is dropped.
pub(crate) struct NameServer {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
}

impl NameServer {
    pub(crate) fn start(texts: Texts) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        let address = socket.local_addr().expect("an address");
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        std::thread::spawn(move || {
            let mut question = [0; 4096];
            while !ended.load(Ordering::Relaxed) {
                if let Ok((length, client)) = socket.recv_from(&mut question)
                    && let Some(answer) = answer(&question[..length], &texts)
                {
                    let _ = socket.send_to(&answer, client);
                }
            }
        });
        Self { address, ends }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

/// RFC 1035 §4: the question comes back, and behind it a TXT record where there is one.
fn answer(question: &[u8], texts: &Texts) -> Option<Vec<u8>> {
    let (mut name, mut at) = (String::new(), 12);
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        name.push_str(std::str::from_utf8(question.get(at..at + length)?).ok()?);
        name.push('.');
        at += length;
    }
    let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let text = texts.get(&name.trim_end_matches('.').to_lowercase());
    let is_there = kind == 16 && text.is_some();
    let mut out = question.get(..2)?.to_vec();
    // An authoritative answer; a name without records is no name (NXDOMAIN).
    out.extend([0x85, if text.is_some() { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(is_there), 0, 0, 0, 0]);
    out.extend(question.get(12..at + 4)?);
    if let Some(text) = text.filter(|_| is_there) {
        let strings: Vec<u8> = text
            .as_bytes()
            .chunks(255)
            .flat_map(|part| {
                std::iter::once(u8::try_from(part.len()).unwrap_or(255)).chain(part.iter().copied())
            })
            .collect();
        out.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60]);
        out.extend(u16::try_from(strings.len()).ok()?.to_be_bytes());
        out.extend(strings);
    }
    Some(out)
}
