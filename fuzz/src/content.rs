//! What must hold of the content of any message.

use sift::encoded::{decode, encode};
use sift::{Bounds, Content, read};

/// Reads a message; what comes out is within its bounds, the same a second time, and survives the way to the gate.
pub fn read_twice(message: &[u8]) -> Content {
    let bounds = Bounds { text: 64 << 10, unpacked: 1 << 20, ..Bounds::default() };
    let content = read(message, &bounds);
    assert_eq!(read(message, &bounds), content);
    let octets = encode(&content).expect("what was read is within the bounds");
    assert_eq!(decode(&octets).as_ref(), Ok(&content));
    content
}
