//! The `tower` layer, with inner services that check the contract.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};

use dynamodb_rate_limit::{Checked, Limiter, RateLimitLayer, Subject, Table, TableError, Update, Updated};
use http::{Request, Response, StatusCode};
use service_clock::{Clock, Timestamp};
use tokio::sync::Notify;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

/// An unavailable table, so that limiters count in memory or not at all.
struct Down;

impl Table for Down {
    async fn update(&self, _key: &str, _update: &Update) -> Result<Updated, TableError> {
        Err(TableError::Unavailable("down".to_owned()))
    }
}

/// An unavailable table that responds only when notified.
struct Slow(Arc<Notify>);

impl Table for Slow {
    async fn update(&self, _key: &str, _update: &Update) -> Result<Updated, TableError> {
        self.0.notified().await;
        Err(TableError::Unavailable("slow".to_owned()))
    }
}

const ONCE: &str = "token-bucket; rate=1/m; burst=1; by=user; name=search";

fn limiter<T: Table>(table: T, policy: &str) -> Limiter<T> {
    Limiter::new(table, policy.parse().unwrap()).with_clock(Clock::stopped_at(Timestamp::now()))
}

/// The caller, as set by an outer layer.
fn subject(request: &Request<()>) -> Option<Subject> {
    request.extensions().get::<&str>().map(|user| Subject::user(user))
}

fn request(user: &'static str) -> Request<()> {
    Request::builder().extension(user).body(()).unwrap()
}

fn field<'a>(response: &'a Response<String>, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// A service that counts its calls.
fn counting(
    calls: &Arc<AtomicUsize>,
) -> impl Service<Request<()>, Response = Response<String>, Error = Infallible, Future: Send> + Clone + Send + 'static {
    let calls = Arc::clone(calls);
    service_fn(move |_| {
        calls.fetch_add(1, SeqCst);
        async { Ok(Response::new("found".to_owned())) }
    })
}

