//! A breaker before a service of `tower`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::call::CircuitBreaker;
use super::fallback::{ErrorClass, Cause};
use super::table::Store;

/// Lets requests through to a service as its [`CircuitBreaker`] allows, and has a fallback answer the others.
///
/// `judge` says of each result whose fault it is, if it is a failure; [`blame`](super::blame) does for errors that know
/// ([`ClassifyError`](super::ClassifyError)). `fallback` takes from a request what it needs before the service has it, and makes an
/// answer, or an error, of the cause. It gets the callee's own failure, and may pass it on.
///
/// The layer is ready when the service behind it is. A service that never gets ready has to be limited in time by itself,
/// and its failure to get ready is passed on: it does not count, and has no fallback.
///
/// ```
/// use std::convert::Infallible;
///
/// use dynamodb_circuit_breaker::{ErrorClass, Cause, CircuitBreaker, CircuitBreakerLayer, Table, create_table};
/// use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = dynamodb_testkit::simulation::Simulation::start().client();
/// create_table(&client, "breakers")?.send().await?;
/// let table = Table::new(client, "breakers").with_timeout(std::time::Duration::from_secs(5));
/// let breaker = CircuitBreaker::new("prices", "failures=2; calls=2".parse()?, table);
///
/// // A service that answers 500 has failed, though that is no error to HTTP.
/// let judge = |result: &Result<Response<String>, Infallible>| match result {
///     Ok(response) if response.status().is_server_error() => Some(ErrorClass::Callee),
///     Ok(_) => None,
///     Err(never) => match *never {},
/// };
/// let fallback = |request: &Request<()>| {
///     let path = request.uri().path().to_owned();
///     move |_: Cause<_>| Ok(Response::new(format!("yesterday's price of {path}")))
/// };
/// let header = (HeaderName::from_static("fallback"), HeaderValue::from_static("price"));
/// let layer = CircuitBreakerLayer::new(breaker, judge, fallback).with_header(header.0, header.1);
/// let service = ServiceBuilder::new().layer(layer).service(service_fn(async |_| {
///     let response = Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR).body(String::new());
///     Ok(response.unwrap_or_default())
/// }));
///
/// for _ in 0..3 {
///     let response = service.clone().oneshot(Request::get("/apples").body(())?).await?;
///     assert_eq!(response.headers()["fallback"], "price");
///     assert_eq!(response.body(), "yesterday's price of /apples");
/// }
/// # Ok(())
/// # }
/// ```
pub struct CircuitBreakerLayer<T, J, F, M = ()> {
    breaker: Arc<CircuitBreaker<T>>,
    judge: J,
    fallback: F,
    mark: M,
}

impl<T, J, F> CircuitBreakerLayer<T, J, F> {
    /// The layer that asks this breaker. Layers may share one.
    pub fn new(breaker: impl Into<Arc<CircuitBreaker<T>>>, judge: J, fallback: F) -> Self {
        Self { breaker: breaker.into(), judge, fallback, mark: () }
    }

    /// The same layer, which puts this header into the fallback's answers. Responses are those of HTTP then.
    #[must_use]
    pub fn with_header(
        self,
        name: HeaderName,
        value: HeaderValue,
    ) -> CircuitBreakerLayer<T, J, F, (HeaderName, HeaderValue)> {
        let Self { breaker, judge, fallback, .. } = self;
        CircuitBreakerLayer { breaker, judge, fallback, mark: (name, value) }
    }
}

/// How the fallback's answers are told from others.
pub trait Mark<R> {
    /// Marks an answer.
    fn mark(&self, response: &mut R);
}

/// Not at all.
impl<R> Mark<R> for () {
    fn mark(&self, _: &mut R) {}
}

/// By a header.
impl<B> Mark<Response<B>> for (HeaderName, HeaderValue) {
    fn mark(&self, response: &mut Response<B>) {
        response.headers_mut().insert(self.0.clone(), self.1.clone());
    }
}

impl<T, J: Clone, F: Clone, M: Clone> Clone for CircuitBreakerLayer<T, J, F, M> {
    fn clone(&self) -> Self {
        let (breaker, judge) = (Arc::clone(&self.breaker), self.judge.clone());
        Self { breaker, judge, fallback: self.fallback.clone(), mark: self.mark.clone() }
    }
}

impl<S, T, J: Clone, F: Clone, M: Clone> Layer<S> for CircuitBreakerLayer<T, J, F, M> {
    type Service = Guarded<S, T, J, F, M>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded { inner, layer: self.clone() }
    }
}

/// A service behind a [`CircuitBreakerLayer`].
pub struct Guarded<S, T, J, F, M = ()> {
    inner: S,
    layer: CircuitBreakerLayer<T, J, F, M>,
}

impl<S: Clone, T, J: Clone, F: Clone, M: Clone> Clone for Guarded<S, T, J, F, M> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<Q, S, T, J, F, G, M> Service<Q> for Guarded<S, T, J, F, M>
where
    Q: Send + 'static,
    S: Service<Q, Response: Send, Error: Send, Future: Send> + Clone + Send + 'static,
    T: Store + 'static,
    J: Fn(&Result<S::Response, S::Error>) -> Option<ErrorClass> + Clone + Send + 'static,
    F: Fn(&Q) -> G,
    G: FnOnce(Cause<Result<S::Response, S::Error>>) -> Result<S::Response, S::Error> + Send + 'static,
    M: Mark<S::Response> + Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        // The one that said it is ready goes with the request; the next request asks its clone again.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let fallback = (self.layer.fallback)(&request);
        let (breaker, judge, mark) =
            (Arc::clone(&self.layer.breaker), self.layer.judge.clone(), self.layer.mark.clone());
        Box::pin(async move {
            // The service has the request only once the circuit allows it.
            let call = async move { inner.call(request).await };
            match breaker.guard(call, judge).await {
                Ok(result) => result,
                Err(cause) => fallback(cause).map(|mut response| {
                    mark.mark(&mut response);
                    response
                }),
            }
        })
    }
}
