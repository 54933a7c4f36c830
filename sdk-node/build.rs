//! Lets the library be loaded by Node: its symbols come from the program.

fn main() {
    napi_build::setup();
    // Users download what is linked here: nobody debugs it from the package.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,--strip-all");
    }
}
