//! The function `settle-payments`: see [`orders_functions::settlement`].

use lambda_runtime::{Context, Diagnostic, Error};
use orders_core::domain::PaymentId;
use orders_core::read_model::RowsError;
use orders_functions::body::Given;
use orders_functions::config::{self, Config};
use orders_functions::failure;
use orders_functions::runtime::Runtime;
use orders_functions::settlement::{ProviderCheck, Run, Settlement};
use serde::{Deserialize, Serialize};

/// What invokes the function: its schedule, or a check of the deployment.
#[derive(Deserialize)]
struct Event {
    /// Ask the provider about this payment, and settle none.
    check_provider: Option<Given<PaymentId>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Response {
    Settled(Run),
    Checked(ProviderCheck),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let runtime = Runtime::start()?;
    let settlement = &Settlement::from_env(&Config::from_env()?, config::dynamodb_client().await).await?;
    runtime
        .serve(async |event: Event, context: &Context| {
            if let Some(Given(payment_id)) = event.check_provider {
                return Ok(Response::Checked(settlement.check_provider(payment_id, context).await));
            }
            let run = settlement.run(context).await.map_err(diagnostic)?;
            settlement.measure().await.map_err(diagnostic)?;
            Ok::<_, Diagnostic>(Response::Settled(run))
        })
        .await
}

fn diagnostic(error: RowsError) -> Diagnostic {
    failure::diagnostic("RowsError", &error)
}
