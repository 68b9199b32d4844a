//! What `evidence` gives to mail-auth: a message, and TXT records of anybody's domain. Whatever they hold, they are read or
//! refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::dmarc::Dmarc;
use mail_auth::spf::Spf;
use mail_auth::{AuthenticatedMessage, spf::Macro};

fuzz_target!(|input: &[u8]| {
    let _ = AuthenticatedMessage::parse(input);
    let _ = Spf::parse(input);
    let _ = Macro::parse(input);
    let _ = DomainKey::parse(input);
    let _ = Dmarc::parse(input);
});
