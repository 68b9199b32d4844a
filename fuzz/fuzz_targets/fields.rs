//! A header section on its way through: what is found does not depend on the pieces, what is cut is whole fields, and a forged
//! verdict never stays.
#![no_main]

use std::ops::Range;

use libfuzzer_sys::fuzz_target;
use postern_fuzz::Pieces;
use smtp::fields::{FieldScanner, Fields};

/// How much of a field is looked at.
const LOOKED_AT: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let Some(pieces) = Pieces::new(input) else { return };
    let content = pieces.bytes();
    let fields = scan(pieces);
    assert_eq!(fields, scan(Pieces::whole(content)));
    assert_eq!(fields, scan(Pieces::single(content)));
    let cuts: Vec<_> = fields.cuts.iter().map(|cut| place(cut.start)..place(cut.end)).collect();
    check_places(&cuts, content);
    check_model(&fields, &cuts, content);
    if !fields.too_many_cuts {
        let kept = without(&cuts, content);
        assert_eq!(scan(Pieces::whole(&kept)).cuts, [], "nothing is left to cut");
    }
});

fn scan(pieces: Pieces<'_>) -> Fields {
    let mut scanner = FieldScanner::new("mx.example");
    pieces.iter().for_each(|piece| scanner.scan(piece));
    scanner.finish()
}

fn place(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// Ascending, apart, in the content, and of whole lines.
fn check_places(cuts: &[Range<usize>], content: &[u8]) {
    let line_start = |at: usize| at == 0 || content[at - 1] == b'\n';
    for cut in cuts {
        assert!(cut.start < cut.end && cut.end <= content.len());
        assert!(line_start(cut.start) && (line_start(cut.end) || cut.end == content.len()));
    }
    assert!(cuts.windows(2).all(|pair| pair[0].end <= pair[1].start));
}

fn without(cuts: &[Range<usize>], content: &[u8]) -> Vec<u8> {
    let mut kept = content.to_vec();
    for cut in cuts.iter().rev() {
        kept.drain(cut.clone());
    }
    kept
}

fn check_model(fields: &Fields, cuts: &[Range<usize>], content: &[u8]) {
    let mut received = 0;
    for (name, range) in model(content) {
        received += u32::from(name == b"received");
        let forged = name.starts_with(b"x-postern-");
        assert!(!forged || fields.too_many_cuts || cuts.contains(&range), "{range:?} stays");
    }
    assert_eq!(fields.received, received);
}

/// The fields of the section: name in lower case, and where it stands.
fn model(content: &[u8]) -> Vec<(Vec<u8>, Range<usize>)> {
    let mut found: Vec<(Vec<u8>, Range<usize>)> = Vec::new();
    let mut at = 0;
    for line in content.split_inclusive(|&b| b == b'\n') {
        let end = at + line.len();
        let last = found.last_mut().filter(|_| line.starts_with(b" ") || line.starts_with(b"\t"));
        if let Some((_, range)) = last {
            range.end = end;
        } else {
            let seen = &line[..line.len().min(LOOKED_AT)];
            let Some(colon) = seen.iter().position(|&b| b == b':') else { break };
            let name = seen[..colon].trim_ascii_end();
            if name.is_empty() || name.iter().any(|b| !(33..=126).contains(b)) {
                break;
            }
            found.push((name.to_ascii_lowercase(), at..end));
        }
        at = end;
    }
    found
}
