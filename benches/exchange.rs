//! One request and its answer, and as little of HTTP/1.1 as the server needs.

use bytes::Bytes;

use crate::Failure;
use crate::wire::Wire;

/// Sends a request, built beforehand, and reads the body of its answer.
///
/// # Errors
/// The server refuses, or the connection ends.
pub async fn exchange(wire: &mut Wire, request: &[u8]) -> Result<Bytes, Failure> {
    wire.send(request).await?;
    let status = wire.line().await?;
    let mut length = None;
    loop {
        let line = wire.line().await?;
        if line.is_empty() {
            break;
        }
        let line = std::str::from_utf8(&line)?;
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(value.parse()?);
        }
    }
    let body = wire.bytes(length.ok_or("an answer without a length")?).await?;
    if status.starts_with(b"HTTP/1.1 2") {
        return Ok(body);
    }
    let (status, body) = (String::from_utf8_lossy(&status), String::from_utf8_lossy(&body));
    Err(format!("refused: {status} {body}").into())
}
