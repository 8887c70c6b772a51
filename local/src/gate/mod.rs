//! The gate in front of the services of AWS that functions call: it checks each request as IAM does, answers denied ones,
//! and relays the others. After a write to a table with a stream, the stream's readers are notified.

mod calls;
mod request;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::faults::{Fault, Faults};
use crate::iam::{Caller, Denied, Iam};
use request::{Parsed, Request};

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// A running gate. It is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Gate {
    endpoint: String,
    writes: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

/// Where requests go, by what `x-amz-target` begins with (`DynamoDB`, `AWSEvents`, `secretsmanager`).
#[derive(Clone, Debug, Default)]
pub(crate) struct Upstreams {
    /// The addresses of the services.
    pub services: BTreeMap<&'static str, String>,
    /// Other addresses of DynamoDB for single functions, by logical id.
    pub dynamodb_of: BTreeMap<String, String>,
}

struct Shared {
    iam: Iam,
    upstreams: Upstreams,
    faults: Faults,
    /// The tables with a stream.
    streamed: Vec<String>,
    writes: watch::Sender<u64>,
}

impl Gate {
    /// Starts one on a free port of the loopback interface. `streamed` are the names of the tables with a stream.
    pub(crate) async fn start(
        iam: Iam,
        upstreams: Upstreams,
        faults: Faults,
        streamed: Vec<String>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let (sender, writes) = watch::channel(0);
        let shared = Arc::new(Shared { iam, upstreams, faults, streamed, writes: sender });
        Ok(Self { endpoint, writes, task: tokio::spawn(accept(listener, shared)) })
    }

