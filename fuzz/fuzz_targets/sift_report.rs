//! A report on TLS or DMARC, as the attachment that it is: whatever it is, what is read of it is within its bounds. The first octet
//! says what it is called.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_fuzz::content::read_twice;
use sift::report::Report;

fuzz_target!(|input: &[u8]| {
    let Some((first, octets)) = input.split_first() else { return };
    let label = match first % 4 {
        0 => "application/tlsrpt+json",
        1 => "application/tlsrpt+gzip",
        2 => "application/gzip; name=\"a!b!1!2.xml.gz\"",
        _ => "text/xml; name=\"a!b!1!2.xml\"",
    };
    let header = format!("From: a@b.test\r\nContent-Type: {label}\r\n\r\n");
    let content = read_twice(&[header.as_bytes(), octets].concat());
    let report = content.report.expect("it is called one");
    assert!(first % 4 > 1 || !matches!(report, Report::Dmarc(_)));
});
