//! The way to the embedded database, which itself tells nobody of a write: what goes by is carried unchanged, and whoever
//! waits for a write to a table with a stream is told.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What `x-amz-target` says before the operation.
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
/// Bytes that are carried at once.
const CHUNK: usize = 16 * 1024;

/// A running relay. It is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    endpoint: String,
    writes: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Starts one before the database at that endpoint, on a free port of the loopback interface.
    pub(crate) async fn start(upstream: &str, streamed: Vec<String>) -> io::Result<Self> {
        let upstream = upstream.trim_start_matches("http://").parse().map_err(io::Error::other)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let (sender, writes) = watch::channel(0);
        let ears = Ears { streamed, writes: sender };
        Ok(Self { endpoint, writes, task: tokio::spawn(accept(listener, upstream, Arc::new(ears))) })
    }

    /// Its address, for `AWS_ENDPOINT_URL_DYNAMODB`.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Changes with every write to a table with a stream, once it is done.
    pub(crate) fn writes(&self) -> watch::Receiver<u64> {
        self.writes.clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is listened for.
struct Ears {
    streamed: Vec<String>,
    writes: watch::Sender<u64>,
}

impl Ears {
    /// Whether the bytes of a request ask for a write to a table with a stream. That such a table is merely named, in a
    /// write to another one, is no harm: somebody looks in vain.
    fn is_write(&self, request: &[u8]) -> bool {
        let request = String::from_utf8_lossy(request);
        let operation = request.split_once(TARGET).and_then(|(_, rest)| rest.split_once('\r'));
        operation.is_some_and(|(operation, _)| WRITES.contains(&operation.trim()))
            && self.streamed.iter().any(|table| request.contains(table.as_str()))
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, ears: Arc<Ears>) {
    // They end with this.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => drop(connections.spawn(connect(client, upstream, ears.clone()))),
                Err(error) => tracing::warn!("a connection to the embedded database failed: {error}"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection until the database or the client ends it; the other one sees that it has ended.
async fn connect(client: TcpStream, upstream: SocketAddr, ears: Arc<Ears>) {
    let Ok(database) = TcpStream::connect(upstream).await else { return };
    drop((client.set_nodelay(true), database.set_nodelay(true)));
    let ((client_reads, client_writes), (database_reads, database_writes)) =
        (client.into_split(), database.into_split());
    let request = Mutex::default();
    let asks = async {
        drop(ask(client_reads, database_writes, &request).await);
        // What the client has asked for is still done, and noticed, when it does not wait for the answer.
        std::future::pending().await
    };
    tokio::select! {
        () = asks => {}
        answered = answer(database_reads, client_writes, &request, &ears) => drop(answered),
    }
}

async fn ask(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, request: &Mutex<Vec<u8>>) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = from.read(&mut chunk).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        request.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..count]);
        to.write_all(&chunk[..count]).await?;
    }
}

async fn answer(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    request: &Mutex<Vec<u8>>,
    ears: &Ears,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut client = Ok(());
    loop {
        let count = from.read(&mut chunk).await?;
        // An answer begins, or there will be none: all of its request has gone by, since a client waits for one answer
        // before it asks again.
        let request = std::mem::take(&mut *request.lock().unwrap_or_else(PoisonError::into_inner));
        if ears.is_write(&request) {
            ears.writes.send_modify(|writes| *writes += 1);
        }
        if count == 0 {
            return client;
        }
        if client.is_ok() {
            client = to.write_all(&chunk[..count]).await;
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
    use crate::database::{Database, Storage, client};
    use crate::tables;
    use crate::template::fixture;

    async fn world() -> (Database, Relay, Client) {
        let database = Database::start(&Storage::Memory).unwrap();
        tables::create_all(&database.client(), &fixture::template().tables).await.unwrap();
        let relay = Relay::start(database.endpoint(), vec!["Events".into()]).await.unwrap();
        let client = client(relay.endpoint());
        (database, relay, client)
    }

    fn key(version: u32) -> [(String, AttributeValue); 2] {
        let version = AttributeValue::N(version.to_string());
        [("stream_id".into(), AttributeValue::S("a".into())), ("version".into(), version)]
    }

    #[tokio::test]
    async fn a_write_to_a_table_with_a_stream_is_told_and_nothing_else_is() {
        let (_database, relay, client) = world().await;
        let heard = relay.writes();
        let told = || *heard.borrow();
        client.put_item().table_name("Rows").item("id", AttributeValue::S("1".into())).send().await.unwrap();
        client.scan().table_name("Events").send().await.unwrap();
        assert_eq!(told(), 0);
        client.put_item().table_name("Events").set_item(Some(key(1).into())).send().await.unwrap();
        assert_eq!(told(), 1);
        let put = PutRequest::builder().set_item(Some(key(2).into())).build().unwrap();
        let put = WriteRequest::builder().put_request(put).build();
        client.batch_write_item().request_items("Events", vec![put]).send().await.unwrap();
        assert_eq!(told(), 2);
        client
            .execute_statement()
            .statement("INSERT INTO \"Events\" VALUE {'stream_id': 'a', 'version': 3}")
            .send()
            .await
            .unwrap();
        assert_eq!(told(), 3);
        assert_eq!(client.scan().table_name("Events").send().await.unwrap().count(), 3);
    }

    #[tokio::test]
    async fn a_request_of_many_pieces_and_an_answer_of_many_are_carried_whole() {
        let (_database, relay, client) = world().await;
        let large = AttributeValue::S("ü".repeat(150_000));
        let put = client.put_item().table_name("Events").set_item(Some(key(1).into())).item("large", large.clone());
        put.send().await.unwrap();
        assert_eq!(*relay.writes().borrow(), 1);
        let read = client.scan().table_name("Events").send().await.unwrap();
        assert_eq!(read.items()[0]["large"], large);
    }

    #[tokio::test]
    async fn a_write_whose_client_is_gone_is_told_too() {
        let (_database, relay, _) = world().await;
        let body = r#"{"TableName":"Events","Item":{"stream_id":{"S":"a"},"version":{"N":"1"}}}"#;
        let request = format!(
            "POST / HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-amz-json-1.0\r\nx-amz-date: 20260101T000000Z\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=l/20260101/r/dynamodb/aws4_request, SignedHeaders=host, Signature=0\r\n\
             x-amz-target: DynamoDB_20120810.PutItem\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut heard = relay.writes();
        let mut client = TcpStream::connect(relay.endpoint().trim_start_matches("http://")).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        drop(client);
        timeout(Duration::from_secs(10), heard.changed()).await.unwrap().unwrap();
    }
}
