//! Every case of the suite fails on an engine that is broken in just that.

mod answers;
mod calls;
mod content;
mod engine;
mod faults;
mod watches;

use std::panic::{AssertUnwindSafe, catch_unwind};

use vine_registry_conformance::{CASES, Case};

use crate::{
    engine::handles,
    faults::{FOUND, Fault},
};

/// Runs a case on an engine with this fault; whether it passes.
fn passes(case: &Case, fault: Fault) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let run = || {
        runtime.block_on(async {
            let (a, b) = handles(fault);
            case.run(&a, &b).await;
        });
    };
    catch_unwind(AssertUnwindSafe(run)).is_ok()
}

#[test]
fn the_engine_without_a_fault_passes() {
    for case in CASES {
        assert!(passes(case, Fault::None), "{case:?} fails without a fault");
    }
}

#[test]
fn each_case_finds_its_fault() {
    let mut missed = Vec::new();
    for case in CASES {
        let row = FOUND
            .iter()
            .find(|row| (row.0, row.1) == (case.theme, case.name));
        let Some((.., faults)) = row else {
            panic!("say in faults.rs what fault {case:?} finds");
        };
        assert!(
            !faults.is_empty(),
            "say in faults.rs what fault {case:?} finds"
        );
        missed.extend(
            faults
                .iter()
                .filter(|fault| passes(case, **fault))
                .map(|fault| (case, *fault)),
        );
    }
    assert!(
        missed.is_empty(),
        "cases that pass on an engine with a fault: {missed:#?}"
    );
    assert_eq!(
        FOUND.len(),
        CASES.len(),
        "a row in faults.rs is about a case that is no more"
    );
}
