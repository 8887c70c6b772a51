//! What a newcomer reads when the stack has started: what runs, and a line for the shell for each route.

use std::path::{Path, PathBuf};
use std::time::Duration;

use orders_local::stack::Stack;
use orders_local::template::{Function, Route, Template};
use orders_local::tokens::CALLERS;
use serde_json::Value;

/// The functions in the order of an order's life; others come after them.
const WALK: [&str; 12] = [
    "create-order",
    "get-order",
    "pay-order",
    "list-orders",
    "list-user-orders",
    "ship-order",
    "deliver-order",
    "order-history",
    "cancel-order",
    "sales-report",
    "ops-status",
    "override-breaker",
];

/// What becomes of the tables, and of what else is stored, when the stack stops.
#[derive(Debug)]
pub struct Kept {
    /// Whether the tables are in a DynamoDB that goes on without the stack.
    pub elsewhere: bool,
    /// Where the stack keeps what it stores.
    pub directory: Option<PathBuf>,
}

impl Kept {
    fn tables(&self) -> String {
        match (self.elsewhere, &self.directory) {
            (true, _) => "not this stack's: the tables stay when it stops".into(),
            (false, Some(directory)) => format!("kept in {}", directory.display()),
            (false, None) => "gone when this stops; --data DIR keeps it".into(),
        }
    }

    fn rest(&self) -> String {
        match &self.directory {
            Some(directory) => format!("kept in {}", directory.display()),
            None => "gone when this stops; --data DIR keeps them".into(),
        }
    }
}

/// All of it. The lines are made of the functions' events, which are in the directory `events`.
pub fn text(stack: &Stack, kept: &Kept, events: &Path, took: Duration) -> String {
    let (url, template) = (stack.url(), stack.template());
    let mut text = format!(
        "The order service runs on this machine, after {} ms.\n\n  API       {url}\n  DynamoDB  {}  ({})\n  Tables    {}\n",
        took.as_millis(),
        stack.dynamodb(),
        kept.tables(),
        join(template.tables.iter().map(|table| table.name.as_str()))
    );
    for function in &template.functions {
        for stream in &function.streams {
            text += &format!("  Stream    {} -> {}\n", stream.table, function.binary);
        }
    }
    for function in template.functions.iter().filter(|function| !function.rules.is_empty()) {
        text += &format!("  Bus       {} -> {}\n", join(template.buses.iter().map(String::as_str)), function.binary);
    }
    for function in template.functions.iter().filter(|function| !function.schedules.is_empty()) {
        text += &format!("  Clock     -> {}\n", function.binary);
    }
    if template
        .functions
        .iter()
        .any(|function| function.environment.values().any(|value| value == stack.payments_url()))
    {
        text += &format!("  Payments  {}, behaves as {url}/dev/payments is told\n", stack.payments_url());
    }
    text += &format!("  Failures  queues, failed records and how far streams are read: {}\n", kept.rest());
    text += "  Events    cargo run -- events, in a second terminal, shows them as they come\n";
    text += &format!("  About     {url}/dev/stack\n\nTokens, also at {url}/dev/tokens/NAME:\n\n");
    for caller in &CALLERS {
        let token = stack.tokens().get(caller.name).map_or("", String::as_str);
        let may = join(caller.scopes.iter().copied());
        text += &format!("  {}: {}, may {may}\n    {token}\n", caller.name, caller.sub);
    }
    text += "\nAn order's life, line by line, in a second terminal:\n\n";
    for (function, route) in walk(template) {
        let event = event(&events.join(format!("{}.json", function.binary)));
        let what = function.description.as_deref().unwrap_or(&function.logical_id);
        text += &format!("# {what}\n{}\n\n", curl(url, template, route, &event));
    }
    text += "Ctrl-C stops everything that was started here.";
    text
}

fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