    /// Its address, for `AWS_ENDPOINT_URL_…`.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Changes after every write to a table with a stream.
    pub(crate) fn writes(&self) -> watch::Receiver<u64> {
        self.writes.clone()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Checks everything that the request needs. Only an administrator may make requests that are not understood.
    fn check(&self, caller: &Caller, request: &Request<'_>) -> Result<(), Box<Denied>> {
        let calls = calls::needed(request.target, request.body);
        if calls.is_empty() && !matches!(caller, Caller::Administrator(_)) {
            return self.iam.check(caller, &calls::unknown(request.target));
        }
        calls.iter().try_for_each(|call| self.iam.check(caller, call))
    }

    fn upstream(&self, caller: &Caller, request: &Request<'_>) -> Option<&str> {
        let own = match caller {
            Caller::Identity(function) if request.target.starts_with("DynamoDB") => {
                self.upstreams.dynamodb_of.get(&function.name)
            }
            _ => None,
        };
        let service = || self.upstreams.services.iter().find(|(service, _)| request.target.starts_with(**service));
        let url = own.or_else(|| service().map(|(_, url)| url)).or_else(|| self.upstreams.services.get("DynamoDB"))?;
        Some(url.trim_start_matches("http://").trim_end_matches('/'))
    }

    /// The injected fault of a function's request to a table with a stream.
    fn fault(&self, caller: &Caller, request: &Request<'_>) -> Option<Fault> {
        let Caller::Identity(_) = caller else { return None };
        if !self.faults.await_events() {
            return None;
        }
        let calls = calls::needed(request.target, request.body);
        let of_table = |table: &str| {
            calls.iter().any(|call| call.resource.rsplit_once(":table/").is_some_and(|(_, name)| name == table))
        };
        let concerned = self.streamed.iter().any(|table| of_table(table));
        if concerned { self.faults.of_events(self.is_write(request)) } else { None }
    }

    /// Whether a request may write to a table with a stream. A false positive costs one read of the stream.
    fn is_write(&self, request: &Request<'_>) -> bool {
        let operation = request.target.strip_prefix("DynamoDB_20120810.").unwrap_or_default();
        calls::WRITES.contains(&operation)
            && std::str::from_utf8(request.body)
                .is_ok_and(|body| self.streamed.iter().any(|table| body.contains(table.as_str())))
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // The connections end with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let shared = shared.clone();
                    connections.spawn(async move { drop(serve(client, &shared).await) });
                }
                Err(error) => tracing::warn!("a connection to the gate failed: {error}"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A connection to a service.
struct Upstream {
    address: String,
    stream: TcpStream,
}

impl Upstream {
    async fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        drop(stream.set_nodelay(true));
        Ok(Self { address: address.to_owned(), stream })
    }
}

/// Reads from the service, if there is a connection to it.
async fn read(upstream: Option<&mut Upstream>, into: &mut [u8]) -> io::Result<usize> {
    match upstream {
        Some(upstream) => upstream.stream.read(into).await,
        None => std::future::pending().await,
    }
}

/// Serves one connection until its service closes it. A client sends a request after the response to the last one.
async fn serve(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    drop(client.set_nodelay(true));
    let mut upstream: Option<Upstream> = None;
    let (mut received, mut response) = (Vec::new(), vec![0; CHUNK]);
    let (mut client_is_open, mut is_write, mut is_lost) = (true, false, false);
    loop {
        tokio::select! {
            read = client.read_buf(&mut received), if client_is_open => match read {
                Ok(1..) => match Request::parse(&received) {
                    Parsed::Partial => {}
                    Parsed::Invalid(status) => {
                        return client.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes()).await;
                    }
                    Parsed::Whole(request) => {
                        let caller = shared.iam.caller(request.access_key);
                        if let Err(denied) = shared.check(&caller, &request) {
                            client.write_all(&refusal(&denied)).await?;
                            received.clear();
                            continue;
                        }
                        let fault = shared.fault(&caller, &request);
                        is_lost = fault == Some(Fault::LoseResponse);
                        if fault == Some(Fault::Throttle) {
                            client.write_all(&throttled()).await?;
                        } else if let Some(address) = shared.upstream(&caller, &request) {
                            if upstream.as_ref().is_none_or(|known| known.address != address) {
                                upstream = Some(Upstream::connect(address).await?);
                            }
                            is_write = shared.is_write(&request);
                            let relayed = request.signed_by(relayed_role(&caller, &request));
                            if let Some(upstream) = &mut upstream {
                                upstream.stream.write_all(&relayed).await?;
                            }
                        }
                        received.clear();
                    }
                },
                // The service completes the request of a client that is gone.
                Ok(0) | Err(_) => {
                    client_is_open = false;
                    match &mut upstream {
                        Some(upstream) => drop(upstream.stream.shutdown().await),
                        None => return Ok(()),
                    }
                }
            },
            read = read(upstream.as_mut(), &mut response) => {
                let count = read?;
                if std::mem::take(&mut is_write) {
                    shared.writes.send_modify(|writes| *writes += 1);
                }
                if count == 0 || is_lost {
                    return Ok(());
                }
                drop(client.write_all(&response[..count]).await);
            }
        }
    }
}

/// The access key of a relayed request: the role of a function, which the gate of another stack checks. Some databases
/// separate tables by access key, so all share one there.
fn relayed_role<'a>(caller: &'a Caller, request: &Request<'_>) -> &'a str {
    match caller {
        Caller::Identity(own) if !request.target.starts_with("DynamoDB") => {
            own.role.rsplit_once(":role/").map_or("local", |(_, name)| name)
        }
        _ => "local",
    }
}

/// The response to a denied request.
fn refusal(denied: &Denied) -> Vec<u8> {
    error("com.amazon.coral.service#AccessDeniedException", &denied.to_string())
}

/// The response to a throttled request.
fn throttled() -> Vec<u8> {
    let name = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException";
    error(name, "The table's throughput is exceeded.")
}

fn error(name: &str, message: &str) -> Vec<u8> {
    let body = json!({ "__type": name, "Message": message }).to_string();
    let length = body.len();
    let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length";
    format!("{head}: {length}\r\n\r\n{body}").into_bytes()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use aws_sdk_dynamodb::Client;
    use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
    use tokio::time::timeout;

    use super::*;
    use crate::dynamodb::{Database, Storage, client, tables};
    use crate::iam::tests::iam;
    use crate::template::tests::template;

    /// A gate in front of this DynamoDB.
    pub(crate) async fn gate(dynamodb: &str) -> Gate {
        let services = [("DynamoDB", dynamodb.to_owned())].into();
        Gate::start(iam(), Upstreams { services, ..Upstreams::default() }, Faults::default(), vec!["Events".into()])
            .await
            .unwrap()
    }

    async fn world() -> (Database, Gate, Client) {
        let database = Database::start(&Storage::Memory).unwrap();
        tables::create_all(&database.client(), &template().tables).await.unwrap();
        let gate = gate(database.endpoint()).await;
        let client = client(gate.endpoint());
        (database, gate, client)
    }

    fn key(version: u32) -> [(String, AttributeValue); 2] {
        let version = AttributeValue::N(version.to_string());
        [("stream_id".into(), AttributeValue::S("a".into())), ("version".into(), version)]
    }

    #[tokio::test]
    async fn only_a_write_to_a_table_with_a_stream_is_notified() {
        let (_database, gate, client) = world().await;
        let writes = gate.writes();
        let notified = || *writes.borrow();
        client.put_item().table_name("Rows").item("id", AttributeValue::S("1".into())).send().await.unwrap();
        client.scan().table_name("Events").send().await.unwrap();
        assert_eq!(notified(), 0);
        client.put_item().table_name("Events").set_item(Some(key(1).into())).send().await.unwrap();
        assert_eq!(notified(), 1);
        let put = PutRequest::builder().set_item(Some(key(2).into())).build().unwrap();
        let put = WriteRequest::builder().put_request(put).build();
        client.batch_write_item().request_items("Events", vec![put]).send().await.unwrap();
        assert_eq!(notified(), 2);
        client
            .execute_statement()
            .statement("INSERT INTO \"Events\" VALUE {'stream_id': 'a', 'version': 3}")
            .send()
            .await
            .unwrap();
        assert_eq!(notified(), 3);
        assert_eq!(client.scan().table_name("Events").send().await.unwrap().count(), 3);
    }

    #[tokio::test]
    async fn a_write_of_a_client_that_is_gone_is_notified_too() {
        let (_database, gate, _) = world().await;
        let body = r#"{"TableName":"Events","Item":{"stream_id":{"S":"a"},"version":{"N":"1"}}}"#;
        let request = format!(
            "POST / HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-amz-json-1.0\r\nx-amz-date: 20260101T000000Z\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=l/20260101/r/dynamodb/aws4_request, SignedHeaders=host, Signature=0\r\n\
             x-amz-target: DynamoDB_20120810.PutItem\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut writes = gate.writes();
        let mut client = TcpStream::connect(gate.endpoint().trim_start_matches("http://")).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        drop(client);
        timeout(Duration::from_secs(10), writes.changed()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_large_request_and_a_large_response_arrive_whole() {
        let (_database, gate, client) = world().await;
        let large = AttributeValue::S("ü".repeat(150_000));
        let put = client.put_item().table_name("Events").set_item(Some(key(1).into())).item("large", large.clone());
        put.send().await.unwrap();
        assert_eq!(*gate.writes().borrow(), 1);
        let read = client.scan().table_name("Events").send().await.unwrap();
        assert_eq!(read.items()[0]["large"], large);
    }
}
