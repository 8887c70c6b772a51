//! The function `catch-up-read-models`: see [`orders_functions::projection`].

use lambda_runtime::{Context, Error};
use orders_functions::config::{self, Config, SalesTables};
use orders_functions::failure;
use orders_functions::projection::ReadModels;
use orders_functions::runtime::Runtime;
use serde::de::IgnoredAny;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let runtime = Runtime::start()?;
    let (config, sales) = (Config::from_env()?, SalesTables::from_env()?);
    let backlog: String = config::setting("READ_MODEL_BACKLOG_TABLE")?;
    let models = &ReadModels::new(&config, &sales, backlog, config::dynamodb_client().await);
    let catch_up = async |_: IgnoredAny, context: &Context| {
        models.catch_up(context).await.map_err(|error| failure::diagnostic("BacklogError", &error))
    };
    runtime.serve(catch_up).await
}
