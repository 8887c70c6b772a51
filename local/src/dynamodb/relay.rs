//! Relays calls to the embedded database, which does not notify of writes. Bytes pass unchanged; after a write to a table
//! with a stream, the stream readers are notified.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What `x-amz-target` has before the operation.
const TARGET: &str = "DynamoDB_20120810.";
/// The operations that may write.
const WRITES: [&str; 8] = [
    "PutItem",
    "UpdateItem",
    "DeleteItem",
    "BatchWriteItem",
    "TransactWriteItems",
    "ExecuteStatement",
    "BatchExecuteStatement",
    "ExecuteTransaction",
];
/// Bytes that are relayed at once.
const CHUNK: usize = 16 * 1024;

/// A running relay. It is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    endpoint: String,
    writes: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

/// The tables with a stream, and who is notified of writes to them.
struct Watched {
    tables: Vec<String>,
    writes: watch::Sender<u64>,
}

impl Relay {
    /// Starts one in front of the database at that endpoint, on a free port of the loopback interface.
    pub(crate) async fn start(upstream: &str, tables: Vec<String>) -> io::Result<Self> {
        let upstream = upstream.trim_start_matches("http://").parse().map_err(io::Error::other)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let (sender, writes) = watch::channel(0);
        let watched = Arc::new(Watched { tables, writes: sender });
        Ok(Self { endpoint, writes, task: tokio::spawn(accept(listener, upstream, watched)) })
    }

    /// Its address, for `AWS_ENDPOINT_URL_DYNAMODB`.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Changes after every write to a table with a stream.
    pub(crate) fn writes(&self) -> watch::Receiver<u64> {
        self.writes.clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watched {
    /// Whether a request may write to one of the tables. A false positive costs one read of the stream.
    fn is_write(&self, request: &[u8]) -> bool {
        let request = String::from_utf8_lossy(request);
        let operation = request.split_once(TARGET).and_then(|(_, rest)| rest.split_once('\r'));
        operation.is_some_and(|(operation, _)| WRITES.contains(&operation.trim()))
            && self.tables.iter().any(|table| request.contains(table.as_str()))
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, watched: Arc<Watched>) {
    // The connections end with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let watched = watched.clone();
                    connections.spawn(async move { drop(relay(client, upstream, &watched).await) });
                }
                Err(error) => tracing::warn!("a connection to the embedded database failed: {error}"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Relays one connection until the database closes it.
async fn relay(mut client: TcpStream, upstream: SocketAddr, watched: &Watched) -> io::Result<()> {
    let mut database = TcpStream::connect(upstream).await?;
    drop((client.set_nodelay(true), database.set_nodelay(true)));
    let (mut from_client, mut from_database) = (vec![0; CHUNK], vec![0; CHUNK]);
    let (mut request, mut client_is_open) = (Vec::new(), true);
    loop {
        tokio::select! {
            read = client.read(&mut from_client), if client_is_open => match read {
                Ok(count @ 1..) => {
                    request.extend_from_slice(&from_client[..count]);
                    // A database that takes no more of a request has responded to it.
                    client_is_open = database.write_all(&from_client[..count]).await.is_ok();
                }
                // The database completes the request of a client that is gone.
                Ok(0) | Err(_) => {
                    client_is_open = false;
                    drop(database.shutdown().await);
                }
            },
            read = database.read(&mut from_database) => {
                let count = read?;
                // A response begins, or the connection ends: the whole request has passed.
                if watched.is_write(&std::mem::take(&mut request)) {
                    watched.writes.send_modify(|writes| *writes += 1);
                }
                if count == 0 {
                    return Ok(());
                }
                drop(client.write_all(&from_database[..count]).await);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_sdk_dynamodb::Client;
    use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
    use tokio::time::timeout;

    use super::*;
    use crate::dynamodb::{Database, Storage, client, tables};
    use crate::template::tests::template;

    async fn world() -> (Database, Relay, Client) {
        let database = Database::start(&Storage::Memory).unwrap();
        tables::create_all(&database.client(), &template().tables).await.unwrap();
        let relay = Relay::start(database.endpoint(), vec!["Events".into()]).await.unwrap();
        let client = client(relay.endpoint());
        (database, relay, client)
    }

    fn key(version: u32) -> [(String, AttributeValue); 2] {
        let version = AttributeValue::N(version.to_string());
        [("stream_id".into(), AttributeValue::S("a".into())), ("version".into(), version)]
    }

    #[tokio::test]
    async fn only_a_write_to_a_table_with_a_stream_is_notified() {
        let (_database, relay, client) = world().await;
        let writes = relay.writes();
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
        let (_database, relay, _) = world().await;
        let body = r#"{"TableName":"Events","Item":{"stream_id":{"S":"a"},"version":{"N":"1"}}}"#;
        let request = format!(
            "POST / HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-amz-json-1.0\r\nx-amz-date: 20260101T000000Z\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=l/20260101/r/dynamodb/aws4_request, SignedHeaders=host, Signature=0\r\n\
             x-amz-target: DynamoDB_20120810.PutItem\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut writes = relay.writes();
        let mut client = TcpStream::connect(relay.endpoint().trim_start_matches("http://")).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        drop(client);
        timeout(Duration::from_secs(10), writes.changed()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_large_request_and_a_large_response_arrive_whole() {
        let (_database, relay, client) = world().await;
        let large = AttributeValue::S("ü".repeat(150_000));
        let put = client.put_item().table_name("Events").set_item(Some(key(1).into())).item("large", large.clone());
        put.send().await.unwrap();
        assert_eq!(*relay.writes().borrow(), 1);
        let read = client.scan().table_name("Events").send().await.unwrap();
        assert_eq!(read.items()[0]["large"], large);
    }

    #[tokio::test]
    async fn a_response_to_the_first_part_of_a_request_arrives() {
        let database = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Relay::start(&format!("http://{}", database.local_addr().unwrap()), Vec::new()).await.unwrap();
        let early = async {
            let (mut connection, _) = database.accept().await.unwrap();
            connection.read_exact(&mut [0; 10]).await.unwrap();
            connection.write_all(b"too large").await.unwrap();
        };
        let mut client = TcpStream::connect(relay.endpoint().trim_start_matches("http://")).await.unwrap();
        client.write_all(b"0123456789").await.unwrap();
        early.await;
        drop(client.write_all(&vec![0; 1_000_000]).await);
        let mut response = [0; 9];
        timeout(Duration::from_secs(10), client.read_exact(&mut response)).await.unwrap().unwrap();
        assert_eq!(&response, b"too large");
    }
}
