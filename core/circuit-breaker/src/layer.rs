//! A `tower` layer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::call::CircuitBreaker;
use super::fallback::{Cause, ErrorClass};
use super::table::Store;

/// Makes requests to a service as its [`CircuitBreaker`] allows, with a fallback for the others.
///
/// `classify` returns the class of a failed result, or `None` for a success; use [`classify`](super::classify) for
/// errors that implement [`ClassifyError`](super::ClassifyError). `fallback` takes what it needs from the request
/// before the service gets it, and turns a [`Cause`] into a response or an error. The cause holds the callee's own
/// result, which it may pass on.
///
/// The layer is ready when the inner service is. Errors of `poll_ready` are passed on; they do not count and have no
/// fallback. Limit the time of a service that may never become ready.
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
/// // A 500 response is a failure, although it is not an `Err`.
/// let classify = |result: &Result<Response<String>, Infallible>| match result {
///     Ok(response) if response.status().is_server_error() => Some(ErrorClass::Callee),
///     Ok(_) => None,
///     Err(never) => match *never {},
/// };
/// let fallback = |request: &Request<()>| {
///     let path = request.uri().path().to_owned();
///     move |_: Cause<_>| Ok(Response::new(format!("yesterday's price of {path}")))
/// };
/// let header = (HeaderName::from_static("fallback"), HeaderValue::from_static("price"));
/// let layer = CircuitBreakerLayer::new(breaker, classify, fallback).with_header(header.0, header.1);
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
    classify: J,
    fallback: F,
    mark: M,
}

impl<T, J, F> CircuitBreakerLayer<T, J, F> {
    /// A layer that uses `breaker`, which layers may share.
    pub fn new(breaker: impl Into<Arc<CircuitBreaker<T>>>, classify: J, fallback: F) -> Self {
        Self { breaker: breaker.into(), classify, fallback, mark: () }
    }

    /// Adds a header to responses of the fallback. The service's responses must be [`Response`]s.
    #[must_use]
    pub fn with_header(
        self,
        name: HeaderName,
        value: HeaderValue,
    ) -> CircuitBreakerLayer<T, J, F, (HeaderName, HeaderValue)> {
        let Self { breaker, classify, fallback, .. } = self;
        CircuitBreakerLayer { breaker, classify, fallback, mark: (name, value) }
    }
}

/// How responses of the fallback are marked.
pub trait MarkFallback<R> {
    /// Marks a response.
    fn mark(&self, response: &mut R);
}

/// No mark.
impl<R> MarkFallback<R> for () {
    fn mark(&self, _: &mut R) {}
}

/// A header.
impl<B> MarkFallback<Response<B>> for (HeaderName, HeaderValue) {
    fn mark(&self, response: &mut Response<B>) {
        response.headers_mut().insert(self.0.clone(), self.1.clone());
    }
}

impl<T, J: Clone, F: Clone, M: Clone> Clone for CircuitBreakerLayer<T, J, F, M> {
    fn clone(&self) -> Self {
        let (breaker, classify) = (Arc::clone(&self.breaker), self.classify.clone());
        Self { breaker, classify, fallback: self.fallback.clone(), mark: self.mark.clone() }
    }
}

impl<S, T, J: Clone, F: Clone, M: Clone> Layer<S> for CircuitBreakerLayer<T, J, F, M> {
    type Service = Guarded<S, T, J, F, M>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded { inner, layer: self.clone() }
    }
}

/// A service wrapped by a [`CircuitBreakerLayer`].
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
    M: MarkFallback<S::Response> + Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        // The service that returned ready must handle this request; its clone serves the next one.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let fallback = (self.layer.fallback)(&request);
        let (breaker, classify, mark) =
            (Arc::clone(&self.layer.breaker), self.layer.classify.clone(), self.layer.mark.clone());
        Box::pin(async move {
            // The service gets the request only if the circuit allows it.
            let call = async move { inner.call(request).await };
            match breaker.guard(call, classify).await {
                Ok(result) => result,
                Err(cause) => fallback(cause).map(|mut response| {
                    mark.mark(&mut response);
                    response
                }),
            }
        })
    }
}
