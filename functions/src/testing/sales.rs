//! Totals of sales, written by hand.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::Shop;
use crate::config::SalesTables;
use crate::queries::sales_report::Reports;

impl Shop {
    /// What `sales-report` reads.
    pub fn reports(&self) -> Reports {
        Reports::new(&self.config, self.tables.name("SalesTotals"), self.client.clone())
    }

    /// Adds to a counter of a total of sales, as the projector does in one of the shards.
    pub async fn sell(&self, shard: u8, total: &str, counters: &[(&str, i128)]) {
        for (counter, more) in counters {
            let update = self.client.update_item().table_name(self.tables.name("SalesTotals"));
            let update = update.set_key(Some(total_key(shard, total))).update_expression("ADD #counter :more");
            let update = update.expression_attribute_names("#counter", *counter);
            let more = AttributeValue::N(more.to_string());
            update.expression_attribute_values(":more", more).send().await.unwrap();
        }
    }

    /// Stores a total of this size without any of the figures.
    pub async fn sell_nothing(&self, shard: u8, total: &str, bytes: usize) {
        // An attribute's name may have 64 KB.
        let counters = (0..bytes.div_ceil(60_000)).map(|n| (format!("{n:060000}"), AttributeValue::N("1".into())));
        self.put_sales(total_key(shard, total).into_iter().chain(counters).collect()).await;
    }

    /// Stores a total with a counter that is not a number.
    pub async fn damage_sales(&self, shard: u8, total: &str) {
        let counter = ("paid".to_owned(), AttributeValue::S("many".into()));
        self.put_sales(total_key(shard, total).into_iter().chain([counter]).collect()).await;
    }

    async fn put_sales(&self, item: HashMap<String, AttributeValue>) {
        let put = self.client.put_item().table_name(self.tables.name("SalesTotals")).set_item(Some(item));
        put.send().await.unwrap();
    }
}

/// The tables of sales, of these names by their logical ids.
pub fn tables(table: impl Fn(&str) -> String) -> SalesTables {
    SalesTables { rows: table("SalesOrders"), totals: table("SalesTotals") }
}

/// The key of a total's shard.
fn total_key(shard: u8, total: &str) -> HashMap<String, AttributeValue> {
    [("shard", shard.to_string()), ("name", total.to_owned())]
        .map(|(name, value)| (name.to_owned(), AttributeValue::S(value)))
        .into()
}
