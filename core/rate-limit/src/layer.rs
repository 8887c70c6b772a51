//! A `tower` layer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use super::checked::Checked;
use super::limiter::{Limiter, Table};
use super::subject::Subject;

/// Limits requests by the subject that `subject` extracts from them.
///
/// A rejected request does not reach the inner service. Its response is 429 with `Retry-After`, or 503 if it could not be
/// counted and the policy says `on_error=deny`. The body is the body type's default. Every response to a request with a
/// subject carries its [`Checked`] as an extension, so an outer layer can render a body.
///
/// A request without a subject passes uncounted. Put authentication outside this layer and the rejection of anonymous
/// requests inside it.
///
/// ```
/// use axum::{Router, body::Body, routing::get};
/// use dynamodb_rate_limit::{DynamoTable, Limiter, RateLimitLayer, Subject, create_table};
/// use http::Request;
/// use tower::ServiceExt;
///
/// /// The caller, set by an authentication layer.
/// #[derive(Clone)]
/// struct User(&'static str);
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = dynamodb_testkit::simulation::Simulation::start().client();
/// create_table(&client, "limits")?.send().await?;
/// let table = DynamoTable::with_timeout(&client, "limits", std::time::Duration::from_secs(5));
/// let limiter = Limiter::new(table, "token-bucket; rate=1/m; burst=1; by=user; name=search".parse()?);
/// let subject = |request: &Request<Body>| request.extensions().get::<User>().map(|user| Subject::user(user.0));
/// let app = Router::new()
///     .route("/search", get(|| async { "found" }))
///     .layer(RateLimitLayer::new(limiter, subject).with_fields());
///
/// for (status, waits) in [(200, false), (429, true)] {
///     let request = Request::get("/search").extension(User("ada")).body(Body::empty())?;
///     let response = app.clone().oneshot(request).await?;
///     assert_eq!(response.status(), status);
///     assert_eq!(response.headers()["ratelimit-policy"], "\"search\";q=1;w=60");
///     assert_eq!(response.headers().contains_key("retry-after"), waits);
/// }
/// # Ok(())
/// # }
/// ```
pub struct RateLimitLayer<T, F> {
    limiter: Arc<Limiter<T>>,
    subject: F,
    fields: bool,
}

impl<T, F> RateLimitLayer<T, F> {
    /// A layer that uses `limiter`, which layers may share.
    pub fn new(limiter: impl Into<Arc<Limiter<T>>>, subject: F) -> Self {
        Self { limiter: limiter.into(), subject, fields: false }
    }

    /// Adds `RateLimit-Policy` and `RateLimit` to responses ([`Checked::fields`]).
    #[must_use]
    pub fn with_fields(self) -> Self {
        Self { fields: true, ..self }
    }
}

impl<T, F: Clone> Clone for RateLimitLayer<T, F> {
    fn clone(&self) -> Self {
        Self { limiter: Arc::clone(&self.limiter), subject: self.subject.clone(), fields: self.fields }
    }
}

impl<S, T, F: Clone> Layer<S> for RateLimitLayer<T, F> {
    type Service = RateLimit<S, T, F>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit { inner, layer: self.clone() }
    }
}

/// A service wrapped by a [`RateLimitLayer`].
pub struct RateLimit<S, T, F> {
    inner: S,
    layer: RateLimitLayer<T, F>,
}

impl<S: Clone, T, F: Clone> Clone for RateLimit<S, T, F> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S, T, F, A, B> Service<Request<A>> for RateLimit<S, T, F>
where
    S: Service<Request<A>, Response = Response<B>, Future: Send> + Clone + Send + 'static,
    T: Table + 'static,
    F: Fn(&Request<A>) -> Option<Subject>,
    A: Send + 'static,
    B: Default,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        // The service that returned ready must handle this request; its clone serves the next one.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let (limiter, fields) = (Arc::clone(&self.layer.limiter), self.layer.fields);
        let subject = (self.layer.subject)(&request);
        Box::pin(async move {
            let Some(subject) = subject else { return inner.call(request).await };
            let (checked, policy) = (limiter.check(&subject).await, limiter.policy());
            if let Some(error) = checked.error() {
                tracing::error!(%error, on_error = ?policy.on_error, "not counted");
            }
            let mut response =
                if checked.decision().allowed { inner.call(request).await? } else { rejection(&checked) };
            if fields {
                let field = |(name, value)| Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?));
                // Several layers add up.
                response.headers_mut().extend(checked.fields(policy).into_iter().filter_map(field));
            }
            // The rejection of an inner layer explains the response, so it is not overwritten.
            let rejected_inside = response.extensions().get::<Checked>().is_some_and(|inner| !inner.decision().allowed);
            if !rejected_inside {
                response.extensions_mut().insert(checked);
            }
            Ok(response)
        })
    }
}

/// The response to a rejected request.
fn rejection<B: Default>(checked: &Checked) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = match checked {
        Checked::Decided(_) | Checked::Degraded(..) => StatusCode::TOO_MANY_REQUESTS,
        Checked::Uncounted(..) => StatusCode::SERVICE_UNAVAILABLE,
    };
    response.headers_mut().insert(RETRY_AFTER, checked.decision().retry_after_seconds().into());
    response
}
