//! The Lambda Runtime API of one container: the process requests the next invocation and reports its result.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Most bytes of an event or a response: 6 MB, and what Lambda adds for the envelope.
pub(crate) const PAYLOAD_LIMIT: usize = 6 * 1024 * 1024 + 100 * 1024;

/// One call of a function.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub request_id: String,
    /// Milliseconds since 1970.
    pub deadline_ms: u64,
    pub arn: String,
    pub trace_id: String,
    pub payload: Bytes,
}

/// A report of the process.
#[derive(Debug)]
pub(crate) enum Report {
    /// It requests an invocation.
    Ready,
    /// It cannot start; the body has the reason.
    InitError(Bytes),
    /// The response of an invocation.
    Response(Bytes),
    /// The invocation failed; the body has the reason.
    Error(Bytes),
}

/// The API of one container. It is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct RuntimeApi {
    address: SocketAddr,
    invocations: mpsc::Sender<Invocation>,
    reports: mpsc::UnboundedReceiver<Report>,
    server: JoinHandle<()>,
}

struct Shared {
    invocations: tokio::sync::Mutex<mpsc::Receiver<Invocation>>,
    /// Id of the invocation in progress.
    current: Mutex<Option<String>>,
    reports: mpsc::UnboundedSender<Report>,
}

impl RuntimeApi {
    pub(crate) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (invocations, waiting) = mpsc::channel(1);
        let (sender, reports) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            invocations: tokio::sync::Mutex::new(waiting),
            current: Mutex::new(None),
            reports: sender,
        });
        let routes = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .with_state(shared);
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!("a runtime API stopped: {error}");
            }
        });
        Ok(Self { address, invocations, reports, server })
    }

    /// For `AWS_LAMBDA_RUNTIME_API`.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Delivers the invocation when the process requests it.
    pub(crate) async fn deliver(&self, invocation: Invocation) {
        // The receiving end lives as long as the server, which lives as long as this.
        drop(self.invocations.send(invocation).await);
    }

    /// The next report of the process.
    pub(crate) async fn report(&mut self) -> Report {
        match self.reports.recv().await {
            Some(report) => report,
            None => std::future::pending().await,
        }
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    drop(shared.reports.send(Report::Ready));
    let Some(invocation) = shared.invocations.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    *shared.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(invocation.request_id.clone());
    let headers = [
        ("lambda-runtime-aws-request-id", invocation.request_id),
        ("lambda-runtime-deadline-ms", invocation.deadline_ms.to_string()),
        ("lambda-runtime-invoked-function-arn", invocation.arn),
        ("lambda-runtime-trace-id", invocation.trace_id),
        ("content-type", "application/json".to_owned()),
    ];
    (headers, invocation.payload).into_response()
}

async fn response(shared: State<Arc<Shared>>, id: Path<String>, body: Body) -> Response {
    match to_bytes(body, PAYLOAD_LIMIT).await {
        Ok(bytes) => settle(&shared, &id, Report::Response(bytes)),
        Err(_) => {
            let message =
                format!("Response payload size exceeded maximum allowed payload size ({PAYLOAD_LIMIT} bytes).");
            let failure = json!({"errorType": "Function.ResponseSizeTooLarge", "errorMessage": message});
            settle(&shared, &id, Report::Error(failure.to_string().into()));
            rejection(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge")
        }
    }
}

async fn error(shared: State<Arc<Shared>>, id: Path<String>, body: Bytes) -> Response {
    settle(&shared, &id, Report::Error(body))
}

async fn init_error(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    drop(shared.reports.send(Report::InitError(body)));
    accepted()
}

/// Reports the result of the current invocation; a result of any other is rejected.
fn settle(shared: &Shared, id: &str, report: Report) -> Response {
    let mut current = shared.current.lock().unwrap_or_else(PoisonError::into_inner);
    if current.as_deref() != Some(id) {
        return rejection(StatusCode::BAD_REQUEST, "InvalidRequestID");
    }
    *current = None;
    drop(shared.reports.send(report));
    accepted()
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, Json(json!({"status": "OK"}))).into_response()
}

fn rejection(status: StatusCode, kind: &str) -> Response {
    (status, Json(json!({"errorType": kind, "errorMessage": kind}))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(id: &str) -> Invocation {
        Invocation {
            request_id: id.into(),
            deadline_ms: 1_700_000_000_000,
            arn: "arn:f".into(),
            trace_id: "Root=1".into(),
            payload: Bytes::from_static(b"{\"a\":1}"),
        }
    }

    async fn next(base: &str) -> reqwest::Response {
        reqwest::get(format!("{base}/invocation/next")).await.unwrap()
    }

    async fn post(url: String, body: Vec<u8>) -> u16 {
        reqwest::Client::new().post(url).body(body).send().await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn a_response_over_the_limit_is_an_error_of_the_function() {
        let mut api = RuntimeApi::start().await.unwrap();
        let base = format!("http://{}/2018-06-01/runtime", api.address());
        api.deliver(invocation("r-1")).await;
        next(&base).await;
        assert_eq!(post(format!("{base}/invocation/r-1/response"), vec![b'x'; PAYLOAD_LIMIT + 1]).await, 413);
        assert!(matches!(api.report().await, Report::Ready));
        let Report::Error(body) = api.report().await else { panic!("no error was reported") };
        assert!(String::from_utf8_lossy(&body).contains("ResponseSizeTooLarge"));
    }

    #[tokio::test]
    async fn a_failed_start_is_reported_with_its_reason() {
        let mut api = RuntimeApi::start().await.unwrap();
        let url = format!("http://{}/2018-06-01/runtime/init/error", api.address());
        assert_eq!(post(url, b"no table".to_vec()).await, 202);
        assert!(matches!(api.report().await, Report::InitError(body) if body == "no table"));
    }

    #[tokio::test]
    async fn an_invocation_has_its_headers_and_takes_one_response() {
        let mut api = RuntimeApi::start().await.unwrap();
        let base = format!("http://{}/2018-06-01/runtime", api.address());
        api.deliver(invocation("r-1")).await;
        let got = next(&base).await;
        for (name, value) in [
            ("lambda-runtime-aws-request-id", "r-1"),
            ("lambda-runtime-deadline-ms", "1700000000000"),
            ("lambda-runtime-invoked-function-arn", "arn:f"),
            ("lambda-runtime-trace-id", "Root=1"),
        ] {
            assert_eq!(got.headers()[name], value);
        }
        assert_eq!(got.text().await.unwrap(), "{\"a\":1}");
        assert!(matches!(api.report().await, Report::Ready));
        for (id, status) in [("r-0", 400), ("r-1", 202), ("r-1", 400)] {
            assert_eq!(post(format!("{base}/invocation/{id}/response"), b"done".to_vec()).await, status, "{id}");
        }
        assert!(matches!(api.report().await, Report::Response(body) if body == "done"));
    }
}
