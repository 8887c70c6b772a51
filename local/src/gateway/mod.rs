//! The HTTP API of the template: routes, authorizer, limits; and the local stack's own routes.

mod authorizer;
mod cors;
mod event;
mod response;
mod routes;
pub mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, ORIGIN, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use chrono::Utc;
use futures::stream::{self, Stream, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::faults::Faults;
use crate::lambda::InvokeError;
use crate::template::HttpApi;
use authorizer::{Denied, authorize};
use response::{internal_error, message, to_response};
use tokens::Issuer;

pub use routes::Target;

/// The largest body that API Gateway accepts: 10 MB.
const BODY_LIMIT: usize = 10 * 1024 * 1024;
/// API Gateway's timeout of an invocation.
const INTEGRATION_LIMIT: Duration = Duration::from_secs(30);
/// How long requests in progress may still take when the gateway stops.
const GRACE: Duration = Duration::from_secs(2);

/// The routes and their rules.
#[derive(Debug)]
pub struct Api {
    /// Routes of all functions.
    pub targets: Vec<Target>,
    /// The authorizer and the CORS rules.
    pub settings: HttpApi,
    /// The issuer of the tokens.
    pub issuer: Issuer,
    /// Injected faults.
    pub(crate) faults: Faults,
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Gateway {
    /// Serves the API, and the local stack's own routes.
    pub fn start(listener: TcpListener, api: Api, own: Router) -> Self {
        let app = Router::new().fallback(serve).with_state(Arc::new(api)).merge(own);
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            let service = app.into_make_service_with_connect_info::<SocketAddr>();
            let server = axum::serve(listener, service).with_graceful_shutdown(async { drop(stopped.await) });
            if let Err(error) = server.await {
                tracing::error!("the gateway stopped: {error}");
            }
        });
        Self { stop, server }
    }

    /// Accepts no more requests, and waits briefly for those in progress.
    pub async fn stop(self) {
        drop(self.stop);
        let mut server = self.server;
        if timeout(GRACE, &mut server).await.is_err() {
            server.abort();
        }
    }
}

async fn serve(
    State(api): State<Arc<Api>>,
    ConnectInfo(source): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let request_id = Uuid::new_v4().to_string();
    let origin = head.headers.get(ORIGIN).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut response = match &api.settings.cors {
        Some(rules) if head.method == Method::OPTIONS => return cors::preflight(rules, origin.as_deref()),
        _ => respond(&api, &head, body, source, &request_id).await,
    };
    if head.method == Method::POST && response.status().is_success() && api.faults.take_lost_response() {
        return Response::new(Body::from_stream(broken_off()));
    }
    if let Some(rules) = &api.settings.cors {
        cors::decorate(rules, origin.as_deref(), response.headers_mut());
    }
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("apigw-requestid", id);
    }
    response
}

/// A body that breaks off after it has begun: a browser sends a request again by itself when not even a beginning came.
fn broken_off() -> impl Stream<Item = std::io::Result<Bytes>> {
    let lost = async {
        sleep(Duration::from_millis(50)).await;
        Err(std::io::Error::other("lost"))
    };
    stream::once(async { Ok(Bytes::from_static(b" ")) }).chain(stream::once(lost))
}

async fn respond(api: &Api, head: &Parts, body: Body, source: SocketAddr, request_id: &str) -> Response {
    let Some((target, path_parameters)) = routes::find(&api.targets, head.method.as_str(), head.uri.path()) else {
        return message(StatusCode::NOT_FOUND, "Not Found");
    };
    let header = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let identity = match authorize(&api.issuer, &api.settings.jwt, &target.route, header) {
        Ok(identity) => identity,
        Err(denied) => return denial(&denied),
    };
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    };
    let request = event::Request {
        head,
        body: &body,
        source: source.ip(),
        route_key: &target.key(),
        path_parameters: &path_parameters,
        identity: &identity,
        request_id,
        now: Utc::now(),
    };
    let event = Bytes::from(request.to_event().to_string());
    match timeout(INTEGRATION_LIMIT, target.containers.invoke(event)).await {
        Ok(Ok(payload)) => to_response(payload),
        Ok(Err(InvokeError::TooLarge)) => message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large"),
        Ok(Err(InvokeError::Stopping)) | Err(_) => message(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
        Ok(Err(InvokeError::Function(_) | InvokeError::Start { .. })) => internal_error(),
    }
}

fn denial(denied: &Denied) -> Response {
    let reason = match denied {
        Denied::Forbidden => return message(StatusCode::FORBIDDEN, "Forbidden"),
        Denied::Unauthorized(reason) => reason,
    };
    let mut response = message(StatusCode::UNAUTHORIZED, "Unauthorized");
    let challenge = match reason {
        None => "Bearer".to_owned(),
        Some(reason) => format!("Bearer scope=\"\" error=\"invalid_token\" error_description=\"{reason}\""),
    };
    if let Ok(value) = HeaderValue::from_str(&challenge) {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    response
}
