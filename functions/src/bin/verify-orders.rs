//! The function `verify-orders`: see [`orders_functions::rebuild`].

use dynamodb_event_store::projection::Verification;
use lambda_runtime::Context;
use orders_functions::config::{self, Config, SalesTables};
use orders_functions::rebuild::{Maintenance, OneSegment};
use orders_functions::runtime::Runtime;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let runtime = Runtime::start()?;
    let (config, sales) = (Config::from_env()?, SalesTables::from_env()?);
    let maintenance = &Maintenance::new(config, sales, config::bulk_client().await);
    let verify = async |run: OneSegment<Verification>, context: &Context| maintenance.verify(run, context).await;
    runtime.serve(verify).await
}
