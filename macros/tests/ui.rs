//! Programs that the annotations refuse, with the exact messages, and programs that they accept.
//!
//! After you change a message, run `TRYBUILD=overwrite cargo test -p wren-macros --test ui` and read the diff.

#[test]
fn refused_forms_say_what_to_write_instead() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}

#[test]
fn accepted_forms_compile_without_warnings() {
    trybuild::TestCases::new().pass("tests/ui_pass/*.rs");
}
