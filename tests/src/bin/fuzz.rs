//! Runs a fuzz target under libFuzzer, which measures coverage. `tests/fuzz/run TARGET` builds and starts it.
#![no_main]

use std::sync::LazyLock;

use fastrand::Rng;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use orders_tests::fuzz::mutate::mutated;
use orders_tests::fuzz::{Target, target};

static TARGET: LazyLock<&Target> = LazyLock::new(|| target(&std::env::var("FUZZ_TARGET").unwrap_or_default()));

fuzz_target!(|input: &[u8]| (TARGET.check)(input));

// Mostly the changes that leave JSON whole; now and then those of bytes.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Rng::with_seed(seed.into());
    if random.u8(..10) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let changed = mutated(&data[..size], &mut random);
    let length = changed.len().min(max_size);
    data[..length].copy_from_slice(&changed[..length]);
    length
});
