//! Writes the TypeScript side of the library to the path that it is given; `deno task build:host` runs it.

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    let path = std::env::args_os().nth(1).ok_or_else(|| std::io::Error::other("expected a path"))?;
    giommu_host::bindings::write(path.as_ref())
}

#[cfg(not(target_os = "linux"))]
fn main() {}
