//! The laws that are types: what must not compile does not.

#[test]
fn what_the_laws_forbid_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
