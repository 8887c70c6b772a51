//! A proxy before DynamoDB that makes [`Faults`] happen on the wire.

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

use crate::faults::{Answer, Faults, Request, Upstream};
use crate::permissions::Permissions;

/// A running proxy on the loopback interface; it stops when dropped.
///
/// It has a thread and a runtime of its own, so it serves other processes as well, and tests whose clock is paused.
pub struct Proxy {
    /// What happens to the calls, and what they were.
    pub faults: Faults,
    endpoint: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Proxy {
    /// Starts one before the DynamoDB at that endpoint, on a free port, without faults.
    pub fn start(upstream: impl Into<String>) -> Self {
        Self::start_with(upstream.into(), None)
    }

    /// Starts one that does only what the template's functions are allowed, and answers the rest as AWS does.
    pub fn guard(upstream: impl Into<String>, permissions: Permissions) -> Self {
        Self::start_with(upstream.into(), Some(permissions))
    }

    fn start_with(upstream: String, permissions: Option<Permissions>) -> Self {
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
                    failed = serve(listener, served, upstream, permissions) => panic!("the proxy stopped: {failed:?}"),
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

    /// A client with the retries and time-outs that functions use, except that an attempt is given up after
    /// `attempt_timeout`: as short as a test's patience with lost answers.
    pub fn client(&self, attempt_timeout: Duration) -> Client {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("eu-central-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "local"))
            .endpoint_url(&self.endpoint)
            // Clients share a budget of retries by default; a test must not depend on those beside it.
            .retry_partition(RetryPartition::new(uuid::Uuid::new_v4().to_string()));
        let config = orders_core::dynamodb::for_requests(config);
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
    permissions: Option<Permissions>,
) -> io::Result<Infallible> {
    let permissions = Arc::new(permissions);
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let (faults, upstream, permissions) = (faults.clone(), upstream.clone(), permissions.clone());
        let service = service_fn(move |request| answer(request, faults.clone(), upstream.clone(), permissions.clone()));
        // An error is how a connection ends that has to close without an answer.
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

/// The connection closes, and the client is told nothing.
#[derive(Debug, thiserror::Error)]
#[error("the connection closes without an answer")]
struct Lost;

async fn answer(
    request: hyper::Request<Incoming>,
    faults: Faults,
    upstream: Http,
    permissions: Arc<Option<Permissions>>,
) -> Result<hyper::Response<Full<Bytes>>, Lost> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let target = header("x-amz-target").to_owned();
    let authorization = header("authorization").to_owned();
    let attempt = attempt(header("amz-sdk-request"));
    let body = request.into_body().collect().await.map_err(|_| Lost)?.to_bytes();
    let body = serde_json::from_slice(&body).map_err(|_| Lost)?;
    let request = Request { target, attempt, body };
    let refusal = permissions.as_ref().as_ref().and_then(|permissions| permissions.refusal(&authorization, &request));
    let answer = match refusal {
        Some(refusal) => Some(refusal),
        // On a task of its own, since it is done even if the client does not wait for it.
        None => tokio::spawn(async move { faults.carry(request, &upstream).await }).await.ok().flatten(),
    };
    let Answer { status, body } = answer.ok_or(Lost)?;
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
    async fn call(&self, request: Request) -> Option<Answer> {
        // Databases on this machine ask for a signature and do not check it.
        const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 \
            Credential=local/20260101/eu-central-1/dynamodb/aws4_request, \
            SignedHeaders=host;x-amz-date;x-amz-target, Signature=0";
        let answer = self
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
        let status = answer.status().as_u16();
        Some(Answer { status, body: answer.bytes().await.ok()?.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;
    use std::collections::HashMap;

    use super::*;
    use crate::database::TestTables;
    use crate::faults::Fault;

    const SHORT: Duration = Duration::from_millis(400);
    const LONG: Duration = Duration::from_secs(10);

    fn item(version: u64) -> HashMap<String, AttributeValue> {
        HashMap::from([
            ("stream_id".into(), AttributeValue::S("s".into())),
            ("version".into(), AttributeValue::N(version.to_string())),
        ])
    }

    struct Fixture {
        tables: TestTables,
        proxy: Proxy,
        client: Client,
    }

    impl Fixture {
        async fn start(attempt_timeout: Duration) -> Self {
            let tables = TestTables::create(&["OrderEvents"]).await;
            let proxy = Proxy::start(tables.endpoint());
            let client = proxy.client(attempt_timeout);
            Self { tables, proxy, client }
        }

        async fn put(&self, version: u64) -> Result<(), String> {
            let put = self.client.put_item().table_name(self.tables.name("OrderEvents")).set_item(Some(item(version)));
            let put = put.condition_expression("attribute_not_exists(stream_id)").send();
            put.await.map(drop).map_err(|error| format!("{:?}", error.into_source()))
        }

        async fn is_stored(&self, version: u64) -> bool {
            let get = self.tables.client().get_item().table_name(self.tables.name("OrderEvents"));
            get.set_key(Some(item(version))).send().await.unwrap().item.is_some()
        }

        /// The versions that a read sees, page by page.
        async fn read(&self, consistent: bool, forwards: bool, limit: i32) -> Vec<u64> {
            let pages = self
                .client
                .query()
                .table_name(self.tables.name("OrderEvents"))
                .key_condition_expression("stream_id = :s")
                .expression_attribute_values(":s", AttributeValue::S("s".into()))
                .scan_index_forward(forwards)
                .consistent_read(consistent)
                .limit(limit)
                .into_paginator()
                .items()
                .send();
            let items = pages.try_collect().await.unwrap();
            items.iter().map(|item| item["version"].as_n().unwrap().parse().unwrap()).collect()
        }
    }

    #[tokio::test]
    async fn calls_are_counted_with_their_cost() {
        let fixture = Fixture::start(LONG).await;
        fixture.put(1).await.unwrap();
        fixture.put(1).await.unwrap_err();
        assert_eq!(fixture.read(false, true, 10).await, [1]);
        let calls = fixture.proxy.faults.take_calls();
        assert_eq!(calls.operations(), ["PutItem", "PutItem", "Query"]);
        assert_eq!(calls.of("PutItem").failed_with("ConditionalCheckFailedException").count(), 1);
        assert_eq!(calls.on(fixture.tables.name("OrderEvents")).of("Query").units(), 0.5);
        assert_eq!(fixture.proxy.faults.take_calls().count(), 0);
    }

    #[tokio::test]
    async fn a_lost_answer_comes_after_the_write_and_a_lost_request_instead_of_it() {
        let fixture = Fixture::start(SHORT).await;
        for (version, fault, stored) in [
            (1, Fault::LoseAnswer, true),
            (2, Fault::HangAfter, true),
            (3, Fault::FailAfter, true),
            (4, Fault::LoseRequest, false),
            (5, Fault::Hang, false),
            (6, Fault::Fail, false),
            (7, Fault::Throttle, false),
        ] {
            fixture.proxy.faults.plan(move |_| Some(fault));
            let error = fixture.put(version).await.unwrap_err();
            assert_eq!(fixture.is_stored(version).await, stored, "{fault:?}: {error}");
            let calls = fixture.proxy.faults.take_calls();
            assert_eq!(calls.count(), 3, "the SDK tries {fault:?} three times");
            assert_eq!(error.contains("ProvisionedThroughputExceeded"), fault == Fault::Throttle, "{error}");
        }
    }

    #[tokio::test]
    async fn a_late_write_is_done_when_nobody_waits_for_it_any_more() {
        let fixture = Fixture::start(SHORT).await;
        fixture.proxy.faults.plan(|call| Some(Fault::Late(SHORT)).filter(|_| call.operation == "PutItem"));
        fixture.put(1).await.unwrap_err();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        while !fixture.is_stored(1).await {
            assert!(tokio::time::Instant::now() < deadline, "it was never done");
        }
    }

    #[tokio::test]
    async fn a_stale_read_is_the_stream_less_its_newest_commits_on_every_page() {
        let fixture = Fixture::start(LONG).await;
        for version in [1, 2, 5, 6, 9] {
            fixture.put(version).await.unwrap();
        }
        for limit in [1, 2, 10] {
            fixture.proxy.faults.plan(|_| Some(Fault::Stale(2)));
            assert_eq!(fixture.read(false, false, limit).await, [5, 2, 1]);
            assert_eq!(fixture.read(false, true, limit).await, [1, 2, 5]);
            assert_eq!(fixture.read(true, false, limit).await, [9, 6, 5, 2, 1]);
        }
        fixture.proxy.faults.plan(|_| Some(Fault::Stale(7)));
        assert_eq!(fixture.read(false, false, 2).await, Vec::<u64>::new());
        // A fresh page, and then the pages of a replica that is behind.
        let mut pages = 0;
        fixture.proxy.faults.plan(move |_| {
            pages += 1;
            Some(Fault::Stale(4)).filter(|_| pages > 1)
        });
        assert_eq!(fixture.read(false, false, 2).await, [9, 6, 1]);
    }

    #[tokio::test]
    async fn an_omitted_item_is_missing_from_a_strong_read_too() {
        let fixture = Fixture::start(LONG).await;
        for version in 1..=3 {
            fixture.put(version).await.unwrap();
        }
        fixture.proxy.faults.plan(|_| Some(Fault::Omit(1)));
        assert_eq!(fixture.read(true, true, 10).await, [1, 3]);
    }
}
