//! A model's file on its way to the disk: as long as it likes, never in memory as a whole, and never so large that records have no room.

use std::path::Path;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use embermq_protocol::code::Code;
use futures::StreamExt as _;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use crate::http::failure::Failure;

/// The largest file.
const BYTES_MAX: u64 = 8 << 30;

/// What a model leaves of the disk to records: some files of the commit log.
const FREE_BYTES_MIN: u64 = 256 << 20;
/// So many bytes are taken between two looks at what is free.
const STEP_BYTES: u64 = 8 << 20;

/// Refuses a file of which so many bytes are there, if there is no room for it to be unpacked beside itself.
fn check_room(bytes: u64, free_bytes: u64) -> Result<(), Failure> {
    if free_bytes >= bytes.saturating_add(FREE_BYTES_MIN) {
        return Ok(());
    }
    let detail = format!(
        "the disk has {free_bytes} bytes free: a model takes twice the bytes of its file while it is registered ({bytes} so far), and \
         {FREE_BYTES_MIN} are left to records; free some space. Nothing was registered"
    );
    Err(Failure::new(Code::StorageFull, detail).with("free_bytes", free_bytes))
}

/// Writes a body to a file. One that pauses longer than `idle` is given up, and so is one that takes too much of what `free_bytes` says.
pub(super) async fn receive(
    body: Body,
    to: &Path,
    idle: Duration,
    free_bytes: impl Fn() -> u64,
) -> Result<(), Failure> {
    check_room(body.size_hint().lower().min(BYTES_MAX) * 2, free_bytes())?;
    let failed = |error: std::io::Error| {
        let code = match error.kind() {
            std::io::ErrorKind::StorageFull => Code::StorageFull,
            _ => Code::Internal,
        };
        Failure::new(code, format!("the model cannot be written: {error}; nothing was registered"))
    };
    let mut file = File::create(to).await.map_err(failed)?;
    let mut frames = body.into_data_stream();
    let (mut bytes, mut looked) = (0_u64, 0);
    loop {
        let next = tokio::time::timeout(idle, frames.next()).await.map_err(|_| {
            let detail =
                format!("nothing came for {idle:?}, after {bytes} bytes; nothing was registered");
            Failure::new(Code::RequestTimeout, detail)
        })?;
        let Some(frame) = next else { break };
        let frame = frame.map_err(|error| {
            Failure::malformed(format!(
                "the body ended before it was complete, after {bytes} bytes ({error}); nothing was registered"
            ))
        })?;
        bytes += frame.len() as u64;
        if bytes > BYTES_MAX {
            let detail = format!("the body has more than {BYTES_MAX} bytes, the limit of a model");
            return Err(Failure::new(Code::BodyTooLarge, detail).with("limit_bytes", BYTES_MAX));
        }
        if bytes - looked >= STEP_BYTES {
            looked = bytes;
            check_room(bytes, free_bytes())?;
        }
        file.write_all(&frame).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_model_leaves_room_for_records() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("sent");
        let idle = Duration::from_secs(30);
        let body = || Body::from(vec![7; 1 << 20]);
        receive(body(), &to, idle, || FREE_BYTES_MIN + (2 << 20)).await.unwrap();
        assert_eq!(std::fs::metadata(&to).unwrap().len(), 1 << 20);
        let refused = receive(body(), &to, idle, || FREE_BYTES_MIN + 1).await.unwrap_err();
        assert!(format!("{refused:?}").contains("a model takes twice the bytes"), "{refused:?}");
        // One that does not say how long it is.
        let frames = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![7; 1 << 20]));
        let refused = receive(Body::from_stream(frames), &to, idle, || FREE_BYTES_MIN + 1);
        assert!(format!("{:?}", refused.await.unwrap_err()).contains("8388608 so far"));
    }
}
