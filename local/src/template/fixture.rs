//! A small template for tests.

use super::{Template, TemplateOptions};

pub(crate) const TEXT: &str = include_str!("../../tests/stack/template.yaml");

pub(crate) fn template() -> Template {
    Template::parse(TEXT, &TemplateOptions::default()).unwrap()
}
