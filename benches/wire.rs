//! A connection of which lines and bytes are read: all that HTTP/1.1, RESP and the protocol of NATS need.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Failure;

/// Room for what one read may bring.
const READ_BYTES: usize = 64 << 10;

/// A connection, and what was read ahead of what was asked for.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    held: BytesMut,
}

impl Wire {
    /// Connects, and sends small things at once.
    ///
    /// # Errors
    /// What the system says.
    pub async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, held: BytesMut::new() })
    }

    /// Tells one connection from another.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_port(&self) -> Result<u16, Failure> {
        Ok(self.stream.local_addr()?.port())
    }

    /// Sends all of it.
    ///
    /// # Errors
    /// What the system says.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// The next line, without its end.
    ///
    /// # Errors
    /// What the system says, or the connection ended.
    pub async fn line(&mut self) -> Result<Bytes, Failure> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.held[searched..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.held.split_to(searched + at + 1).freeze();
                line.truncate(line.trim_ascii_end().len());
                return Ok(line);
            }
            searched = self.held.len();
            self.read().await?;
        }
    }

    /// The next bytes.
    ///
    /// # Errors
    /// What the system says, or the connection ended.
    pub async fn bytes(&mut self, count: usize) -> Result<Bytes, Failure> {
        while self.held.len() < count {
            self.read().await?;
        }
        Ok(self.held.split_to(count).freeze())
    }

    async fn read(&mut self) -> Result<(), Failure> {
        self.held.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.held).await? {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }
}
