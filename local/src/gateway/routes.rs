//! Which route a request takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use crate::lambda::Containers;
use crate::template::Route;

/// A route of the API and the function behind it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The route.
    pub route: Route,
    /// The function's containers.
    pub containers: Arc<Containers>,
}

impl Target {
    /// API Gateway's name of it: `GET /orders/{id}`.
    pub fn key(&self) -> String {
        format!("{} {}", self.route.method, self.route.path)
    }
}

/// The route of a request and the decoded values of its path parameters. A fixed segment takes precedence over a parameter.
pub(super) fn find<'a>(
    targets: &'a [Target],
    method: &str,
    path: &str,
) -> Option<(&'a Target, BTreeMap<String, String>)> {
    let of_method = targets.iter().filter(|target| target.route.method == method);
    let matching = of_method.filter_map(|target| Some((target, match_path(&target.route.path, path)?)));
    matching.min_by_key(|(_, parameters)| parameters.len())
}

fn match_path(pattern: &str, path: &str) -> Option<BTreeMap<String, String>> {
    let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    let mut parameters = BTreeMap::new();
    for (part, segment) in pattern.iter().zip(&path) {
        let segment = percent_decode_str(segment).decode_utf8_lossy();
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) if !segment.is_empty() => drop(parameters.insert(name.to_owned(), segment.into_owned())),
            None if segment == *part => {}
            _ => return None,
        }
    }
    (pattern.len() == path.len()).then_some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lambda::Logs;
    use crate::template::tests::template;

    /// The result must not depend on the order of the routes.
    fn found(method: &str, path: &str) -> Option<(String, BTreeMap<String, String>)> {
        let template = template();
        let targets = template.functions.iter().flat_map(|function| {
            let logs = Logs::to(|_, _| {});
            let containers = Containers::new(function, std::path::Path::new("."), &BTreeMap::new(), 1, logs);
            function.routes.iter().map(move |route| Target { route: route.clone(), containers: containers.clone() })
        });
        let mut targets: Vec<_> = targets.collect();
        let in_order = find(&targets, method, path).map(|(target, parameters)| (target.key(), parameters));
        targets.reverse();
        let reversed = find(&targets, method, path).map(|(target, parameters)| (target.key(), parameters));
        assert_eq!(in_order, reversed);
        in_order
    }

    #[test]
    fn a_fixed_segment_takes_precedence_and_parameters_are_decoded() {
        assert_eq!(found("GET", "/things/newest").unwrap().0, "GET /things/newest");
        let (key, parameters) = found("GET", "/things/a%2Fb%20c").unwrap();
        assert_eq!((key.as_str(), parameters["id"].as_str()), ("GET /things/{id}", "a/b c"));
    }

    #[test]
    fn other_methods_lengths_and_empty_segments_do_not_match() {
        for (method, path) in
            [("DELETE", "/things/7"), ("GET", "/things/"), ("GET", "/things/7/"), ("POST", "/things/x"), ("GET", "/")]
        {
            assert_eq!(found(method, path), None, "{method} {path}");
        }
    }
}