#[tokio::test]
async fn a_rejected_request_gets_retry_after_and_does_not_reach_the_service() {
    let calls = Arc::default();
    let service = RateLimitLayer::new(limiter(Down, ONCE), subject).layer(counting(&calls));
    let first = service.clone().oneshot(request("ada")).await.unwrap();
    assert_eq!((first.status(), first.body().as_str()), (StatusCode::OK, "found"));
    let rejected = service.clone().oneshot(request("ada")).await.unwrap();
    assert_eq!((rejected.status(), rejected.body().as_str()), (StatusCode::TOO_MANY_REQUESTS, ""));
    assert_eq!(field(&rejected, "retry-after"), Some("60"));
    assert_eq!(service.oneshot(request("bob")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(calls.load(SeqCst), 2);
}

#[tokio::test]
async fn responses_carry_the_quota_fields_if_enabled() {
    let calls = Arc::default();
    for (with_fields, quota, left) in
        [(false, None, [None; 2]), (true, Some("\"search\";q=1;w=60"), [Some("\"search\";r=0;t=60"); 2])]
    {
        let layer = RateLimitLayer::new(limiter(Down, ONCE), subject);
        let service = if with_fields { layer.with_fields() } else { layer }.layer(counting(&calls));
        for left in left {
            let response = service.clone().oneshot(request("ada")).await.unwrap();
            assert_eq!((field(&response, "ratelimit-policy"), field(&response, "ratelimit")), (quota, left));
        }
    }
}

#[tokio::test]
async fn two_layers_add_both_quotas() {
    let layer = |policy: &str| RateLimitLayer::new(limiter(Down, policy), subject).with_fields();
    let other = "token-bucket; rate=1/s; burst=5; by=user; name=all";
    let service = ServiceBuilder::new().layer(layer(other)).layer(layer(ONCE)).service(counting(&Arc::default()));
    let response = service.oneshot(request("ada")).await.unwrap();
    let values: Vec<_> = response.headers().get_all("ratelimit").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(values, ["\"search\";r=0;t=60", "\"all\";r=4;t=1"]);
}

#[tokio::test]
async fn the_rejection_of_an_inner_layer_is_not_overwritten_by_an_outer_one() {
    let often = "token-bucket; rate=1/m; burst=9; by=user; name=all";
    let inner = RateLimitLayer::new(limiter(Down, ONCE), subject).layer(counting(&Arc::default()));
    let service = RateLimitLayer::new(limiter(Down, often), subject).layer(inner);
    for allowed in [true, false] {
        let response = service.clone().oneshot(request("ada")).await.unwrap();
        assert_eq!(response.extensions().get::<Checked>().unwrap().decision().allowed, allowed);
    }
}

#[tokio::test]
async fn an_uncounted_request_is_admitted_or_rejected_by_the_policy() {
    let calls = Arc::default();
    let service = |on_error: &str| {
        let limiter = limiter(Down, &format!("{ONCE}; on_error={on_error}"));
        RateLimitLayer::new(limiter, subject).with_fields().layer(counting(&calls))
    };
    let (allowing, denying) = (service("allow"), service("deny"));
    for _ in 0..3 {
        let passed = allowing.clone().oneshot(request("ada")).await.unwrap();
        assert_eq!((passed.status(), field(&passed, "ratelimit")), (StatusCode::OK, None));
        let denied = denying.clone().oneshot(request("ada")).await.unwrap();
        assert_eq!((denied.status(), field(&denied, "retry-after")), (StatusCode::SERVICE_UNAVAILABLE, Some("1")));
    }
    assert_eq!(calls.load(SeqCst), 3);
}

#[tokio::test]
async fn a_request_without_a_subject_passes_uncounted() {
    let calls = Arc::default();
    let service = RateLimitLayer::new(limiter(Down, ONCE), subject).with_fields().layer(counting(&calls));
    for _ in 0..3 {
        let response = service.clone().oneshot(Request::new(())).await.unwrap();
        assert_eq!((response.status(), field(&response, "ratelimit-policy")), (StatusCode::OK, None));
    }
    assert_eq!(calls.load(SeqCst), 3);
}

#[tokio::test]
async fn an_outer_layer_can_render_a_body_from_the_result() {
    let explain = |response: Response<String>| match response.extensions().get::<Checked>() {
        Some(checked) if !checked.decision().allowed => response.map(|_| "slow down".to_owned()),
        _ => response,
    };
    let service = ServiceBuilder::new()
        .map_response(explain)
        .layer(RateLimitLayer::new(limiter(Down, ONCE), subject))
        .service(counting(&Arc::default()));
    let mut bodies = Vec::new();
    for _ in 0..2 {
        bodies.push(service.clone().oneshot(request("ada")).await.unwrap().into_body());
    }
    assert_eq!(bodies, ["found", "slow down"]);
}

/// A service for one request at a time, which holds a permit from being ready until the response. Clones have none.
struct Single {
    free: Arc<AtomicBool>,
    reserved: bool,
}

impl Clone for Single {
    fn clone(&self) -> Self {
        Self { free: Arc::clone(&self.free), reserved: false }
    }
}

impl Drop for Single {
    fn drop(&mut self) {
        if self.reserved {
            self.free.store(true, SeqCst);
        }
    }
}

impl Service<Request<()>> for Single {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.reserved = self.reserved || self.free.swap(false, SeqCst);
        if self.reserved { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, _request: Request<()>) -> Self::Future {
        assert!(self.reserved, "called before it was ready");
        let permit = Self { free: Arc::clone(&self.free), reserved: std::mem::take(&mut self.reserved) };
        Box::pin(async move {
            drop(permit);
            Ok(Response::default())
        })
    }
}

#[tokio::test]
async fn the_service_that_was_ready_is_called_and_a_rejection_releases_it() {
    let (table, free) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(true)));
    let layer = RateLimitLayer::new(limiter(Slow(Arc::clone(&table)), ONCE), subject);
    let mut service = layer.layer(Single { free, reserved: false });
    let context = &mut Context::from_waker(Waker::noop());
    for status in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS, StatusCode::TOO_MANY_REQUESTS] {
        assert!(service.poll_ready(context).is_ready(), "{status}: the permit was released");
        let mut response = service.call(request("ada"));
        assert!(response.as_mut().poll(context).is_pending(), "the table has not responded");
        assert!(service.poll_ready(context).is_pending(), "no permit for a second request");
        table.notify_one();
        assert_eq!(response.await.unwrap().status(), status);
    }
}
