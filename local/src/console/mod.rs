//! The console in the browser: its files, the API description, and what it shows of the local stack as it happens.

mod lines;
mod live;
mod pages;

pub(crate) use lines::LogLines;
pub(crate) use live::{Live, router};
pub(crate) use pages::pages;
