//! The spool's recovery, given arbitrary records: it ends, it says the same at the next start, and nothing that is damaged or
//! makes no sense costs the sound message behind it (law 1).
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use postern_fuzz::segment::{MESSAGE, Segment, message_meta};
use record::Clock;
use spool::{Disk, EntryId, Settings, SimulatedDisk, Spool};
use tokio::runtime::{Builder, Runtime};

/// The number of the sound message. An input that names it may well end it, and is left out.
const SOUND: u64 = 0x5EED_F00D_CAFE_D00D;
const CONTENT: &[u8] = b"Subject: sound\r\n\r\ntext\r\n";
/// Beyond this the input is no longer looked at.
const MAX_RECORDS: usize = 32;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| match Builder::new_current_thread().build() {
    Ok(runtime) => runtime,
    Err(error) => panic!("no runtime: {error}"),
});

/// The clock stands still.
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Duration {
        Duration::from_secs(1_800_000_000)
    }
}

fuzz_target!(|input: &[u8]| {
    if memchr::memmem::find(input, &SOUND.to_le_bytes()).is_some() {
        return;
    }
    let disk = SimulatedDisk::new(0);
    let [mut own, mut segment] = [Segment::new(3), Segment::new(1)];
    let mut rest = input;
    for _ in 0..MAX_RECORDS {
        let Some((record, after)) = take_record(rest) else { break };
        record.write(if record.own { &mut own } else { &mut segment });
        rest = after;
    }
    segment.garbage(rest);
    segment.frame(MESSAGE, &message_meta(SOUND), CONTENT);
    disk.plant("log/0000000000000001.log", segment.into_bytes());
    disk.plant("log/0000000000000002.log", input.to_vec());
    disk.plant("own/0000000000000007.msg", own.into_bytes());
    check(&Arc::new(disk));
});

fn check(disk: &Arc<SimulatedDisk>) {
    let first = open(disk);
    let found = first.entries();
    let opened = RUNTIME.block_on(read_sound(&first));
    assert_eq!(opened, CONTENT, "the sound message");
    for summary in &found {
        // Damaged ones are set aside and taken out; both are an answer.
        let _ = RUNTIME.block_on(first.open_entry(summary.id));
    }
    let left = first.entries();
    drop(first);
    assert_eq!(open(disk).entries(), left, "at the next start");
}

fn open(disk: &Arc<SimulatedDisk>) -> Spool {
    let disk: Arc<dyn Disk> = Arc::<SimulatedDisk>::clone(disk);
    match Spool::open(Settings::default(), disk, Arc::new(Noon)) {
        Ok(spool) => spool,
        Err(error) => panic!("damage must not keep the spool from opening: {error}"),
    }
}

async fn read_sound(spool: &Spool) -> Vec<u8> {
    let mut opened = match spool.open_entry(EntryId::from_bits(SOUND)).await {
        Ok(opened) => opened,
        Err(error) => panic!("the sound message: {error}"),
    };
    let mut content = Vec::new();
    while let Ok(Some(piece)) = opened.content.next().await {
        content.extend_from_slice(&piece);
    }
    content
}

/// What the fuzzer's input says is to be written.
struct Record<'a> {
    /// Into a message's own file, not the log.
    own: bool,
    sealed: bool,
    kind: u8,
    meta: &'a [u8],
    content: &'a [u8],
}

/// One octet of switches and kind, the meta's length in 16 bits, the content's in 8, then both.
fn take_record(input: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (&[kind, low, high, content], rest) = input.split_first_chunk()?;
    let (meta, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([low, high])))?;
    let (content, rest) = rest.split_at_checked(content.into())?;
    let record = Record { own: kind & 0x80 != 0, sealed: kind & 0x40 == 0, kind: kind & 0x0F, meta, content };
    Some((record, rest))
}

impl Record<'_> {
    fn write(&self, segment: &mut Segment) {
        if self.sealed {
            segment.frame(self.kind, self.meta, self.content);
        } else {
            segment.garbage(self.meta);
        }
    }
}
