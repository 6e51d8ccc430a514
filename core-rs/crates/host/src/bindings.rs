//! The TypeScript side of [`crate::ffi`], as deno_bindgen writes it.

use std::io;
use std::path::Path;

use deno_bindgen::codegen::{Options, Target, generate};
use deno_bindgen::{INVENTORY, Inventory, Symbol};

/// Writes it to a file, the functions in the order of their names.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write(to: &Path) -> io::Result<()> {
    let mut symbols: Vec<Inventory> = INVENTORY.iter().filter_map(copy).map(Inventory::Symbol).collect();
    symbols.sort_by_key(name);
    // It asks for `static` data, and is asked once in the life of a process.
    let symbols = Box::leak(symbols.into_boxed_slice());
    generate(
        symbols,
        Options {
            target: Target::Deno,
            out: Some(to.to_owned()),
            local_dylib_path: "libgiommu_host.so".into(),
            lazy_init: true,
        },
    )
}

fn name(entry: &Inventory) -> &'static str {
    match entry {
        Inventory::Symbol(symbol) => symbol.name,
        Inventory::Struct(of) => of.name,
    }
}

fn copy(entry: &Inventory) -> Option<Symbol> {
    match entry {
        Inventory::Symbol(symbol) => Some(Symbol { ..*symbol }),
        Inventory::Struct(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_typescript_side_is_fresh() {
        let written = std::env::temp_dir().join(format!("giommu-bindings-{}.ts", std::process::id()));
        write(&written).unwrap();
        let now = std::fs::read_to_string(&written).unwrap();
        std::fs::remove_file(&written).unwrap();
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../packages/vfio-linux/_bindings.ts");
        assert!(
            std::fs::read_to_string(committed).unwrap() == now,
            "run deno task build:host, and commit what it writes"
        );
    }
}
