//! The function `expire-orders`: see [`orders_functions::expiry`].

use lambda_runtime::{Context, Error};
use orders_functions::config::{self, Config};
use orders_functions::expiry::Expiry;
use orders_functions::failure;
use orders_functions::runtime::Runtime;
use serde::de::IgnoredAny;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let runtime = Runtime::start()?;
    let expiry = &Expiry::new(&Config::from_env()?, config::dynamodb_client().await)?;
    let expire = async |_: IgnoredAny, context: &Context| {
        expiry.run(context).await.map_err(|error| failure::diagnostic("RowsError", &error))
    };
    runtime.serve(expire).await
}
