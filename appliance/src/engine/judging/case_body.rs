//! A message's octets for those who look at them.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use relay::HeldBody;

/// Octets of a message that are looked at. What is behind them is the inside of attachments that no reader of mail opens in
/// time; the virus scanner has bounds of its own.
pub(super) const MAX_LOOKED_AT: u64 = 8 << 20;

/// The beginning of a message, at most [`MAX_LOOKED_AT`] of it; without a copy where it is all in memory.
pub(super) async fn beginning(body: &HeldBody) -> io::Result<Arc<[u8]>> {
    let Some(file) = body.file.clone().filter(|_| body.stored > 0) else { return Ok(Arc::clone(&body.tail)) };
    let (stored, tail) = (body.stored, Arc::clone(&body.tail));
    let read = move || -> io::Result<Arc<[u8]>> {
        let from_file = usize::try_from(stored.min(MAX_LOOKED_AT)).unwrap_or_default();
        let mut bytes = vec![0; from_file];
        file.read_exact_at(&mut bytes, 0)?;
        let room = usize::try_from(MAX_LOOKED_AT).unwrap_or_default() - from_file;
        bytes.extend_from_slice(&tail[..tail.len().min(room)]);
        Ok(bytes.into())
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}
