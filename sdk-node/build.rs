//! Lets the library be loaded by Node: its symbols come from the program.

fn main() {
    napi_build::setup();
}
