//! The permissions that a test uses, and the calls that were denied.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use orders_local::iam::{Checked, Denied, Observer};
use orders_local::stack::StackOptions;
use orders_local::template::project_path;

/// The environment variable that names a permission for [`StackOptions::without_permission`].
pub const WITHOUT: &str = "ORDERS_WITHOUT_PERMISSION";

/// The permission that every stack of this process leaves out.
pub fn left_out() -> Option<String> {
    env::var(WITHOUT).ok().filter(|permission| !permission.is_empty())
}

/// The directory with a file for each permission that tests used (`CreateOrder.0.a1.r0`): each line is a test, as its program
/// and its name. `.ci/check-permissions.py` compares them with the template after the tests.
pub fn folder() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| project_path().with_file_name("target"), PathBuf::from);
    target.join("permissions-used")
}

/// Observes the permissions of one stack. When it is dropped, the test fails if a call was denied that it did not expect.
#[derive(Debug)]
pub struct Used {
    denied: Arc<Mutex<Vec<Denied>>>,
}

impl Used {
    /// Makes it the observer of a stack.
    pub fn observing(options: &mut StackOptions) -> Self {
        let denied = Arc::new(Mutex::new(Vec::new()));
        let (test, used, of_stack) = (test(), Mutex::new(BTreeSet::new()), denied.clone());
        options.permissions = Some(Observer::new(move |checked| match checked {
            Checked::Allowed { identity, statement, action, resource } => {
                let name = format!("{identity}.{statement}.a{action}.r{resource}");
                if used.lock().unwrap().insert(name.clone()) {
                    record(&name, &test);
                }
            }
            Checked::Denied(call) => of_stack.lock().unwrap().push(call.clone()),
        }));
        Self { denied }
    }

    /// Takes the calls that were denied.
    pub fn take_denied(&self) -> Vec<Denied> {
        std::mem::take(&mut self.denied.lock().unwrap())
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        let denied: Vec<_> = self.take_denied().iter().map(|denied| format!("{denied}: {}", denied.remedy)).collect();
        assert!(thread::panicking() || denied.is_empty(), "calls were denied:\n{}", denied.join("\n"));
    }
}

/// The program of this process and the name of the test on this thread.
fn test() -> String {
    let program = env::current_exe().unwrap();
    format!("{} {}", program.display(), thread::current().name().unwrap_or_default())
}

fn record(permission: &str, test: &str) {
    let folder = folder();
    fs::create_dir_all(&folder).unwrap();
    let mut file = OpenOptions::new().create(true).append(true).open(folder.join(permission)).unwrap();
    file.write_all(format!("{test}\n").as_bytes()).unwrap();
}
