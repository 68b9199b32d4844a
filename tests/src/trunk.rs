//! A cable that carries a VLAN (IEEE 802.1Q): what comes from a machine on it has a tag, and what comes without the right one gets
//! nowhere. The kernel of this machine need not know of VLANs: the frames pass through here.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::ports;

/// The longest frame that an emulated interface sends, and some room.
const MAX_FRAME: usize = 65_536;
/// How long it may take to notice that the cable is pulled.
const LOOK: Duration = Duration::from_millis(100);
/// Two hardware addresses come before the tag.
const ADDRESSES: usize = 12;
const TAG_TYPE: [u8; 2] = [0x81, 0x00];

/// One end is the interface of a machine, the other a network without tags. Dropping it pulls the cable.
#[derive(Debug)]
pub struct Trunk {
    /// Where the network without tags is to send what it has for the machine, and to expect what the machine has for it.
    pub plain: End,
    /// The same for the machine's interface.
    pub tagged: End,
    pulled: Arc<AtomicBool>,
    movers: Vec<JoinHandle<()>>,
}

/// Where an emulated network sends its frames, one in a datagram, and where it gets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// To this address.
    pub sends: SocketAddr,
    /// At this one.
    pub listens: SocketAddr,
}

impl Trunk {
    /// Plugged in at neither end yet. `tag` is the VLAN's number, 1 to 4094.
    ///
    /// # Panics
    ///
    /// If there are no sockets.
    pub fn new(tag: u16) -> Self {
        let socket = || UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let (plain, tagged) = (Arc::new(socket()), Arc::new(socket()));
        let end = |socket: &UdpSocket| End {
            sends: socket.local_addr().expect("an address"),
            listens: ports::free(),
        };
        let (plain_end, tagged_end) = (end(&plain), end(&tagged));
        let pulled = Arc::new(AtomicBool::new(false));
        let mover = |from: &Arc<UdpSocket>, by: &Arc<UdpSocket>, to, change: Change| {
            let (from, by, pulled) = (Arc::clone(from), Arc::clone(by), Arc::clone(&pulled));
            thread::spawn(move || carry(&from, &by, to, |frame| change(frame, tag), &pulled))
        };
        let movers = vec![
            mover(&plain, &tagged, tagged_end.listens, with_tag),
            mover(&tagged, &plain, plain_end.listens, without_tag),
        ];
        Self { plain: plain_end, tagged: tagged_end, pulled, movers }
    }
}

impl Drop for Trunk {
    fn drop(&mut self) {
        self.pulled.store(true, Ordering::Relaxed);
        self.movers.drain(..).for_each(|mover| drop(mover.join()));
    }
}

type Change = fn(&[u8], u16) -> Option<Vec<u8>>;

fn carry(
    from: &UdpSocket,
    by: &UdpSocket,
    to: SocketAddr,
    change: impl Fn(&[u8]) -> Option<Vec<u8>>,
    pulled: &AtomicBool,
) {
    from.set_read_timeout(Some(LOOK)).expect("a timeout");
    let mut frame = vec![0; MAX_FRAME];
    while !pulled.load(Ordering::Relaxed) {
        match from.recv(&mut frame) {
            Ok(length) => {
                // The machine may be off.
                let _ = change(&frame[..length]).map(|changed| by.send_to(&changed, to));
            }
            // Nothing came, or nobody listened where the last one went.
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused
                ),
                "a socket: {error}"
            ),
        }
    }
}

fn with_tag(frame: &[u8], tag: u16) -> Option<Vec<u8>> {
    let (addresses, rest) = frame.split_at_checked(ADDRESSES)?;
    Some([addresses, &TAG_TYPE, &tag.to_be_bytes(), rest].concat())
}

fn without_tag(frame: &[u8], tag: u16) -> Option<Vec<u8>> {
    let (addresses, rest) = frame.split_at_checked(ADDRESSES)?;
    let rest = rest.strip_prefix(&TAG_TYPE)?;
    let (found, rest) = rest.split_first_chunk::<2>()?;
    // The upper four bits are its priority.
    (u16::from_be_bytes(*found) & 0x0fff == tag).then(|| [addresses, rest].concat())
}