fn event(path: &Path) -> Value {
    std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

fn walk(template: &Template) -> Vec<(&Function, &Route)> {
    let mut routes: Vec<_> = template
        .functions
        .iter()
        .flat_map(|function| function.routes.iter().map(move |route| (function, route)))
        // There is one beside every GET, which the walk has.
        .filter(|(_, route)| route.method != "HEAD")
        .collect();
    routes.sort_by_key(|(function, _)| WALK.iter().position(|name| *name == function.binary).unwrap_or(WALK.len()));
    routes
}

/// A line that needs nothing but curl. The one that creates leaves the id in `$order`, where the others find it.
fn curl(url: &str, template: &Template, route: &Route, event: &Value) -> String {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let subject = text("/requestContext/authorizer/jwt/claims/sub");
    let may = |scopes: &[&str]| route.scopes.iter().any(|wanted| scopes.iter().any(|scope| wanted.ends_with(scope)));
    let caller = CALLERS
        .iter()
        .find(|caller| Some(caller.sub) == subject)
        .or_else(|| CALLERS.iter().find(|caller| may(caller.scopes)));
    let path: Vec<&str> = route
        .path
        .split('/')
        .map(|part| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some("id") => "$order",
            Some(name) => text(&format!("/pathParameters/{name}")).unwrap_or(part),
            None => part,
        })
        .collect();
    let query = text("/rawQueryString").filter(|query| !query.is_empty()).map(|query| format!("?{query}"));
    let mut line = format!("curl -sS -X {} \"{url}{}{}\"", route.method, path.join("/"), query.unwrap_or_default());
    if let (Some(caller), Some(_)) = (caller, &route.authorizer) {
        line += &format!(" -H \"authorization: Bearer $(curl -sS {url}/dev/tokens/{})\"", caller.name);
    }
    if let Some(body) = text("/body") {
        line += &format!(" -H 'content-type: application/json' -d '{}'", body.replace('\'', "'\\''"));
    }
    let creates = route.method == "POST"
        && template
            .functions
            .iter()
            .flat_map(|f| &f.routes)
            .any(|other| other.path == format!("{}/{{id}}", route.path));
    if creates {
        format!("order=$({line} | tee /dev/stderr | sed 's/.*\"order_id\":\"\\([^\"]*\\)\".*/\\1/'); echo")
    } else {
        format!("{line}; echo")
    }
}

#[cfg(test)]
mod tests {
    use orders_local::template::{TemplateOptions, project_path};
    use serde_json::json;

    use super::*;

    fn template() -> Template {
        Template::load(&project_path(), &TemplateOptions::default()).unwrap()
    }

    fn line(function: &str, event: &Value) -> String {
        let template = template();
        curl("http://h:1", &template, &template.function(function).unwrap().routes[0], event)
    }

    #[test]
    fn every_route_of_the_project_has_a_line_and_an_event_with_all_that_its_line_needs() {
        let template = template();
        assert!(
            WALK.iter().all(|binary| template.function(binary).is_some()),
            "the walk names a function that does not exist"
        );
        let events = project_path().with_file_name("events");
        for (function, route) in walk(&template) {
            let event = event(&events.join(format!("{}.json", function.binary)));
            let line = curl("http://h:1", &template, route, &event);
            let subject = event.pointer("/requestContext/authorizer/jwt/claims/sub").and_then(Value::as_str);
            assert!(CALLERS.iter().any(|caller| Some(caller.sub) == subject), "{}: {subject:?}", function.binary);
            assert!(!line.contains('{') || line.contains("-d '{"), "{line}");
        }
        assert_eq!(walk(&template)[0].0.binary, "create-order");
    }

    #[test]
    fn what_becomes_of_the_data_is_said_as_it_is_under_every_option() {
        let said = |elsewhere, directory: Option<&str>| {
            let kept = Kept { elsewhere, directory: directory.map(PathBuf::from) };
            (kept.tables(), kept.rest())
        };
        let (tables, rest) = said(false, None);
        assert!(tables.starts_with("gone when this stops") && rest.starts_with("gone when this stops"));
        assert_eq!(said(false, Some("d")), ("kept in d".into(), "kept in d".into()));
        let (tables, rest) = said(true, None);
        assert!(tables.contains("stay when it stops") && rest.starts_with("gone when this stops"), "{tables}; {rest}");
        let (tables, rest) = said(true, Some("d"));
        assert!(tables.contains("stay when it stops") && rest == "kept in d", "{tables}; {rest}");
    }

    #[test]
    fn a_line_asks_for_its_token_and_carries_the_events_body_and_query() {
        let event = json!({"rawQueryString": "a=1&b=2", "body": "{\"reason\": \"it's late\"}"});
        assert_eq!(
            line("cancel-order", &event),
            "curl -sS -X POST \"http://h:1/orders/$order/cancel?a=1&b=2\" \
             -H \"authorization: Bearer $(curl -sS http://h:1/dev/tokens/customer)\" \
             -H 'content-type: application/json' -d '{\"reason\": \"it'\\''s late\"}'; echo"
        );
    }

    #[test]
    fn the_line_that_creates_keeps_the_id_for_the_others() {
        assert!(line("create-order", &json!({})).starts_with("order=$(curl "));
        assert!(line("get-order", &json!({})).contains("/orders/$order\""));
    }
}
