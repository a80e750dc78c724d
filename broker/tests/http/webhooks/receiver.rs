//! Somebody who is called back: answers as it is told to, and shows what it was sent.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use parking_lot::Mutex;
use ring::hmac;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What it answers.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Status(u16, &'static [(&'static str, &'static str)], &'static str),
    /// Never.
    Silence,
    /// A body that begins and never ends.
    Stall(u16),
}

pub(super) const fn status(status: u16) -> Reply {
    Reply::Status(status, &[], "")
}

/// What it was sent.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Taken {
    pub(super) fn header(&self, name: &str) -> String {
        let value = self.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        value.unwrap_or_default()
    }

    pub(super) fn id(&self) -> String {
        self.header("webhook-id")
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Whether one of its signatures is that of a secret, by the specification alone.
    pub(super) fn is_signed_with(&self, secret: &str) -> bool {
        let secret = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let head = format!("{}.{}.", self.id(), self.header("webhook-timestamp"));
        let content = [head.as_bytes(), &self.body].concat();
        self.header("webhook-signature").split(' ').any(|signature| {
            let tag = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
            hmac::verify(&key, &content, &tag).is_ok()
        })
    }
}

/// A receiver.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    taken: mpsc::UnboundedReceiver<Taken>,
}

struct Shared {
    /// Answers to come; behind them all is well.
    script: Mutex<VecDeque<Reply>>,
    tell: mpsc::UnboundedSender<Taken>,
}

impl Receiver {
    pub(super) async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (router, shared, taken) = Self::router(script);
        tokio::spawn(async move { axum_serve(listener, router).await });
        Self { address, shared, taken }
    }

    fn router(
        script: impl IntoIterator<Item = Reply>,
    ) -> (Router, Arc<Shared>, mpsc::UnboundedReceiver<Taken>) {
        let (tell, taken) = mpsc::unbounded_channel();
        let script = Mutex::new(script.into_iter().collect());
        let shared = Arc::new(Shared { script, tell });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        (router, shared, taken)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// What it answers from now on, before all is well again.
    pub(super) fn will(&self, script: impl IntoIterator<Item = Reply>) {
        self.shared.script.lock().extend(script);
    }

    /// The next request.
    pub(super) async fn next(&mut self) -> Taken {
        self.taken.recv().await.unwrap()
    }

    /// A request that has come already.
    pub(super) fn has_more(&mut self) -> bool {
        self.taken.try_recv().is_ok()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    assert_eq!(parts.method, "POST");
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
    let reply = shared.script.lock().pop_front();
    shared.tell.send(Taken { headers: parts.headers, body }).ok();
    match reply {
        None => Response::new(Body::empty()),
        Some(Reply::Silence) => std::future::pending().await,
        Some(Reply::Stall(status)) => {
            let begin = futures::stream::once(async { Ok::<_, std::io::Error>("it begins") });
            let body = Body::from_stream(begin.chain(futures::stream::pending()));
            Response::builder().status(status).body(body).unwrap()
        }
        Some(Reply::Status(status, headers, text)) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            response.body(Body::from(text)).unwrap()
        }
    }
}

/// Serves HTTP/1.1 on every connection.
pub(super) async fn axum_serve(listener: TcpListener, router: Router) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(serve_stream(stream, router.clone()));
    }
}

pub(super) async fn serve_stream<S>(stream: S, router: Router)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper_util::service::TowerToHyperService::new(router);
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
    connection.await.ok();
}

/// A receiver behind TLS, with a certificate for `localhost` that an authority of its own has made.
pub(super) async fn start_tls(chain: &str, key: &str) -> Receiver {
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::rustls::{ServerConfig, crypto};
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (router, shared, taken) = Receiver::router([]);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve_stream(stream, router).await;
                }
            });
        }
    });
    Receiver { address, shared, taken }
}
