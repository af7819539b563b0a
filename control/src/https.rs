//! HTTPS connections: accepted, bounded in number and time, and ended gently.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::signed_request::Observed;
use crate::tls::Tls;
use crate::unread;

/// Each node holds one connection for its stream and now and then one more.
const MAX_CONNECTIONS: usize = 32_768;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long requests may go on after the stop.
const GRACE: Duration = Duration::from_secs(5);
/// A peer that acknowledges nothing for so long is gone, in milliseconds (tcp(7)).
const USER_TIMEOUT: u32 = 60_000;
/// Without descriptors or memory, accepting fails at once, over and over.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` until `stop` says so; requests in progress get a grace.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Tls,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!(%from, "too many connections; refused one");
            continue;
        };
        let connection = Connection {
            stream,
            from,
            tls: tls.clone(),
            router: router.clone(),
            _permit: permit,
        };
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            if let Err(error) = connection.serve(watcher).await {
                tracing::debug!(%from, %error, "a connection ended early");
            }
        });
    }
    drop(listener);
    if timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were still in progress at the stop");
    }
}

struct Connection {
    stream: TcpStream,
    from: SocketAddr,
    tls: Tls,
    router: Router,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    async fn serve(
        self,
        watcher: hyper_util::server::graceful::Watcher,
    ) -> Result<(), anyhow::Error> {
        self.stream.set_nodelay(true)?;
        setsockopt(&self.stream, sockopt::TcpUserTimeout, &USER_TIMEOUT)?;
        let stream = timeout(HANDSHAKE_TIMEOUT, self.tls.acceptor.accept(self.stream)).await??;
        // A layer of the router would be a copy of all routes for each connection.
        let observed = Observed(self.from.ip().to_canonical());
        let router = TowerToHyperService::new(self.router);
        let service = service_fn(move |request: Request<Incoming>| {
            let (mut head, body) = request.into_parts();
            head.extensions.insert(observed);
            let (body, unread) = unread::lend(&head.headers, body);
            let answered = router.call(Request::from_parts(head, body));
            async move {
                let mut response = answered.await?;
                unread.settle(&mut response).await;
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        watcher.watch(connection).await?;
        Ok(())
    }
}
