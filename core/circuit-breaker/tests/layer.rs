//! The `tower` layer.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use dynamodb_circuit_breaker::{
    Cause, Change, Changed, CircuitBreaker, CircuitBreakerLayer, ClassifyError, ErrorClass, Item, Rejected, Settings,
    Store, Unavailable, classify,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use tower::{Layer, Service, ServiceExt, service_fn};

/// A table in memory.
#[derive(Default)]
struct MemoryStore(Mutex<Item>);

impl MemoryStore {
    fn with<T>(&self, act: impl FnOnce(&mut Item) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Store for MemoryStore {
    async fn read(&self, _: &str, _: bool) -> Result<Item, Unavailable> {
        Ok(self.with(|item| item.clone()))
    }

    async fn change(&self, _: &str, change: &Change) -> Result<Changed, Unavailable> {
        Ok(self.with(|item| {
            let changed = change.apply(item.clone());
            if let Changed::Applied(after) = &changed {
                *item = after.clone();
            }
            changed
        }))
    }
}

fn breaker() -> CircuitBreaker<MemoryStore> {
    let settings = Settings { failures: 2, calls: 2, ..Settings::default() };
    CircuitBreaker::new("callee", settings, MemoryStore::default())
}

#[derive(Debug, PartialEq)]
struct Fault(ErrorClass);

impl ClassifyError for Fault {
    fn class(&self) -> ErrorClass {
        self.0
    }
}

#[tokio::test]
async fn a_failing_service_is_not_called_and_the_fallback_gets_request_and_cause() {
    let calls = Arc::new(AtomicU32::new(0));
    let counts = calls.clone();
    let service = service_fn(move |_: &'static str| {
        counts.fetch_add(1, SeqCst);
        std::future::ready(Err::<String, _>(Fault(ErrorClass::Callee)))
    });
    let fallback = |request: &&'static str| {
        let request = *request;
        move |cause: Cause<Result<String, Fault>>| {
            let why = match cause {
                Cause::Failed(Err(Fault(classify))) => format!("{classify:?}"),
                Cause::Failed(Ok(answer)) => answer,
                Cause::Rejected(rejected) => rejected.to_string(),
            };
            Ok(format!("{request}: {why}"))
        }
    };
    let service = CircuitBreakerLayer::new(breaker(), classify, fallback).layer(service);
    let mut answers = Vec::new();
    for request in ["a", "b", "c"] {
        answers.push(service.clone().oneshot(request).await.unwrap());
    }
    assert_eq!(answers, ["a: Callee", "b: Callee", "c: the circuit is open"]);
    assert_eq!(calls.load(SeqCst), 2);
}

#[tokio::test]
async fn errors_by_the_caller_are_returned_and_do_not_count() {
    let service = service_fn(async |()| Err::<(), _>(Fault(ErrorClass::Caller)));
    let fallback = |(): &()| |_: Cause<Result<(), Fault>>| Ok(());
    let service = CircuitBreakerLayer::new(breaker(), classify, fallback).layer(service);
    for _ in 0..10 {
        assert_eq!(service.clone().oneshot(()).await, Err(Fault(ErrorClass::Caller)));
    }
}

type Http = Result<Response<&'static str>, Infallible>;

fn failed(result: &Http) -> Option<ErrorClass> {
    result.as_ref().is_ok_and(|response| response.status().is_server_error()).then_some(ErrorClass::Callee)
}

fn status(status: StatusCode) -> Http {
    let mut response = Response::new("from the service");
    *response.status_mut() = status;
    Ok(response)
}

#[tokio::test]
async fn only_responses_of_the_fallback_have_the_header() {
    let service = service_fn(async |wanted: StatusCode| status(wanted));
    let fallback = |_: &StatusCode| {
        |cause: Cause<Http>| match cause {
            Cause::Failed(result) => result,
            Cause::Rejected(Rejected::Open { .. }) => Ok(Response::new("from the fallback")),
            Cause::Rejected(other) => panic!("{other}"),
        }
    };
    let (name, value) = (HeaderName::from_static("fallback"), HeaderValue::from_static("yes"));
    let mut service = CircuitBreakerLayer::new(breaker(), failed, fallback).with_header(name, value).layer(service);
    let mut responses = Vec::new();
    for wanted in [200, 404, 503, 502, 200, 200_u16] {
        let wanted = StatusCode::try_from(wanted).unwrap();
        let response = service.ready().await.unwrap().call(wanted).await.unwrap();
        responses.push((response.status().as_u16(), *response.body(), response.headers().contains_key("fallback")));
    }
    let service = "from the service";
    assert_eq!(responses[..2], [(200, service, false), (404, service, false)]);
    assert_eq!(responses[2..4], [(503, service, true), (502, service, true)]);
    assert_eq!(responses[4..], [(200, "from the fallback", true); 2]);
}

#[tokio::test]
async fn the_service_that_was_ready_gets_the_request() {
    /// Panics, as `tower` allows, when it is called before it was polled for readiness.
    #[derive(Default)]
    struct Strict(bool);

    impl Clone for Strict {
        fn clone(&self) -> Self {
            Self(false)
        }
    }

    impl Service<()> for Strict {
        type Response = ();
        type Error = Fault;
        type Future = std::future::Ready<Result<(), Fault>>;

        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Fault>> {
            self.0 = true;
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            assert!(std::mem::take(&mut self.0), "it was not polled for readiness");
            std::future::ready(Ok(()))
        }
    }

    let fallback = |(): &()| |_: Cause<Result<(), Fault>>| Err(Fault(ErrorClass::Callee));
    let mut service = CircuitBreakerLayer::new(breaker(), classify, fallback).layer(Strict::default());
    for _ in 0..3 {
        assert_eq!(service.ready().await.unwrap().call(()).await, Ok(()));
    }
}
