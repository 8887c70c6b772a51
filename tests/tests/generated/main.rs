//! The parts of `template.yaml` and of documents that follow from the template's functions. A test that finds one out of
//! date fails, and [`UPDATE`] writes all of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panics that say why")]

mod alarms;
mod dashboard;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::{env, fs};

use orders_local::template::{ACCOUNT, Function, REGION, Template, TemplateOptions, project_path};

/// What calls a function.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Command,
    Query,
    Event,
    /// Invoked by an operator, who sees the error.
    Operator,
}

/// The names of the rules whose target the function is.
fn rules(function: &Function) -> Vec<&'static str> {
    TEMPLATE.rules.iter().filter(|rule| rule.target == function.arn()).map(|rule| rule.name.as_str()).collect()
}

/// Derived from what calls the function.
fn kind(function: &Function) -> Kind {
    let reads = |method: &str| matches!(method, "GET" | "HEAD");
    if function.routes.iter().any(|route| !reads(&route.method)) {
        Kind::Command
    } else if !function.routes.is_empty() {
        Kind::Query
    } else if function.streams.is_empty() && rules(function).is_empty() && function.schedules.is_empty() {
        Kind::Operator
    } else {
        Kind::Event
    }
}

const UPDATE: &str = "UPDATE_GOLDEN=1 cargo test --workspace --test generated";

static TEMPLATE: LazyLock<Template> =
    LazyLock::new(|| Template::load(&project_path(), &TemplateOptions::default()).unwrap());

fn read(file: &str) -> String {
    fs::read_to_string(project_path().with_file_name(file)).unwrap()
}

/// Compares the file with what it should be, or writes it.
fn check(file: &str, expected: &str) {
    if env::var_os("UPDATE_GOLDEN").is_some_and(|set| set == "1") {
        // Renamed, since other tests read it at the same time.
        let (path, new) = (project_path().with_file_name(file), project_path().with_file_name(format!("{file}.new")));
        fs::write(&new, expected).and_then(|()| fs::rename(&new, path)).unwrap();
    }
    let (found, mut lines) = (read(file), expected.lines());
    let stale = found.lines().find(|line| lines.next() != Some(line));
    assert!(found == expected, "{file} is out of date from {stale:?} on: run {UPDATE}");
}

/// The text with what is between `begin` and the next `end` replaced.
fn between(text: &str, begin: &str, end: &str, new: &str) -> String {
    let (before, rest) = text.split_once(begin).unwrap_or_else(|| panic!("there is no {begin:?}"));
    let (_, after) = rest.split_once(end).unwrap_or_else(|| panic!("there is no {end:?} after {begin:?}"));
    format!("{before}{begin}{new}{end}{after}")
}

