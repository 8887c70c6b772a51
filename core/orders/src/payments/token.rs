//! The bearer token for the provider. It is a secret, which may be rotated while the container runs.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::header::HeaderValue;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::chain;

/// The secret is read again at most this often, however many requests are rejected.
const BETWEEN_READS: Duration = Duration::from_secs(10);

/// Where the token is stored.
pub trait Secret: Send + Sync {
    /// Reads its current value.
    fn read(&self) -> BoxFuture<'_, Result<String, SecretError>>;
}

/// Why there is no token. Each text continues "names a secret that".
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It does not exist.
    #[error("does not exist")]
    Missing,
    /// The function has no permission to read or decrypt it.
    #[error(
        "the function may not read: its role needs secretsmanager:GetSecretValue, and kms:Decrypt if the key is \
         customer-managed"
    )]
    Denied,
    /// Its value is not valid in a header.
    #[error("is not a token: its text must be the token itself, visible ASCII characters, not JSON")]
    Invalid,
    /// The service of secrets failed or did not respond.
    #[error("could not be read: {0}")]
    Unavailable(String),
}

/// The token, as it was last read.
pub struct Token {
    secret: Box<dyn Secret>,
    /// Read while the secret is read again, so that other requests do not wait for that.
    bearer: RwLock<HeaderValue>,
    /// When the secret was last read again; locked while it is.
    read_again: Mutex<Option<Instant>>,
}

impl Token {
    /// Reads the token.
    ///
    /// # Errors
    /// [`SecretError`].
    pub async fn read(secret: impl Secret + 'static) -> Result<Self, SecretError> {
        let bearer = RwLock::new(bearer(&secret.read().await?)?);
        Ok(Self { secret: Box::new(secret), bearer, read_again: Mutex::new(None) })
    }

    /// The value of the header `Authorization`.
    pub(super) fn bearer(&self) -> HeaderValue {
        self.bearer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another value after the provider rejected this one. `None` if the secret still has the rejected token, cannot be
    /// read, or was read again a moment ago. Concurrent callers share one read.
    pub(super) async fn after(&self, rejected: &HeaderValue) -> Option<HeaderValue> {
        let mut read_again = self.read_again.lock().await;
        let current = self.bearer();
        if current != rejected {
            return Some(current);
        }
        let now = Instant::now();
        if read_again.is_some_and(|last| now < last + BETWEEN_READS) {
            return None;
        }
        let read = self.secret.read().await.and_then(|text| bearer(&text));
        // Only now: a read that is cancelled with its request does not count.
        *read_again = Some(now);
        match read {
            Ok(renewed) if renewed != rejected => {
                tracing::info!("provider token rotated");
                self.bearer.write().unwrap_or_else(PoisonError::into_inner).clone_from(&renewed);
                Some(renewed)
            }
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(error = chain(&error), "provider token not read");
                None
            }
        }
    }
}

fn bearer(token: &str) -> Result<HeaderValue, SecretError> {
    let visible = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    // The console of Secrets Manager stores key-value pairs unless it is told otherwise.
    if !visible || token.starts_with('{') {
        return Err(SecretError::Invalid);
    }
    let mut bearer = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| SecretError::Invalid)?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use futures::future::join_all;
    use tokio::time::advance;

    use super::*;

    /// A secret with one value after the other; the last one remains. `None` cannot be read.
    #[derive(Clone)]
    pub struct Values {
        values: Arc<Vec<Option<&'static str>>>,
        reads: Arc<AtomicUsize>,
    }

    impl Values {
        pub fn new<const N: usize>(values: [Option<&'static str>; N]) -> Self {
            Self { values: Arc::new(values.into()), reads: Arc::default() }
        }

        fn reads(&self) -> usize {
            self.reads.load(SeqCst)
        }
    }

    impl Secret for Values {
        fn read(&self) -> BoxFuture<'_, Result<String, SecretError>> {
            Box::pin(async {
                // As a call to a service: others run meanwhile.
                tokio::task::yield_now().await;
                let place = self.reads.fetch_add(1, SeqCst).min(self.values.len() - 1);
                self.values[place].map(str::to_owned).ok_or(SecretError::Unavailable("down".into()))
            })
        }
    }

    #[tokio::test]
    async fn a_value_that_is_not_valid_in_a_header_is_not_a_token() {
        for value in ["", "a b", "a\nb", "ä", "token\n", r#"{"token":"t"}"#] {
            let read = Token::read(Values::new([Some(value)])).await;
            assert!(matches!(read, Err(SecretError::Invalid)), "{value:?}");
        }
        let token = Token::read(Values::new([Some("t-1")])).await.unwrap();
        assert_eq!(token.bearer(), "Bearer t-1");
        assert!(token.bearer().is_sensitive());
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_requests_with_a_rejected_token_share_one_read() {
        let secret = Values::new([Some("old"), Some("new")]);
        let token = Token::read(secret.clone()).await.unwrap();
        let old = token.bearer();
        let renewed = join_all((0..20).map(|_| token.after(&old))).await;
        assert!(renewed.iter().all(|renewed| renewed.as_ref().unwrap() == "Bearer new"), "{renewed:?}");
        assert_eq!((secret.reads(), token.bearer().to_str().unwrap()), (2, "Bearer new"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_stays_rejected_is_read_again_once_in_ten_seconds() {
        let secret = Values::new([Some("old"), None, Some("old"), Some("new")]);
        let token = Token::read(secret.clone()).await.unwrap();
        let old = token.bearer();
        for reads in [2, 3] {
            for _ in 0..5 {
                assert_eq!(token.after(&old).await, None);
            }
            assert_eq!(secret.reads(), reads);
            advance(BETWEEN_READS).await;
        }
        assert_eq!(token.after(&old).await.unwrap(), "Bearer new");
        assert_eq!(secret.reads(), 4);
    }
}
