//! A proxy in front of DynamoDB that injects [`Faults`].

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryPartition;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::exchange::{Request, Response};
use crate::faults::{Faults, Upstream};

/// The proxy's own response to a request with this `authorization` header, if any.
pub type Interceptor = Arc<dyn Fn(&str, &Request) -> Option<Response> + Send + Sync>;

/// A running proxy on the loopback interface, stopped when dropped.
///
/// It has its own thread and runtime, so it also serves other processes and tests with a paused clock.
pub struct Proxy {
    /// The faults and the recorded calls.
    pub faults: Faults,
    endpoint: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy in front of the DynamoDB at `upstream`, on a free port, without faults.
    pub fn start(upstream: impl Into<String>) -> Self {
        Self::start_with(upstream.into(), None)
    }

    /// Starts a proxy whose interceptor may respond instead of the upstream.
    pub fn with_interceptor(upstream: impl Into<String>, interceptor: Interceptor) -> Self {
        Self::start_with(upstream.into(), Some(interceptor))
    }

    fn start_with(upstream: String, interceptor: Option<Interceptor>) -> Self {
        let faults = Faults::default();
        let upstream = Http { endpoint: upstream, client: reqwest::Client::new() };
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let endpoint = format!("http://{}", listener.local_addr().expect("a bound address"));
        let (stop, stopped) = oneshot::channel();
        let served = faults.clone();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = runtime.expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    failed = serve(listener, served, upstream, interceptor) => panic!("the proxy stopped: {failed:?}"),
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("proxy".into()).spawn(run).expect("a thread");
        Self { faults, endpoint, stop: Some(stop), thread: Some(thread) }
    }

    /// Its address, for `AWS_ENDPOINT_URL_DYNAMODB` or [`Proxy::client`].
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A client with the retries and timeouts of functions, except for the attempt timeout.
    pub fn client(&self, attempt_timeout: Duration) -> Client {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "local"))
            .endpoint_url(&self.endpoint)
            // Clients share a retry budget by default; tests must not depend on each other.
            .retry_partition(RetryPartition::new(uuid::Uuid::new_v4().to_string()));
        let config = dynamodb_event_store::client::for_requests(config);
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(attempt_timeout)
            .operation_timeout(attempt_timeout * 4)
            .build();
        Client::from_conf(config.timeout_config(timeouts).build())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

async fn serve(
    listener: std::net::TcpListener,
    faults: Faults,
    upstream: Http,
    interceptor: Option<Interceptor>,
) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let (faults, upstream, interceptor) = (faults.clone(), upstream.clone(), interceptor.clone());
        let service =
            service_fn(move |request| response(request, faults.clone(), upstream.clone(), interceptor.clone()));
        // A connection that must close without a response ends with an error.
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

/// The connection closes without a response.
#[derive(Debug, thiserror::Error)]
#[error("the connection closes without a response")]
struct Lost;

async fn response(
    request: hyper::Request<Incoming>,
    faults: Faults,
    upstream: Http,
    interceptor: Option<Interceptor>,
) -> Result<hyper::Response<Full<Bytes>>, Lost> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let target = header("x-amz-target").to_owned();
    let authorization = header("authorization").to_owned();
    let attempt = attempt(header("amz-sdk-request"));
    let body = request.into_body().collect().await.map_err(|_| Lost)?.to_bytes();
    let body = serde_json::from_slice(&body).map_err(|_| Lost)?;
    let request = Request { target, attempt, body };
    let intercepted = interceptor.and_then(|interceptor| interceptor(&authorization, &request));
    let response = match intercepted {
        Some(intercepted) => Some(intercepted),
        // In a task of its own, because it is executed even if the client does not wait for it.
        None => tokio::spawn(async move { faults.forward(request, &upstream).await }).await.ok().flatten(),
    };
    let Response { status, body } = response.ok_or(Lost)?;
    hyper::Response::builder().status(status).header("content-type", JSON).body(Full::from(body)).map_err(|_| Lost)
}

/// The header `amz-sdk-request` says `attempt=1; max=3`.
pub(crate) fn attempt(header: &str) -> u32 {
    let attempt = header.split(';').find_map(|part| part.trim().strip_prefix("attempt="));
    attempt.and_then(|number| number.parse().ok()).unwrap_or(1)
}

const JSON: &str = "application/x-amz-json-1.0";

#[derive(Clone)]
struct Http {
    endpoint: String,
    client: reqwest::Client,
}

impl Upstream for Http {
    async fn call(&self, request: Request) -> Option<Response> {
        // Local databases require a signature and do not check it.
        const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 \
            Credential=local/20260101/us-east-1/dynamodb/aws4_request, \
            SignedHeaders=host;x-amz-date;x-amz-target, Signature=0";
        let response = self
            .client
            .post(&self.endpoint)
            .header("content-type", JSON)
            .header("x-amz-target", request.target)
            .header("x-amz-date", "20260101T000000Z")
            .header("authorization", AUTHORIZATION)
            .body(request.body.to_string())
            .send()
            .await
            .ok()?;
        let status = response.status().as_u16();
        Some(Response { status, body: response.bytes().await.ok()?.to_vec() })
    }
}
