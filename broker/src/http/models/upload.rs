//! A model's file on its way to the disk: as long as it likes, never in memory as a whole.

use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use embermq_protocol::code::Code;
use futures::StreamExt as _;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use crate::http::failure::Failure;

/// The largest file.
const BYTES_MAX: u64 = 8 << 30;

/// Writes a body to a file. One that pauses longer than `idle` is given up.
pub(super) async fn receive(body: Body, to: &Path, idle: Duration) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let code = match error.kind() {
            std::io::ErrorKind::StorageFull => Code::StorageFull,
            _ => Code::Internal,
        };
        Failure::new(code, format!("the model cannot be written: {error}; nothing was registered"))
    };
    let mut file = File::create(to).await.map_err(failed)?;
    let mut frames = body.into_data_stream();
    let mut bytes = 0_u64;
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
        file.write_all(&frame).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)
}
