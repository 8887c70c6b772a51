//! The function `pay-order`: see [`orders_functions::commands::pay_order`].

use orders_functions::commands::pay_order::{self, VerifiedCommands};
use orders_functions::http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::serve(VerifiedCommands::from_env, pay_order::handle).await
}
