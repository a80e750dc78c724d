//! The end of what a command says, while all of it is passed on.

use tokio::io::{AsyncRead, AsyncReadExt};

use super::aside::Aside;

/// How much of it is kept, in bytes.
const KEPT_BYTES: usize = 1 << 10;

/// Passes everything on that is read in time, and keeps the end of it.
pub(super) async fn pass_on(
    mut from: impl AsyncRead + Unpin,
    to: &Aside,
    kept: &mut Vec<u8>,
) -> std::io::Result<()> {
    let mut chunk = [0; 4_096];
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        kept.extend_from_slice(&chunk[..read]);
        let over = kept.len().saturating_sub(KEPT_BYTES);
        kept.drain(..over);
        to.pass_on(&chunk[..read]).await;
    }
}

/// As text, from the first whole character on.
pub(super) fn text(bytes: &[u8]) -> String {
    let is_inside = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
    let cut = bytes.iter().take(3).take_while(|byte| is_inside(byte)).count();
    String::from_utf8_lossy(&bytes[cut..]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_is_kept_and_all_is_passed_on() {
        let said = format!("{}no such picture: caf\u{e9}\n", "\u{e9}".repeat(3_000));
        let (read, write) = std::io::pipe().unwrap();
        let (aside, written) = Aside::to(write);
        let mut kept = Vec::new();
        pass_on(said.as_bytes(), &aside, &mut kept).await.unwrap();
        drop(aside);
        assert!(written.in_time());
        assert_eq!(std::io::read_to_string(read).unwrap(), said);
        let kept = text(&kept);
        assert!(kept.ends_with("no such picture: caf\u{e9}"), "{kept}");
        assert!(kept.starts_with('\u{e9}') && kept.len() <= KEPT_BYTES, "{}", kept.len());
        assert_eq!(text(b""), "");
    }
}
