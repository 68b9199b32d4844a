//! Log segments of the spool, written independently of it: the format is a promise to every earlier version's files. Tags are
//! right by construction, so that the fuzzer reaches what is behind them.

/// Octets before the first frame; the header's second copy is in the middle.
const HEADER: usize = 1024;
const FRAME_VERSION: u8 = 1;
const SALT: [u8; 16] = [7; 16];

/// A message with its first state.
pub const MESSAGE: u8 = 1;

/// A segment that grows.
pub struct Segment {
    bytes: Vec<u8>,
    key: [u8; 32],
}

impl Segment {
    /// A segment without frames.
    pub fn new(number: u64) -> Self {
        let mut copy = [b"POSTLOG1".as_slice(), &number.to_le_bytes(), &SALT].concat();
        let tag = blake3::hash(&copy);
        copy.extend_from_slice(&tag.as_bytes()[..16]);
        let mut bytes = vec![0; HEADER];
        bytes[..copy.len()].copy_from_slice(&copy);
        bytes[HEADER / 2..][..copy.len()].copy_from_slice(&copy);
        let material = [&number.to_le_bytes()[..], &SALT].concat();
        Self { bytes, key: blake3::derive_key("postern spool segment, version 1", &material) }
    }

    /// Appends a frame with right tags, whatever is in it.
    pub fn frame(&mut self, kind: u8, meta: &[u8], content: &[u8]) {
        let mut header = [b"PoFr".as_slice(), &[kind, FRAME_VERSION, 0, 0]].concat();
        header.extend_from_slice(&u32::try_from(meta.len()).unwrap_or(u32::MAX).to_le_bytes());
        header.extend_from_slice(&(content.len() as u64).to_le_bytes());
        let place = (self.bytes.len() as u64).to_le_bytes();
        let tag = blake3::keyed_hash(&self.key, &[&header[..], &place].concat());
        header.extend_from_slice(&tag.as_bytes()[..12]);
        let frame = [&header, meta, content].concat();
        let tag = blake3::keyed_hash(&self.key, &frame);
        self.bytes.extend_from_slice(&frame);
        self.bytes.extend_from_slice(&tag.as_bytes()[..16]);
    }

    /// Appends octets that are no frame.
    pub fn garbage(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The file.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// What a frame of kind [`MESSAGE`] says of a sound message for one recipient that waits in the queue.
pub fn message_meta(id: u64) -> Vec<u8> {
    let mut meta = Vec::new();
    meta.extend_from_slice(&id.to_le_bytes());
    // State: revision, folder, the recipients that remain, attempts, when it is due, last words, since when, neither held nor
    // told, no words about single recipients.
    meta.extend_from_slice(&1_u64.to_le_bytes());
    meta.push(1);
    text(&mut meta, &[1]);
    meta.extend_from_slice(&0_u32.to_le_bytes());
    time(&mut meta, 1_800_000_060);
    meta.extend_from_slice(&451_u16.to_le_bytes());
    meta.extend_from_slice(&[4, 4, 0, 1, 0]);
    text(&mut meta, b"later");
    time(&mut meta, 1_800_000_000);
    meta.push(0);
    meta.extend_from_slice(&0_u32.to_le_bytes());
    // Session, transaction, when it came, the backend, the client, the envelope.
    meta.extend_from_slice(&5_u64.to_le_bytes());
    meta.extend_from_slice(&1_u32.to_le_bytes());
    time(&mut meta, 1_800_000_000);
    text(&mut meta, b"backend");
    text(&mut meta, b"192.0.2.1:25");
    text(&mut meta, b"client.example");
    text(&mut meta, b"ESMTP");
    // Neither authenticated nor by TLS.
    meta.extend_from_slice(&[0, 0]);
    text(&mut meta, b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n");
    meta
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(text);
}

fn time(out: &mut Vec<u8>, seconds: u64) {
    out.extend_from_slice(&seconds.to_le_bytes());
    out.extend_from_slice(&0_u32.to_le_bytes());
}