/// Whether the function appends to the event table.
fn appends(function: &Function) -> bool {
    function.may("dynamodb:PutItem", &format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/OrderEvents"))
}

/// `template.yaml` as it should be.
fn expected_template() -> String {
    let text = read("template.yaml");
    let (alarms, dashboard) = (alarms::generated(&text), dashboard::body());
    between(&between(&text, alarms::BEGIN, alarms::END, &alarms), dashboard::BEGIN, dashboard::END, &dashboard)
}

#[test]
fn every_function_is_in_the_alarms_of_its_kind_and_on_the_dashboard() {
    check("template.yaml", &expected_template());
}

#[test]
fn every_function_and_every_parameter_is_in_the_reference() {
    let mut text = format!(
        "# Reference\n\nGenerated from `template.yaml` by `{UPDATE}`.\n\n\
         ## Functions\n\n| function | called by | what it does |\n|---|---|---|\n"
    );
    for function in &TEMPLATE.functions {
        let mut by: Vec<String> = function
            .routes
            .iter()
            .filter(|route| route.method != "HEAD")
            .map(|route| format!("`{} {}`", route.method, route.path))
            .collect();
        by.extend(function.streams.iter().map(|stream| format!("stream of `{}`", stream.table)));
        by.extend(rules(function).into_iter().map(|rule| format!("rule `{rule}`")));
        by.extend(function.schedules.iter().map(|_| "schedule".to_owned()));
        let by = if by.is_empty() { "an operator".to_owned() } else { by.join(", ") };
        let what = function.description.as_deref().expect("a description of each function");
        text +=
            &format!("| [{}](../functions/src/bin/{}.rs) | {by} | {what} |\n", function.logical_id, function.binary);
    }
    text += "\n## Parameters\n\nA parameter without a default has to be given.\n\n| parameter | default | meaning |\n|---|---|---|\n";
    let yaml: yaml_serde::Value = yaml_serde::from_str(&read("template.yaml")).unwrap();
    for (name, parameter) in yaml["Parameters"].as_mapping().unwrap() {
        let default = match &parameter["Default"] {
            yaml_serde::Value::Null => String::new(),
            yaml_serde::Value::String(text) if text.is_empty() => "empty".to_owned(),
            yaml_serde::Value::String(text) => format!("`{text}`"),
            number => format!("`{}`", number.as_u64().unwrap()),
        };
        let description = parameter["Description"].as_str().expect("a description of each parameter").trim();
        text += &format!("| `{}` | {default} | {description} |\n", name.as_str().unwrap());
    }
    check("docs/reference.md", &text);
}

/// With the description of the newest schema of each event.
#[test]
fn every_published_event_is_in_the_documents_table() {
    let mut rows = BTreeMap::new();
    for file in fs::read_dir(project_path().with_file_name("docs/events")).unwrap() {
        let file = file.unwrap().file_name().into_string().unwrap();
        let (name, schema) = file.strip_suffix(".json").and_then(|stem| stem.split_once(".v")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&read(&format!("docs/events/{file}"))).unwrap();
        let row = format!("| [{name}](events/{file}) | {} |\n", json["description"].as_str().unwrap());
        rows.entry(name.to_owned()).or_insert_with(BTreeMap::new).insert(schema.parse::<u32>().unwrap(), row);
    }
    let newest: String = rows.into_values().filter_map(|mut schemas| Some(schemas.pop_last()?.1)).collect();
    let (begin, end) = ("| detail type | what happened |\n|---|---|\n", "\n## Incoming events");
    check("docs/events.md", &between(&read("docs/events.md"), begin, end, &newest));
}

/// A restored table is a source of commits, so the function that copies them need not be stopped.
#[test]
fn a_restore_stops_every_function_that_appends_to_the_event_table() {
    let writers =
        TEMPLATE.functions.iter().filter(|function| function.logical_id != "RestoreEvents" && appends(function));
    let writers: Vec<&str> = writers.map(|function| function.logical_id.as_str()).collect();
    check("docs/restore.md", &between(&read("docs/restore.md"), "writers() { echo ", "; }", &writers.join(" ")));
}

/// CloudWatch charges for each metric that an alarm reads.
#[test]
fn the_documented_price_of_the_alarms_is_that_of_their_metrics() {
    let mut template: yaml_serde::Value = yaml_serde::from_str(&expected_template()).unwrap();
    template.apply_merge().unwrap();
    let alarms = template["Resources"].as_mapping().unwrap().values();
    let alarms = alarms.filter(|resource| resource["Type"].as_str() == Some("AWS::CloudWatch::Alarm"));
    let in_expression = |metric: &&yaml_serde::Value| metric.get("MetricStat").is_some();
    let metrics: usize = alarms
        .map(|alarm| match alarm["Properties"].get("Metrics") {
            Some(metrics) => metrics.as_sequence().unwrap().iter().filter(in_expression).count(),
            None => 1,
        })
        .sum();
    let price = format!("{metrics} metrics at 0.10 USD, {}.{}0 USD a month", metrics / 10, metrics % 10);
    check("docs/operations.md", &between(&read("docs/operations.md"), "- alarms (", ";", &price));
}
