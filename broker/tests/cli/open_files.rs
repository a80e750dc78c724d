//! A server that may open few files, and clients that would take them all.

use std::fs;
use std::net::TcpStream;

use reqwest::Client;

use crate::binary::{Server, command_with_open_files};

/// Half of what may be open.
const SERVED: usize = 64;

/// How many connections the server serves.
async fn connections(client: &Client, server: &Server) -> usize {
    let page = client.get(format!("{}/metrics", server.url())).send().await.unwrap();
    let page = page.text().await.unwrap();
    let number = page.lines().find_map(|line| line.strip_prefix("embermq_connections{} "));
    number.unwrap().parse().unwrap()
}

#[tokio::test]
async fn connections_leave_files_for_the_log_and_for_segments() {
    let folder = tempfile::tempdir().unwrap();
    let settings = "[server]\nheader_timeout = \"1h\"\n[storage]\nlog_file_bytes = \"1MiB\"\nsegment_bytes = \"1MiB\"";
    fs::write(folder.path().join("embermq.toml"), settings).unwrap();
    let server = Server::start_as(&mut command_with_open_files(folder.path(), 128));
    // All requests over one connection, which is there before the others.
    let client = Client::builder().http2_prior_knowledge().build().unwrap();
    assert_eq!(connections(&client, &server).await, 1);
    let address = server.url().strip_prefix("http://").unwrap();
    let silent: Vec<TcpStream> = (0..128).map(|_| TcpStream::connect(address).unwrap()).collect();
    while connections(&client, &server).await < SERVED {
        tokio::task::yield_now().await;
    }
    let topic = format!("{}/v1/topics/t", server.url());
    assert_eq!(client.put(&topic).send().await.unwrap().status(), 201);
    for _ in 0..24 {
        let sent = client.post(format!("{topic}/records")).body(vec![7; 400_000]).send();
        let answer = sent.await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }
    assert_eq!(connections(&client, &server).await, SERVED, "the others wait");
    drop((silent, client));
    // While this waits the client sees that it shall close its connection.
    let ended = tokio::task::spawn_blocking(|| server.terminate()).await.unwrap();
    assert_eq!(ended, Some(0));
}
