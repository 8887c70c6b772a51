//! The function `project-orders`: see [`orders_functions::projection`].

use aws_lambda_events::dynamodb::Event;
use lambda_runtime::{Context, Error};
use orders_functions::config::{self, Config, SalesTables};
use orders_functions::projection::ReadModels;
use orders_functions::runtime::Runtime;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let runtime = Runtime::start()?;
    let (config, sales) = (Config::from_env()?, SalesTables::from_env()?);
    let backlog: String = config::setting("READ_MODEL_BACKLOG_TABLE")?;
    let models = &ReadModels::new(&config, &sales, backlog, config::dynamodb_client().await);
    runtime.serve(async |batch: Event, _: &Context| Ok::<_, Error>(models.project(batch).await)).await
}
