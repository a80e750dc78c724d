//! A line that breaks: connections go through to a server until a random number of bytes went one way or the other.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, copy},
    net::{TcpListener, TcpStream},
};

/// Starts the proxy and gives its URL.
pub(crate) async fn cutting_proxy(server: SocketAddr, seed: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut random = fastrand::Rng::with_seed(seed);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (up, down) = (random.u64(400..12_000), random.u64(1..1_500));
            tokio::spawn(pass(client, server, up, down));
        }
    });
    url
}

async fn pass(mut client: TcpStream, server: SocketAddr, up: u64, down: u64) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (from_client, mut to_client) = client.split();
    let (from_server, mut to_server) = server.split();
    let (mut up, mut down) = (from_client.take(up), from_server.take(down));
    // Whichever side ends first ends both.
    let _either = tokio::select! {
        sent = copy(&mut up, &mut to_server) => sent,
        received = copy(&mut down, &mut to_client) => received,
    };
}
