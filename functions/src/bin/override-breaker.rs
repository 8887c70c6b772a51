//! The function `override-breaker`: see [`orders_functions::override_breaker`].

use orders_functions::http;
use orders_functions::override_breaker::{self, Breakers};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::serve(async |config, client| Breakers::from_env(config, client), override_breaker::handle).await
}
