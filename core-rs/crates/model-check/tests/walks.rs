//! The walks that TypeScript is held against are those of this model.

#![allow(clippy::expect_used, reason = "a test may stop at the first surprise")]

use std::path::Path;

use giommu_model_check::walks::walks;

#[test]
fn the_walks_on_file_are_those_of_the_model() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/data/model/walks.txt");
    let on_file = std::fs::read_to_string(path).expect("tests/data/model/walks.txt is there");
    let is_same = on_file == walks();
    assert!(is_same, "write them anew: deno task model-check walks > tests/data/model/walks.txt");
}
