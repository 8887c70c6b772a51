//! The provider over HTTP.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, redirect, retry};
use tracing::Instrument as _;
use tracing::field::Empty;

use super::{Claim, PaymentProvider, Token, Verdict, VerifyError, answer};

/// A response has a few hundred bytes. More is not read.
const MAX_BODY: usize = 64 * 1024;

/// Verifies payments over HTTP: one request each, without retries and redirects; a second one only with another token, after
/// the provider rejected the first one's. Cheap to clone.
#[derive(Clone)]
pub struct HttpProvider {
    client: Client,
    url: Url,
    token: Option<Arc<Token>>,
}

/// How long a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection is established.
    pub connect: Duration,
    /// Until the response is read, including the connection.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_millis(500), total: Duration::from_secs(2) }
    }
}

/// A provider that cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum InvalidProvider {
    /// The address is invalid.
    #[error("it must be the provider's http or https address, without user, query and fragment")]
    Url,
    /// The client could not be created.
    #[error("the HTTP client could not be created")]
    Client(#[source] reqwest::Error),
}

impl HttpProvider {
    /// The provider at `url`, which gets `token` as bearer token, if there is one.
    ///
    /// # Errors
    /// [`InvalidProvider`].
    pub fn new(url: &str, token: Option<Token>, timeouts: Timeouts) -> Result<Self, InvalidProvider> {
        let url = Url::parse(url).map_err(|_| InvalidProvider::Url)?;
        let bare = url.username().is_empty() && url.password().is_none();
        let plain = bare && url.query().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || !plain {
            return Err(InvalidProvider::Url);
        }
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        let client = Client::builder()
            .default_headers(headers)
            .user_agent(concat!("orders/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(timeouts.connect)
            .timeout(timeouts.total)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .build()
            .map_err(InvalidProvider::Client)?;
        Ok(Self { client, url, token: token.map(Arc::new) })
    }

    /// `{url}/payments/{payment_id}?order_id=…&amount=…&currency=…`; `None` for an id that cannot be a path segment.
    fn address(&self, claim: &Claim) -> Option<Url> {
        let payment_id = claim.payment_id.as_str();
        // These are resolved, even percent-encoded. No client can send one; a stored event might have one.
        if matches!(payment_id, "." | "..") {
            return None;
        }
        let mut url = self.url.clone();
        url.path_segments_mut().ok()?.pop_if_empty().extend(["payments", payment_id]);
        url.query_pairs_mut()
            .append_pair("order_id", &claim.order_id.to_string())
            .append_pair("amount", &claim.currency.to_json(claim.amount).to_string())
            .append_pair("currency", claim.currency.code());
        Some(url)
    }

    /// The response to one request; to a second one if the token was rejected and has been rotated.
    async fn ask(&self, address: Url) -> Result<Response, VerifyError> {
        let request = || self.client.get(address.clone());
        let Some(token) = &self.token else { return self.send(request()).await };
        let bearer = token.bearer();
        let response = self.send(request().header(AUTHORIZATION, &bearer)).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        match token.after(&bearer).await {
            Some(renewed) => self.send(request().header(AUTHORIZATION, renewed)).await,
            None => Ok(response),
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, VerifyError> {
        let span = tracing::info_span!(
            target: "trace",
            "provider",
            "otel.name" = "GET",
            "otel.kind" = "client",
            "otel.status_code" = Empty,
            "http.request.method" = "GET",
            "server.address" = self.url.host_str(),
            "http.response.status_code" = Empty,
        );
        let answered = request.send().instrument(span.clone()).await;
        let status = answered.as_ref().ok().map(Response::status);
        span.record("http.response.status_code", status.map(|status| status.as_u16()));
        if status.is_none_or(|status| status.is_client_error() || status.is_server_error()) {
            span.record("otel.status_code", "ERROR");
        }
        answered.map_err(unanswered)
    }
}

impl PaymentProvider for HttpProvider {
    async fn verify(&self, claim: &Claim) -> Result<Verdict, VerifyError> {
        let address = self.address(claim).ok_or(VerifyError::Unknown)?;
        let mut response = self.ask(address).await?;
        match response.status() {
            StatusCode::OK => {}
            // The provider does not know or understand the payment id.
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::UNPROCESSABLE_ENTITY => {
                return Err(VerifyError::Unknown);
            }
            status => return Err(VerifyError::Status(status.as_u16())),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unanswered)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(VerifyError::UnexpectedResponse(format!("it is longer than {MAX_BODY} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        answer::read(&body, claim)
    }
}

/// The URL contains the payment id, which must not be logged.
fn unanswered(error: reqwest::Error) -> VerifyError {
    VerifyError::Unanswered(error.without_url().into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::super::tests::{ORDER, claim};
    use super::super::token::tests::Values;
    use super::*;
    use crate::domain::harness::properties;
    use dynamodb_circuit_breaker::{ClassifyError, ErrorClass};

    /// A server that reads one request of each connection, answers it with these bytes, and hangs up; or that keeps the
    /// connection and says no more.
    struct Server {
        url: String,
        requests: mpsc::UnboundedReceiver<String>,
        count: Arc<AtomicUsize>,
    }

    enum Then {
        HangUp,
        Wait,
    }

    async fn serve(answer: impl Into<Vec<u8>>, then: Then) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/", listener.local_addr().unwrap());
        let (told, requests) = mpsc::unbounded_channel();
        let count = Arc::new(AtomicUsize::new(0));
        let (answer, counted) = (answer.into(), count.clone());
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read_exact(&mut byte).await.is_err() {
                        break;
                    }
                    request.push(byte[0]);
                }
                counted.fetch_add(1, SeqCst);
                _ = told.send(String::from_utf8(request).unwrap());
                _ = stream.write_all(&answer).await;
                if matches!(then, Then::Wait) {
                    kept.push(stream);
                }
            }
        });
        Server { url, requests, count }
    }

    fn http(status: u16, headers: &str, body: &str) -> String {
        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
    }

    fn captured() -> String {
        let body = format!(
            r#"{{"payment_id":"p1","order_id":"{ORDER}","status":"captured","amount":44.98,"currency":"EUR"}}"#
        );
        http(200, "", &body)
    }

    /// What a server is asked, and what comes of its answer.
    async fn ask(server: &Server, payment_id: &str) -> Result<Verdict, VerifyError> {
        let quick = Timeouts { connect: Duration::from_millis(200), total: Duration::from_millis(400) };
        let token = Token::read(Values::new([Some("secret")])).await.unwrap();
        HttpProvider::new(&server.url, Some(token), quick).unwrap().verify(&claim(payment_id)).await
    }

    #[tokio::test]
    async fn a_claim_is_asked_about_in_one_request() {
        let mut server = serve(captured(), Then::HangUp).await;
        assert_eq!(ask(&server, "p1").await.unwrap(), Verdict::Captured);
        let request = server.requests.recv().await.unwrap();
        let line = format!("GET /v1/payments/p1?order_id={ORDER}&amount=44.98&currency=EUR HTTP/1.1\r\n");
        assert!(request.starts_with(&line), "{request}");
        assert!(
            request.contains("authorization: Bearer secret\r\n") && request.contains("accept: application/json\r\n")
        );
        assert_eq!(server.count.load(SeqCst), 1);
    }

    #[tokio::test]
    async fn no_payment_id_leads_anywhere_else() {
        let mut server = serve(captured(), Then::HangUp).await;
        for (payment_id, path) in [
            ("../../admin", "/v1/payments/..%2F..%2Fadmin?"),
            ("p1?amount=1#x", "/v1/payments/p1%3Famount=1%23x?"),
            ("%2e%2e", "/v1/payments/%252e%252e?"),
            ("zahlung-ä", "/v1/payments/zahlung-%C3%A4?"),
        ] {
            _ = ask(&server, payment_id).await;
            let request = server.requests.recv().await.unwrap();
            assert!(request.starts_with(&format!("GET {path}order_id=")), "{request}");
        }
        // Stored before ids like these were rejected.
        for payment_id in [".", ".."] {
            assert!(matches!(ask(&server, payment_id).await, Err(VerifyError::Unknown)));
        }
        assert_eq!(server.count.load(SeqCst), 4);
    }

    #[test]
    fn every_payment_id_that_a_client_may_name_is_one_segment_of_the_path() {
        let provider = HttpProvider::new("https://pay.example.com/v1", None, Timeouts::default()).unwrap();
        properties(2_000, &r"[./%\?#a0ä;:@ ]{1,6}|\PC{1,20}", |text| {
            let Ok(payment_id) = text.parse() else { return Ok(()) };
            let address = provider.address(&Claim { payment_id, ..claim("p1") }).expect("an address");
            let segments: Vec<_> = address.path_segments().expect("a path").collect();
            let [version, payments, id] = segments[..] else { panic!("{address}") };
            let decoded = percent_encoding::percent_decode_str(id).decode_utf8().expect("UTF-8");
            prop_assert_eq!((version, payments, decoded.as_ref()), ("v1", "payments", text.as_str()));
            Ok(())
        });
    }

    #[tokio::test]
    async fn what_the_provider_does_not_know_is_no_fault_of_its_own() {
        for status in [400, 404, 410, 422] {
            let error = ask(&serve(http(status, "", "{}"), Then::HangUp).await, "p1").await.unwrap_err();
            assert!(matches!(error, VerifyError::Unknown) && error.class() == ErrorClass::Caller, "{status}: {error}");
        }
    }

    #[tokio::test]
    async fn any_other_status_is_a_failure_even_with_a_decline_in_its_body() {
        let body = format!(r#"{{"payment_id":"p1","order_id":"{ORDER}","status":"declined"}}"#);
        for status in [201, 204, 401, 403, 408, 409, 429, 500, 502, 503, 504] {
            let body = if status == 204 { "" } else { &body };
            let server = serve(http(status, "", body), Then::HangUp).await;
            let error = ask(&server, "p1").await.unwrap_err();
            assert!(matches!(error, VerifyError::Status(got) if got == status), "{status}: {error}");
            assert_eq!((error.class(), server.count.load(SeqCst)), (ErrorClass::Callee, 1), "{status}");
        }
    }

    #[tokio::test]
    async fn a_rejected_token_is_read_again_and_the_same_payment_verified_with_the_new_one() {
        let mut server = serve(http(401, "", "{}"), Then::HangUp).await;
        let token = Token::read(Values::new([Some("old"), Some("new")])).await.unwrap();
        let provider = HttpProvider::new(&server.url, Some(token), Timeouts::default()).unwrap();
        // This server rejects the new one too: a failure, without a third request.
        let error = provider.verify(&claim("p1")).await.unwrap_err();
        assert!(matches!(error, VerifyError::Status(401)) && error.class() == ErrorClass::Callee, "{error}");
        assert_eq!(server.count.load(SeqCst), 2);
        for token in ["old", "new"] {
            let request = server.requests.recv().await.unwrap();
            assert!(request.starts_with("GET /v1/payments/p1?"), "{request}");
            assert!(request.contains(&format!("authorization: Bearer {token}\r\n")), "{request}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let elsewhere = serve(captured(), Then::HangUp).await;
        for status in [301, 302, 303, 307, 308] {
            let redirect = http(status, &format!("location: {}payments/p1\r\n", elsewhere.url), "");
            let error = ask(&serve(redirect, Then::HangUp).await, "p1").await.unwrap_err();
            assert!(matches!(error, VerifyError::Status(got) if got == status), "{error}");
        }
        assert_eq!(elsewhere.count.load(SeqCst), 0);
    }

    #[tokio::test]
    async fn no_answer_broken_answers_and_endless_ones_are_failures_and_asked_for_once() {
        let endless = format!("HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n{}", " ".repeat(MAX_BODY + 1));
        let short = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}";
        for (answer, then) in [
            (String::new(), Then::Wait),
            (String::new(), Then::HangUp),
            ("nonsense\r\n\r\n".into(), Then::HangUp),
            (short.into(), Then::Wait),
            (short.into(), Then::HangUp),
            (endless, Then::Wait),
            (http(200, "", "<html>"), Then::HangUp),
        ] {
            let server = serve(answer.clone(), then).await;
            let error = ask(&server, "p1").await.unwrap_err();
            assert_eq!((error.class(), server.count.load(SeqCst)), (ErrorClass::Callee, 1), "{error}");
            assert!(!format!("{error:?}").contains("p1"), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_response_of_64_kib_is_read_and_a_longer_one_is_rejected() {
        let padded = |length: usize| {
            let answer = captured();
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            http(200, "", &(body.to_owned() + &" ".repeat(length - body.len())))
        };
        assert_eq!(ask(&serve(padded(65_536), Then::HangUp).await, "p1").await.unwrap(), Verdict::Captured);
        let error = ask(&serve(padded(65_537), Then::HangUp).await, "p1").await.unwrap_err().to_string();
        assert!(error.contains("longer than 65536 bytes"), "{error}");
    }

    #[tokio::test]
    async fn a_provider_that_is_not_there_is_a_failure() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let provider = HttpProvider::new(&format!("http://{closed}"), None, Timeouts::default()).unwrap();
        assert!(matches!(provider.verify(&claim("p1")).await, Err(VerifyError::Unanswered(_))));
    }

    #[test]
    fn an_address_that_cannot_be_a_providers_is_rejected() {
        for url in [
            "",
            "pay.example.com",
            "ftp://pay.example.com",
            "file:///etc/passwd",
            "https://",
            "https://user:pw@pay.example.com",
            "https://pay.example.com?x=1",
            "https://pay.example.com/#x",
            "mailto:pay@example.com",
        ] {
            let invalid = HttpProvider::new(url, None, Timeouts::default()).err().unwrap();
            assert!(matches!(invalid, InvalidProvider::Url), "{url}");
        }
        assert!(HttpProvider::new("https://pay.example.com/v1", None, Timeouts::default()).is_ok());
    }
}
