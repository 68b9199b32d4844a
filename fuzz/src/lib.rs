//! What the fuzz targets share: bytes that come in pieces, as a socket hands them on, and [`segment`]s of the spool.
//!
//! Each target in `fuzz_targets/` is one parser of hostile bytes, compared with a model that is written down as naively as
//! possible, or with itself: in other pieces, or after writing and reading again. `corpus/TARGET` holds a handful of
//! small inputs to begin from, and every input that once found a fault.
//!
//! All of them run in `tests/run --only fuzz`; one by hand: `RUSTC_BOOTSTRAP=1 cargo fuzz run TARGET`.

pub mod content;
pub mod segment;

/// Octets at the head of an input that say how the rest is cut.
const SIZES: usize = 4;

/// Bytes, and the pieces in which they arrive.
#[derive(Clone, Copy, Debug)]
pub struct Pieces<'a> {
    sizes: [u8; SIZES],
    bytes: &'a [u8],
}

impl<'a> Pieces<'a> {
    /// The first four octets of the fuzzer's input are the sizes of the pieces, used in turn: 1 to 255, or 0 for all that is
    /// left. `None` where they are not there.
    pub fn new(input: &'a [u8]) -> Option<Self> {
        let (sizes, bytes) = input.split_first_chunk()?;
        Some(Self { sizes: *sizes, bytes })
    }

    /// `bytes` one by one.
    pub fn single(bytes: &'a [u8]) -> Self {
        Self { sizes: [1; SIZES], bytes }
    }

    /// `bytes` at once.
    pub fn whole(bytes: &'a [u8]) -> Self {
        Self { sizes: [0; SIZES], bytes }
    }

    /// Other bytes, cut in the same way.
    #[must_use]
    pub fn of<'b>(&self, bytes: &'b [u8]) -> Pieces<'b> {
        Pieces { sizes: self.sizes, bytes }
    }

    /// All the bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The pieces, none of them empty.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (sizes, mut rest) = (self.sizes, self.bytes);
        sizes.into_iter().cycle().map_while(move |size| {
            let length = if size == 0 { rest.len() } else { rest.len().min(usize::from(size)) };
            let (piece, after) = rest.split_at(length);
            rest = after;
            (!piece.is_empty()).then_some(piece)
        })
    }
}

/// What `line` holds before its CRLF, which must be its only line end.
///
/// # Panics
///
/// It does not end in CRLF, or has a CR, an LF or a NUL before: who writes such a line lets somebody else write the next.
pub fn only_line(line: &[u8]) -> &[u8] {
    let Some(text) = line.strip_suffix(b"\r\n") else { panic!("no end: {}", line.escape_ascii()) };
    assert!(memchr::memchr3(b'\r', b'\n', 0, text).is_none(), "more than a line: {}", line.escape_ascii());
    text
}
