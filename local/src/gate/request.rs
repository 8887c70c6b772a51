//! A request to a service of AWS, as HTTP/1.1 has it.

/// Most bytes of a request. DynamoDB accepts 16 MB in a batch.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// A whole request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// The header `x-amz-target`, or nothing.
    pub target: &'a str,
    /// The access key of the signature, or nothing.
    pub access_key: &'a str,
    pub body: &'a [u8],
    head: &'a [u8],
}

/// What has been received of a request.
#[derive(Debug)]
pub(super) enum Parsed<'a> {
    Partial,
    Whole(Request<'a>),
    /// It cannot be relayed; the status of the response.
    Invalid(&'static str),
}

impl<'a> Request<'a> {
    /// Reads a request from the beginning of a connection.
    pub(super) fn parse(received: &'a [u8]) -> Parsed<'a> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        let length_of_head = match request.parse(received) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Parsed::Partial,
            Err(_) => return Parsed::Invalid("400 Bad Request"),
        };
        let header = |name: &str| {
            let found = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            found.and_then(|header| std::str::from_utf8(header.value).ok())
        };
        if header("transfer-encoding").is_some() {
            return Parsed::Invalid("411 Length Required");
        }
        let mut lengths = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("content-length"));
        let length = match (lengths.next(), lengths.next()) {
            (None, _) => Some(0),
            (Some(length), None) => std::str::from_utf8(length.value).ok().and_then(|text| text.parse::<usize>().ok()),
            (Some(_), Some(_)) => None,
        };
        let Some(length) = length else { return Parsed::Invalid("400 Bad Request") };
        if length > MOST_BYTES {
            return Parsed::Invalid("413 Content Too Large");
        }
        let (head, body) = received.split_at(length_of_head);
        match body.get(..length) {
            // A client sends its next request after the response.
            Some(body) if body.len() < received.len() - length_of_head => Parsed::Invalid("400 Bad Request"),
            Some(body) => {
                let target = header("x-amz-target").unwrap_or_default();
                let access_key = header("authorization").map_or("", access_key);
                Parsed::Whole(Request { target, access_key, body, head })
            }
            None => Parsed::Partial,
        }
    }

    /// The request with another access key. Local services do not verify the signature.
    pub(super) fn signed_by(&self, access_key: &str) -> Vec<u8> {
        let mut relayed = Vec::with_capacity(self.head.len() + self.body.len() + access_key.len());
        let at = (self.access_key.as_ptr() as usize).checked_sub(self.head.as_ptr() as usize);
        match at.filter(|at| !self.access_key.is_empty() && *at < self.head.len()) {
            Some(at) => {
                relayed.extend_from_slice(&self.head[..at]);
                relayed.extend_from_slice(access_key.as_bytes());
                relayed.extend_from_slice(&self.head[at + self.access_key.len()..]);
            }
            None => relayed.extend_from_slice(self.head),
        }
        relayed.extend_from_slice(self.body);
        relayed
    }
}

/// The access key of `AWS4-HMAC-SHA256 Credential=KEY/20260101/us-east-1/dynamodb/aws4_request, …`. A role's name may have
/// slashes.
fn access_key(authorization: &str) -> &str {
    let credential = authorization.split_once("Credential=").map_or("", |(_, rest)| rest);
    let credential = credential.split(',').next().unwrap_or_default();
    credential.rsplitn(5, '/').nth(4).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: &str) -> String {
        let scope = "20260101/us-east-1/dynamodb/aws4_request";
        format!(
            "POST / HTTP/1.1\r\nAuthorization: AWS4-HMAC-SHA256 Credential=ops/KEY/{scope}, SignedHeaders=host, Signature=0\r\n\
             X-Amz-Target: DynamoDB_20120810.PutItem\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    #[test]
    fn a_request_is_whole_when_its_body_is() {
        let text = text("{\"a\": 1}");
        for received in [0, 20, text.len() - 1] {
            assert!(matches!(Request::parse(&text.as_bytes()[..received]), Parsed::Partial), "{received}");
        }
        let Parsed::Whole(request) = Request::parse(text.as_bytes()) else { panic!("{text}") };
        let found = (request.target, request.access_key, request.body);
        assert_eq!(found, ("DynamoDB_20120810.PutItem", "ops/KEY", &b"{\"a\": 1}"[..]));
        assert_eq!(request.signed_by("local"), text.replace("ops/KEY", "local").into_bytes());
    }

    #[test]
    fn a_request_whose_length_is_unknown_or_too_large_is_rejected() {
        for (header, status) in [
            ("Transfer-Encoding: chunked", "411 Length Required"),
            ("Content-Length: 99999999999", "413 Content Too Large"),
            ("Content-Length: x", "400 Bad Request"),
        ] {
            let text = format!("POST / HTTP/1.1\r\n{header}\r\n\r\n");
            let parsed = Request::parse(text.as_bytes());
            assert!(matches!(parsed, Parsed::Invalid(found) if found == status), "{parsed:?}");
        }
    }
}
