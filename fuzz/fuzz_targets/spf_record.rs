//! A record of SPF and what it makes of a sender: it ends, and asks no more than it may.
#![no_main]

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use evidence::spf::{MAX_LOOKUPS, MAX_NAMES, Question, Unknown, Zone, check_host};
use libfuzzer_sys::fuzz_target;

/// Every name has the record, and every answer is something.
struct Same<'a>(&'a [u8], AtomicU32);

impl Zone for Same<'_> {
    async fn txt(&self, _: &str) -> Result<Vec<Vec<u8>>, Unknown> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(vec![self.0.to_vec()])
    }

    async fn addresses(&self, name: &str, _: bool) -> Result<Vec<IpAddr>, Unknown> {
        self.1.fetch_add(1, Ordering::Relaxed);
        assert!(name.len() <= 253);
        Ok(vec![IpAddr::from([198, 51, 100, 1])])
    }

    async fn mx(&self, _: &str) -> Result<Vec<String>, Unknown> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(vec!["mx.example".into(); 3])
    }

    async fn ptr(&self, _: IpAddr) -> Result<Vec<String>, Unknown> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(vec!["client.example".into(); 20])
    }
}

fuzz_target!(|input: &[u8]| {
    let zone = Same(input, AtomicU32::new(0));
    let question = Question {
        client: IpAddr::from([192, 0, 2, 1]),
        helo: "helo.example",
        local_part: "a.b-c",
        domain: "d.example",
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(check_host(&zone, question));
    // Each term may ask for a record or for the names of an MX, and the client's own names are asked for once.
    let names = 1 + u32::try_from(MAX_NAMES).expect("ten");
    let most = (MAX_LOOKUPS + 1) * names + names;
    assert!(zone.1.into_inner() <= most);
});
