//! A message's content as it leaves: Postern's fields on top, forged ones left out, the rest byte for byte (law 6).

use std::ops::Range;

use smtp::content::DataEncoder;

/// What is added to content and left out of it.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// Whole fields with their CRLFs.
    pub added: Vec<u8>,
    /// Stretches of the content to leave out, ascending, apart.
    pub cuts: Vec<Range<u64>>,
    /// Octets of the content as it was received.
    pub length: u64,
}

impl Outgoing {
    /// Octets that go out, before the encoding of DATA.
    pub fn size(&self) -> u64 {
        let cut: u64 = self.cuts.iter().map(|cut| cut.end - cut.start).sum();
        self.added.len() as u64 + self.length - cut
    }
}

/// Writes one copy of a message for one server.
#[derive(Debug)]
pub struct ContentWriter {
    /// `None`: BDAT, which takes octets as they are.
    encoder: Option<DataEncoder>,
    /// How much of the received content is behind.
    position: u64,
    next_cut: usize,
}

impl ContentWriter {
    /// For DATA; the added fields are written at once.
    pub fn for_data(outgoing: &Outgoing, out: &mut Vec<u8>) -> Self {
        let mut encoder = DataEncoder::new();
        encoder.encode(&outgoing.added, out);
        Self { encoder: Some(encoder), position: 0, next_cut: 0 }
    }

    /// For BDAT; the added fields are written at once.
    pub fn for_chunk(outgoing: &Outgoing, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&outgoing.added);
        Self { encoder: None, position: 0, next_cut: 0 }
    }

    /// How much of the received content was given to [`write`](Self::write).
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next piece of the content as it was received.
    pub fn write(&mut self, outgoing: &Outgoing, mut piece: &[u8], out: &mut Vec<u8>) {
        while !piece.is_empty() {
            let cut = outgoing.cuts.get(self.next_cut);
            let (length, keep) = match cut {
                Some(cut) if self.position >= cut.start => (cut.end - self.position, false),
                Some(cut) => (cut.start - self.position, true),
                None => (u64::MAX, true),
            };
            let length = usize::try_from(length).unwrap_or(usize::MAX).min(piece.len());
            let (now, rest) = piece.split_at(length);
            if keep {
                self.put(now, out);
            }
            self.position += length as u64;
            if cut.is_some_and(|cut| self.position >= cut.end) {
                self.next_cut += 1;
            }
            piece = rest;
        }
    }

    fn put(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match &mut self.encoder {
            Some(encoder) => encoder.encode(bytes, out),
            None => out.extend_from_slice(bytes),
        }
    }

    /// The end of the content.
    pub fn finish(self, out: &mut Vec<u8>) {
        if let Some(encoder) = self.encoder {
            encoder.finish(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing() -> Outgoing {
        Outgoing { added: b"Received: x\r\n".to_vec(), cuts: vec![0..6, 9..12], length: 19 }
    }

    const CONTENT: &[u8] = b"X: 1\r\n.Y\nZ:2A: 3\r\n!";

    #[test]
    fn what_is_cut_does_not_depend_on_the_pieces() {
        for size in 1..=CONTENT.len() {
            let outgoing = outgoing();
            let mut out = Vec::new();
            let mut writer = ContentWriter::for_chunk(&outgoing, &mut out);
            CONTENT.chunks(size).for_each(|piece| writer.write(&outgoing, piece, &mut out));
            writer.finish(&mut out);
            assert_eq!(out, b"Received: x\r\n.Y\nA: 3\r\n!");
            assert_eq!(out.len() as u64, outgoing.size());
        }
    }

    #[test]
    fn data_is_stuffed_behind_a_cut() {
        let outgoing = Outgoing { cuts: outgoing().cuts[..1].to_vec(), ..outgoing() };
        let mut out = Vec::new();
        let mut writer = ContentWriter::for_data(&outgoing, &mut out);
        writer.write(&outgoing, CONTENT, &mut out);
        writer.finish(&mut out);
        assert_eq!(out, b"Received: x\r\n..Y\nZ:2A: 3\r\n!\r\n.\r\n");
    }
}
