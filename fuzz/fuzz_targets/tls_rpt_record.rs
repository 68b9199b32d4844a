//! The texts at `_smtp._tls.DOMAIN`: whatever they are, what is read of them can be put into an envelope, a field and a request as it is.
#![no_main]

use evidence::wanted::Wanted;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    let Some(wanted) = Wanted::read(text.split('\n')) else { return };
    assert!(!wanted.addresses.is_empty() || !wanted.sites.is_empty());
    assert!(wanted.addresses.len() + wanted.sites.len() <= 5);
    for address in &wanted.addresses {
        assert!(address.contains('@') && !address.contains(['\r', '\n']), "{address:?}");
        address.parse::<smtp::Mailbox>().expect("it was one");
    }
    assert!(
        wanted
            .sites
            .iter()
            .all(|site| site.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:")))
    );
});
