//! The function `settle-payments`: see [`orders_functions::settlement`].

use lambda_runtime::{Context, Diagnostic, Error};
use orders_core::read_model::RowsError;
use orders_functions::config::{self, Config};
use orders_functions::failure;
use orders_functions::runtime::Runtime;
use orders_functions::settlement::Settlement;
use serde::de::IgnoredAny;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let runtime = Runtime::start()?;
    let settlement = &Settlement::from_env(&Config::from_env()?, config::dynamodb_client().await).await?;
    runtime
        .serve(async |_: IgnoredAny, context: &Context| {
            let run = settlement.run(context).await.map_err(diagnostic)?;
            settlement.measure().await.map_err(diagnostic)?;
            Ok::<_, Diagnostic>(run)
        })
        .await
}

fn diagnostic(error: RowsError) -> Diagnostic {
    failure::diagnostic("RowsError", &error)
}
