//! A wrong edge does not compile, and says where. What rustc says is pinned with the toolchain
//! (`rust-toolchain.toml`).

#[test]
fn a_wrong_edge_does_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/compile-pass/*.rs");
    cases.compile_fail("tests/compile-fail/*.rs");
}
